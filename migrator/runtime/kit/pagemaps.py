"""CRIU's images of which pages a process has (its images/pagemap.proto): what a round of pre-copy leaves on both nodes.

The source's CRIU looks there which pages it has sent before, the target's reads there what it is not sent again. Pages
lie in a file beside it, in the order of the entries; the source's is empty.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from frames import Damaged

# CRIU's magic words for images in general, and for this one (its criu/include/magic.h).
_MAGIC = struct.pack("<II", 0x54564319, 0x56084025)
_ADDRESS, _PAGES_32, _FLAGS, _PAGES = b"\x08", b"\x10\x00", b"\x20", b"\x28"  # tags of fields 1, 2, 4 and 5


class Pagemap:
    """One process's image, being written, and `pages`, the descriptor of the file for its pages."""

    def __init__(self, directory: Path, pid: int, number: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            self._file = os.fdopen(os.open(directory / f"pagemap-{pid}.img", flags, 0o640), "wb")
        except FileExistsError:
            raise Damaged(f"process {pid} came twice in one round") from None
        self.pages = os.open(directory / f"pages-{number}.img", flags, 0o640)
        self._file.write(_head(number))

    def add(self, address: int, pages: int, flags: int) -> None:
        self._file.write(_entry(address, pages, flags))

    def close(self) -> None:
        self._file.close()
        os.close(self.pages)

    def __enter__(self) -> Pagemap:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def written(number: int, entries: Iterable[tuple[int, int, int]]) -> bytes:
    """A whole image: the number of its file of pages, and `(address, pages, flags)` of each entry."""
    return _head(number) + b"".join(_entry(*entry) for entry in entries)


def _head(number: int) -> bytes:
    return _MAGIC + _message(_ADDRESS + _varint(number))  # its field 1 is the file of pages


def _entry(address: int, pages: int, flags: int) -> bytes:
    fields = (_ADDRESS + _varint(address), _PAGES_32, _FLAGS + _varint(flags), _PAGES + _varint(pages))
    return _message(b"".join(fields))


def _message(fields: bytes) -> bytes:
    return struct.pack("<I", len(fields)) + fields


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
