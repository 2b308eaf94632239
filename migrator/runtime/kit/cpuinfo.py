"""What CRIU's cpuinfo image tells of the registers that a dump saves: `cpuinfo.py IMAGE` prints one line.

The image is two magic numbers, a length, and a protobuf message (CRIU's images/cpuinfo.proto): its field 1 is the
entry of x86, of which field 8 is the mask of XSAVE components and 9 the bytes that they take. Another architecture has
no such entry, and nothing is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

X86, XFEATURES_MASK, XSAVE_SIZE = 1, 8, 9
HEADER_BYTES = 12  # the magic of images of this kind, the one of this image, the length of the message
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def number(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message, in order; what is wrong with it raises ValueError or IndexError."""
    at = 0
    while at < len(data):
        key, at = number(data, at)
        kind = key & 7
        value: int | bytes
        if kind == VARINT:
            value, at = number(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
            value, at = data[at : at + size], at + size
        elif kind == BYTES:
            size, at = number(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"field of kind {kind}")
        yield key >> 3, value


def told(image: bytes) -> str:
    """ "xfeatures=0x2e7 xsave=2696", or "" of a CPU that has none."""
    size = int.from_bytes(image[8:HEADER_BYTES], "little")
    for which, entry in fields(image[HEADER_BYTES : HEADER_BYTES + size]):
        if which == X86 and isinstance(entry, bytes):
            numbers = {field: value for field, value in fields(entry) if isinstance(value, int)}
            if mask := numbers.get(XFEATURES_MASK, 0):
                return f"xfeatures={mask:#x} xsave={numbers.get(XSAVE_SIZE, 0)}"
    return ""


if __name__ == "__main__":
    sys.stdout.write(f"{told(Path(sys.argv[1]).read_bytes())}\n")
