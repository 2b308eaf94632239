"""What the memory of restored processes still lacks while they run on it: the pages of post-copy, by process.

A process may fork, move its memory, give some of it back or unmap it while pages are missing; the kernel tells each of
that by its userfaultfd (Documentation/admin-guide/mm/userfaultfd.rst, "Non-cooperative userfaultfd"), and what is still
missing follows it. Only what the dump left behind is ever placed: any other page that is asked for is a page of zeros.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from frames import PAGE


class Piece(NamedTuple):
    """Missing memory in a row: from address `at` now, which was at `origin` when it was dumped."""

    at: int
    origin: int
    size_bytes: int

    @property
    def end(self) -> int:
        return self.at + self.size_bytes

    def part(self, start: int, end: int) -> Piece:
        """What of it lies between two addresses of now."""
        first, last = max(start, self.at), min(end, self.end)
        return Piece(first, self.origin + first - self.at, last - first)


class Space:
    """One address space: its userfaultfd, the process that was dumped, and the pieces that are missing, by address."""

    def __init__(self, uffd: int, pid: int, pieces: Iterable[Piece]) -> None:
        self.uffd, self.pid = uffd, pid
        self._pieces = sorted(pieces)
        self._moved = False

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def fork(self, uffd: int) -> Space:
        """The child's: it lacks what its parent lacks."""
        child = Space(uffd, self.pid, self._pieces)
        child._moved = self._moved
        return child

    def at(self, address: int) -> Piece | None:
        """The missing piece at an address, if it is missing."""
        index = bisect_right(self._pieces, address, key=lambda piece: piece.at) - 1
        if index >= 0 and self._pieces[index].end > address:
            return self._pieces[index]
        return None

    def lacks(self, origin: int, size_bytes: int) -> Piece | None:
        """The first missing part of what was dumped at `origin`."""
        end = origin + size_bytes
        if self._moved:
            found = (piece for piece in self._pieces if piece.origin < end and origin < piece.origin + piece.size_bytes)
            piece = next(found, None)
            return piece and piece.part(piece.at + origin - piece.origin, piece.at + end - piece.origin)
        index = max(0, bisect_right(self._pieces, origin, key=lambda piece: piece.at) - 1)
        for piece in self._pieces[index : index + 2]:
            if piece.at < end and origin < piece.end:
                return piece.part(origin, end)
        return None

    def drop(self, start: int, end: int) -> None:
        """Nothing is missing there any more: it came, or the process gave it back."""
        for _ in self._take(start, end):
            pass

    def move(self, start: int, to: int, size_bytes: int) -> None:
        """The process has moved memory; what lay at its new place is gone."""
        taken = list(self._take(start, start + size_bytes))
        self.drop(to, to + size_bytes)
        for piece in taken:
            insort(self._pieces, piece._replace(at=piece.at - start + to))
        self._moved = self._moved or bool(taken)

    def _take(self, start: int, end: int) -> Iterator[Piece]:
        """Cuts out what lies between two addresses, and yields it. To be run to its end."""
        if start >= end:
            return
        first = max(0, bisect_right(self._pieces, start, key=lambda piece: piece.at) - 1)
        last = first
        kept: list[Piece] = []
        while last < len(self._pieces) and self._pieces[last].at < end:
            piece = self._pieces[last]
            last += 1
            if piece.end <= start:
                kept.append(piece)
                continue
            if piece.at < start:
                kept.append(piece.part(piece.at, start))
            if piece.end > end:
                kept.append(piece.part(end, piece.end))
            yield piece.part(start, end)
        self._pieces[first:last] = kept


def page_of(address: int) -> int:
    return address & ~(PAGE - 1)
