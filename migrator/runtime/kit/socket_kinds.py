"""Tells which sockets, named on stdin as /proc/PID/fd/N, are of a kind that CRIU does not know: socket PID KIND.

A kernel's socket tells its kind by an extended attribute of its own. Of MPTCP some can be dumped; `ss` tells which not.
"""

import contextlib
import os
import sys

KNOWN = {
    *("TCP", "TCPv6", "MPTCP", "MPTCPv6", "UDP", "UDPv6", "UDP-Lite", "UDPLITEv6", "RAW", "RAWv6", "PING", "PINGv6"),
    *("UNIX", "UNIX-STREAM", "NETLINK", "PACKET"),
}

for line in sys.stdin:
    name = line.strip()
    with contextlib.suppress(OSError):  # it may be closed meanwhile
        kind = os.getxattr(name, "system.sockprotoname").rstrip(b"\0").decode(errors="replace")
        if kind not in KNOWN:
            sys.stdout.write("socket " + name.split("/")[2] + f" {kind}\n")
