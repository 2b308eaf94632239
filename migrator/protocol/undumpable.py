"""What of a running container CRIU cannot dump, or would lose: the source's answer in words for an operator.

The source looks (`kit/undumpable.sh`) and tells a line each: what it is, the process as it is called inside, and a
detail. Each kind is there because an attempt has failed: tests/lab/test_undumpable.py makes them all.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

LISTED_MAX = 5
IPV4_BYTES = 4
_LINE = re.compile(r"([a-z]+) ([0-9]{1,10}) ([A-Za-z0-9._-]{1,20}) ([ -~]{1,200})")
# What it is about the process, and what helps. {0} stands for the detail.
_KINDS = {
    "device": ("has {0} open, which CRIU cannot dump", "have it close that"),
    "epoll": ("waits by epoll for what it has closed and another process has open", "restart it"),
    "ghost": ("has {0} open, which was removed, and is larger than the 32 MiB that are taken along", "restart it"),
    "handle": ("uses {0}, which CRIU cannot dump", "have it run without"),
    "headless": ("has ended its first thread and runs on in others", "restart it"),
    "huge": ("has memory in huge pages", "have it run without"),
    "locked": ("locks a file on the volume at {0}, and its source would still hold the lock", "have it let go"),
    "locks": ("locks {0}, which it has mapped, and would lose the lock", "install python3 on the target"),
    "mount": ("or another has mounted {0} by fuse, which CRIU cannot dump", "have it unmounted"),
    "multicast": ("or another listens to multicast group {0}, and would hear no more", "have it leave the group"),
    "nested": ("has a {0} namespace of its own", "end it, or run what it runs beside it"),
    "outsider": (
        "was put in from outside, and would stay behind",
        "let it end, or have the container's command start it",
    ),
    "packets": ("has a pipe of packets (O_DIRECT)", "have it run without"),
    "pressure": ("is told of pressure by {0}, and would be told without end", "install python3 on the target"),
    "queue": ("or another has made the message queue {0}", "have it removed"),
    "socket": ("has a socket of kind {0}, which CRIU cannot dump", "have it run without"),
    "traced": ("is traced by a debugger", "end that"),
    "unlinked": ("uses {0}, of which this name was removed or replaced, as an upgrade does", "restart it"),
    "unread": ("has a netlink socket with messages that it does not read", "try again, or restart it"),
    "watch": ("watches a file whose name is gone, or has unusual characters", "restart it"),
}
_REMEDIES = {
    ("socket", "MPTCP"): "run it without (for a server in Go: GODEBUG=multipathtcp=0), or make the container anew",
    ("handle", "io_uring"): "have it run without, as many programs have an option for",
}


# What a target with Python sets right.
_BY_PYTHON = ("locks ", "pressure ")


def reasons(lines: Iterable[str], python_at_target: bool) -> list[str]:
    """A reason for each line, at most LISTED_MAX and how many more. ValueError for what no honest node tells."""
    told = [_reason(line) for line in lines if not (python_at_target and line.startswith(_BY_PYTHON))]
    more = len(told) - LISTED_MAX
    return told if more <= 0 else [*told[:LISTED_MAX], f"and {more} more of the kind"]


def _reason(line: str) -> str:
    found = _LINE.fullmatch(line)
    if found is None or found[1] not in _KINDS:
        raise ValueError(f"it answers {line[:60]!r} where something that CRIU cannot dump should be")
    kind, pid, comm, detail = found.groups()
    is_so, remedy = _KINDS[kind]
    detail = _group(detail) if kind == "multicast" else detail
    return f"process {pid} ({comm}) {is_so.format(detail)}; {_REMEDIES.get((kind, detail), remedy)}"


def _group(text: str) -> str:
    """A group as the kernel lists it: hexadecimal, IPv4 in this machine's own order of bytes."""
    try:
        raw = bytes.fromhex(text)
        return str(ipaddress.ip_address(raw[::-1] if len(raw) == IPV4_BYTES else raw))
    except ValueError:
        return text
