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

# CRIU's own, by its images/*.proto: numbers of fields, and what is said of an entry's pages: they are those of the
# round before, were left out of the images, lie in this image's file.
_PAGEMAP_ADDRESS, _PAGEMAP_PAGES_32, _PAGEMAP_FLAGS, _PAGEMAP_PAGES = 1, 2, 4, 5
_PAGEMAP_HEAD_FILE = 1
PE_PARENT, PE_LAZY, PE_PRESENT = 1, 2, 4
_PSTREE_PID, _PSTREE_PARENT = 1, 2
_MM_VMAS = 14
_VMA_START, _VMA_END, _VMA_FLAGS, _VMA_STATUS = 1, 2, 6, 7
# Which areas CRIU's restore leaves to userfaultfd (its include/mem.h): private anonymous ones that are not locked. By
# the kernel's MAP_* and by CRIU's own VMA_* (include/image.h); an area with any other mark is not taken for one.
_ANONYMOUS, _LOCKED_OR_HUGE = 0x22, 0x42000
_REGULAR, _ORDINARY = 1 << 0 | 1 << 9, 1 << 0 | 1 << 1 | 1 << 5 | 1 << 9


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
    for pid, path in sorted(pagemaps_in(images).items(), key=lambda each: (-depths.get(each[0], 0), each[0])):
        for address, pages, flags in pagemap_of(path.read_bytes())[1]:
            if flags & PE_LAZY:
                runs += cut(Run(pid, address, pages), RUN_PAGES_MAX)
    return runs


def pagemaps_in(images: Path) -> dict[int, Path]:
    """CRIU's images of which pages each process has."""
    return {int(match[1]): path for path in images.iterdir() if (match := _PAGEMAP.fullmatch(path.name))}


def pagemap_of(image: bytes) -> tuple[int, list[tuple[int, int, int]]]:
    """The number of the file that its pages lie in, and `(address, pages, flags)` of each entry, in order."""
    messages = [dict(_fields(entry)) for entry in _entries(image)]
    if not messages:
        raise Damaged("an image of pages is empty")
    head, *rest = messages
    entries = [
        (
            _number(fields, _PAGEMAP_ADDRESS),
            _number(fields, _PAGEMAP_PAGES) or _number(fields, _PAGEMAP_PAGES_32),
            _number(fields, _PAGEMAP_FLAGS),
        )
        for fields in rest
    ]
    return _number(head, _PAGEMAP_HEAD_FILE), entries


def _depths(images: Path) -> dict[int, int]:
    """How far each process is below the first."""
    tree = images / "pstree.img"
    depths: dict[int, int] = {}
    for entry in _entries(tree.read_bytes()) if tree.exists() else ():  # parents come before their children
        fields = dict(_fields(entry))
        depths[_number(fields, _PSTREE_PID)] = depths.get(_number(fields, _PSTREE_PARENT), 0) + 1
    return depths


def cut(run: Run, pages_max: int) -> Iterator[Run]:
    """A run in pieces of at most so many pages."""
    for first in range(0, run.pages, pages_max):
        yield Run(run.pid, run.address + first * PAGE, min(pages_max, run.pages - first))


class Areas:
    """The memory areas of one process: a run that spans two of them is placed in two pieces."""

    def __init__(self, images: Path, pid: int) -> None:
        data = (images / f"mm-{pid}.img").read_bytes()
        areas = sorted(
            (_number(area, _VMA_END), _number(area, _VMA_START), _may_follow(area))
            for entry in _entries(data)
            for field, value in _fields(entry)
            if field == _MM_VMAS and isinstance(value, bytes)
            for area in [dict(_fields(value))]
        )
        self._ends = [end for end, _, _ in areas]
        self._starts = [start for _, start, _ in areas]
        self._may_follow = [may for _, _, may in areas]

    def pieces(self, address: int, size_bytes: int) -> Iterator[tuple[int, int]]:
        """`(address, bytes)` of each piece, none over the end of an area."""
        end = address + size_bytes
        while address < end:
            at = bisect_right(self._ends, address)
            stop = min(end, self._ends[at]) if at < len(self._ends) else end
            yield address, stop - address
            address = stop

    def may_follow(self, address: int) -> bool:
        """Whether pages there may come after the processes run: whether the restore leaves that area to userfaultfd."""
        at = bisect_right(self._ends, address)
        return at < len(self._ends) and self._starts[at] <= address and self._may_follow[at]

    def end_of(self, address: int) -> int:
        """Where the area ends that an address is in."""
        at = bisect_right(self._ends, address)
        return self._ends[at] if at < len(self._ends) else 0


def _may_follow(area: dict[int, int | bytes]) -> bool:
    flags, status = _number(area, _VMA_FLAGS), _number(area, _VMA_STATUS)
    private = flags & _ANONYMOUS == _ANONYMOUS and not flags & _LOCKED_OR_HUGE
    return private and status & _REGULAR == _REGULAR and not status & ~_ORDINARY


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
