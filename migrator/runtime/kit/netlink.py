"""Messages of netlink and their attributes, as bytes (linux/netlink.h, linux/netfilter/nfnetlink.h). Pure: what another
node has told is read here, so every length is checked before it is followed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER, BODY, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBH"), struct.Struct("=HH")
NESTED, TYPE = 0x8000, 0x3FFF


def messages(data: bytes) -> Iterator[tuple[bytes, int, int, bytes]]:
    """Of each message all its bytes, its kind, its number, and what is behind its header. ValueError where lengths do
    not come out.
    """
    at = 0
    while at < len(data):
        if len(data) - at < HEADER.size:
            raise ValueError("it is cut short")
        length, kind, _, number, _ = HEADER.unpack_from(data, at)
        if not HEADER.size <= length <= len(data) - at:
            raise ValueError("a length in it is none")
        after = at + ((length + 3) & ~3)
        yield data[at:after], kind, number, data[at + HEADER.size : at + length]
        at = after


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each attribute's number and bytes, in order. ValueError where lengths do not come out."""
    at, end = 0, len(data)
    while at < end:
        if end - at < ATTRIBUTE.size:
            raise ValueError("it is cut short")
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if not ATTRIBUTE.size <= length <= end - at:
            raise ValueError("a length in it is none")
        yield kind & TYPE, data[at + ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def attribute(kind: int, data: bytes) -> bytes:
    """ValueError where it is longer than one can say."""
    if len(data) > 0xFFFF - ATTRIBUTE.size:
        raise ValueError("a part of it is too long")
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)
