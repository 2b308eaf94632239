"""Makes the rules that come on stdin (rules_out.py) in this network, all or none.

rules_in.py USER_NAMESPACE    with the powers that root has there, of whom the network is

A kernel takes rules about a container's users (`-m owner`) from nobody else; and what another node has told can do
here no more than that container's own root could.
"""

from __future__ import annotations

import os
import sys
import zlib

from netfilter import Kernel
from ruleset import BYTES_MAX, Message, checked

CLONE_NEWUSER = 0x10000000


def told(data: bytes) -> list[Message]:
    """ValueError says what no honest node tells."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, BYTES_MAX)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError(f"they are cut short, or over {BYTES_MAX} bytes")
    return checked(plain)


def enter(namespace: str) -> None:
    place = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(place).st_ino == os.stat("/proc/self/ns/user").st_ino:  # noqa: PTH116   (pathlib takes 10 ms of a pause)
        return
    if sys.version_info >= (3, 12):
        os.setns(place, CLONE_NEWUSER)
    else:
        import ctypes  # noqa: PLC0415   (it takes 5 ms of a pause)

        if ctypes.CDLL(None, use_errno=True).setns(place, CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "its user namespace cannot be entered")


def make(namespace: str, data: bytes) -> None:
    rules, kernel = told(data), Kernel()  # asked for before, as the node's
    enter(namespace)
    kernel.make(rules)


if __name__ == "__main__":
    try:
        make(sys.argv[1], sys.stdin.buffer.read(BYTES_MAX))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"its rules: {getattr(error, 'strerror', None) or error}\n")
        sys.exit(1)
