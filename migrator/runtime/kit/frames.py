"""What flows from a source to its target in a move whose memory is streamed, and the few of CRIU's images that say
where memory belongs. Runs on nodes, by Python's standard library alone.

The stream is frames, one header and then its bytes. First the images, each by its name; then `came`, with their count:
from here on the target restores. Then pages in runs that lie in one process at one address, and `end`, with the count
of all pages. The target answers with a line `ready` before anything is sent, and with one line, `placed N`, when every
page stands where it belongs.

A round of pre-copy is such a stream without images: `process` before each one's pages, and `parent` for runs that the
round before had and that have not changed (round_out.py).
"""

from __future__ import annotations

import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = 4096
# CRIU's pipes hold 4 MiB, so no run of pages is longer.
RUN_PAGES_MAX = 1024

IMAGE, CAME, PAGES, END, PROCESS, PARENT = range(1, 7)
# kind; process; address or bytes; count of pages, images or the name's length
HEADER = struct.Struct("<IIQQ")

RECEIVER_READY = b"ready\n"

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}\.img")
_PAGEMAP = re.compile(r"pagemap-([0-9]+)\.img")

# CRIU's own, by its images/*.proto: numbers of fields, and the flag of pages that were left out of the images.
_PAGEMAP_ADDRESS, _PAGEMAP_PAGES_32, _PAGEMAP_FLAGS, _PAGEMAP_PAGES = 1, 2, 4, 5
_PE_LAZY = 2
_PSTREE_PID, _PSTREE_PARENT = 1, 2
_MM_VMAS = 14
_VMA_START, _VMA_END = 1, 2


class Damaged(Exception):
    """What came is not what was agreed on. The text is one line, for an operator."""


class Run(NamedTuple):
    """Pages in a row, of one process."""

    pid: int
    address: int
    pages: int


def lazy_runs(images: Path) -> list[Run]:
    """Every run of pages that the dump left with CRIU's page server. Children come before their parents: a restored
    parent does nothing before its children stand, and they need some of their pages for that.
    """
    runs: list[Run] = []
    depths = _depths(images)
    found = [(match, path) for path in images.iterdir() if (match := _PAGEMAP.fullmatch(path.name))]
    for match, path in sorted(found, key=lambda each: (-depths.get(int(each[0][1]), 0), int(each[0][1]))):
        for entry in _entries(path.read_bytes()):
            fields = dict(_fields(entry))
            if not _number(fields, _PAGEMAP_FLAGS) & _PE_LAZY:
                continue
            pages = _number(fields, _PAGEMAP_PAGES) or _number(fields, _PAGEMAP_PAGES_32)
            runs += _cut(Run(int(match[1]), _number(fields, _PAGEMAP_ADDRESS), pages))
    return runs


def _depths(images: Path) -> dict[int, int]:
    """How far each process is below the first."""
    tree = images / "pstree.img"
    depths: dict[int, int] = {}
    for entry in _entries(tree.read_bytes()) if tree.exists() else ():  # parents come before their children
        fields = dict(_fields(entry))
        depths[_number(fields, _PSTREE_PID)] = depths.get(_number(fields, _PSTREE_PARENT), 0) + 1
    return depths


def _cut(run: Run) -> Iterator[Run]:
    for first in range(0, run.pages, RUN_PAGES_MAX):
        yield Run(run.pid, run.address + first * PAGE, min(RUN_PAGES_MAX, run.pages - first))


class Areas:
    """The memory areas of one process: a run that spans two of them is placed in two pieces."""

    def __init__(self, images: Path, pid: int) -> None:
        data = (images / f"mm-{pid}.img").read_bytes()
        self._ends = sorted(
            _number(dict(_fields(value)), _VMA_END)
            for entry in _entries(data)
            for field, value in _fields(entry)
            if field == _MM_VMAS and isinstance(value, bytes)
        )

    def pieces(self, address: int, size_bytes: int) -> Iterator[tuple[int, int]]:
        """`(address, bytes)` of each piece, none over the end of an area."""
        end = address + size_bytes
        while address < end:
            at = bisect_right(self._ends, address)
            stop = min(end, self._ends[at]) if at < len(self._ends) else end
            yield address, stop - address
            address = stop


def _entries(image: bytes) -> Iterator[bytes]:
    """The messages of an image file: two magic words, then each message after its length (CRIU's images/README)."""
    at = 8
    while at < len(image):
        if at + 4 > len(image):
            raise Damaged("an image ends in the middle")
        (size,) = struct.unpack_from("<I", image, at)
        at += 4
        if at + size > len(image):
            raise Damaged("an image ends in the middle")
        yield image[at : at + size]
        at += size


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """`(field, value)` of a protobuf message, by its wire format."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value: int | bytes
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = int.from_bytes(message[at : at + size], "little"), at + size
        elif kind == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise Damaged(f"an image holds a field of an unknown kind, {kind}")
        if at > len(message):
            raise Damaged("an image ends in the middle")
        yield key >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Damaged("an image ends in the middle")


def number_at(image: bytes, outer: int, inner: int) -> int:
    """A number in the only message of an image: field `inner` of its field `outer`; 0 if it is not there."""
    for entry in _entries(image):
        held = dict(_fields(entry)).get(outer, b"")
        return _number(dict(_fields(held)), inner) if isinstance(held, bytes) else 0
    return 0


def _number(fields: dict[int, int | bytes], field: int) -> int:
    value = fields.get(field, 0)
    if not isinstance(value, int):
        raise Damaged(f"an image holds bytes where a number belongs (field {field})")
    return value


def read_exactly(fd: int, view: memoryview) -> None:
    """Fills `view`. Damaged when the other side ends first."""
    got = 0
    while got < len(view):
        count = os.readv(fd, [view[got:]])
        if not count:
            raise Damaged("the connection ended before all had come")
        got += count


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it, also where a pipe takes a part at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
