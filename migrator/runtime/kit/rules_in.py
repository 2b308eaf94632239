"""Makes the rules that come on stdin (rules_out.py) in this network, all or none; with the powers of who runs it."""

from __future__ import annotations

import sys
import zlib

from netfilter import Kernel
from ruleset import BYTES_MAX, Message, checked


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


if __name__ == "__main__":
    try:
        Kernel().make(told(sys.stdin.buffer.read(BYTES_MAX)))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"its rules: {getattr(error, 'strerror', None) or error}\n")
        sys.exit(1)
