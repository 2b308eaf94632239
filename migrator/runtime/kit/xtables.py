"""xtables.py: tells the tables of iptables-legacy in this network that hold rules, a line each.

What has looked at a table leaves it in its network, empty. Asked as iptables-save asks: getsockopt of
linux/netfilter_ipv4/ip_tables.h and ip6_tables.h, whose entries differ in the size of the address part. A table without
rules has one entry for each of its hooks, which is its policy, ACCEPT, and one that ends it.
"""

import ctypes
import os
import socket
import struct
import sys
from pathlib import Path

GET_INFO, GET_ENTRIES = 64, 65
INFO = struct.Struct("=32sI5I5III")  # ipt_getinfo: name, valid_hooks, hook_entry, underflow, num_entries, size
ENTRIES = struct.Struct("=32sI4x")  # ipt_get_entries: name, size, and the entries aligned to 8
ENTRY_BYTES = {socket.AF_INET: 112, socket.AF_INET6: 168}
LEVEL = {socket.AF_INET: 0, socket.AF_INET6: 41}
NAMES = {socket.AF_INET: "ip_tables_names", socket.AF_INET6: "ip6_tables_names"}
TARGET_BYTES, ACCEPT = 32, -2  # of xt_entry_target; -NF_ACCEPT - 1 of xt_standard_target


def asked(family: socket.AddressFamily, option: int, request: bytes) -> bytes:
    """The answer, as long as the request."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(request, len(request))
    size = ctypes.c_uint32(len(request))
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as own:
        if libc.getsockopt(own.fileno(), LEVEL[family], option, buffer, ctypes.byref(size)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw


def is_empty(family: socket.AddressFamily, name: bytes) -> bool:
    _, hooks, *places, entries, size = INFO.unpack(asked(family, GET_INFO, INFO.pack(name, *[0] * 13)))
    if entries != hooks.bit_count() + 1:
        return False
    blob = asked(family, GET_ENTRIES, ENTRIES.pack(name, size) + bytes(size))
    return all(
        verdict(blob[ENTRIES.size + places[5 + hook] :], ENTRY_BYTES[family]) == ACCEPT
        for hook in range(5)
        if hooks >> hook & 1
    )


def verdict(entry: bytes, size: int) -> int:
    """What a policy's entry says; its target begins behind the entry itself, as it matches everything."""
    return int(struct.unpack_from("=i", entry, size + TARGET_BYTES)[0])


def main() -> None:
    for family, file in NAMES.items():
        names = Path("/proc/thread-self/net", file)
        for name in names.read_bytes().split() if names.exists() else ():
            if not is_empty(family, name):
                sys.stdout.write(f"{name.decode()}\n")


if __name__ == "__main__":
    main()
