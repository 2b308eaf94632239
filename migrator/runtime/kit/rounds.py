"""What rounds of pre-copy have left on their target (round_in.py): where each page lies, and how the restore is told to
leave those pages to us. They are then placed while the container runs already (late_in.py).

Each round's images name the pages that it brought, and those that are still as in the round before. Here every
round's entries are followed down to the file that a page lies in, before the freeze: in it, only what the last dump
says of its parent is looked up.
"""

from __future__ import annotations

import os
import select
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pagemaps
from frames import PAGE, PE_LAZY, PE_PARENT, PE_PRESENT, Areas, Damaged, Run, pagemap_of, pagemaps_in


class Stretch(NamedTuple):
    """Pages in a row, from `start` to `end`, which lie in a file from `offset` on."""

    start: int
    end: int
    file: Path
    offset: int

    def part(self, start: int, end: int) -> Stretch:
        first, last = max(start, self.start), min(end, self.end)
        return Stretch(first, last, self.file, self.offset + first - self.start)


class Rounds:
    """All that has come of a container's memory, by process and address."""

    def __init__(self, images: Path) -> None:
        """As `look_up`."""
        self._images, self._last = images, 0
        self._of: dict[int, list[Stretch]] = {}
        self.look_up()

    def look_up(self) -> None:
        """Takes up the rounds that have come. Damaged where one says that pages are as before, and they never came."""
        last = int((self._images / "parent").readlink().name.removeprefix("pre-"))
        for number in range(self._last + 1, last + 1):
            directory = self._images / f"pre-{number}"
            self._of = {
                pid: list(_stretches(directory, pid, path, self._of.get(pid, [])))
                for pid, path in pagemaps_in(directory).items()
            }
        self._last = last

    def look_up_until(self, stream: int, came: Path) -> None:
        """Returns when the stream of the last dump begins. Rounds that come meanwhile (a word each in the fifo `came`)
        are looked up here, and not in the pause.
        """
        fifo = os.open(came, os.O_RDWR | os.O_NONBLOCK)
        while stream not in select.select([stream, fifo], [], [])[0]:
            os.read(fifo, 64)
            self.look_up()
        os.close(fifo)
        self.look_up()  # of one that came before anybody listened

    def parts(self, run: Run) -> Iterator[Stretch]:
        """Where the pages of a run lie, in order. Damaged where one of them has not come."""
        return _parts(self._of.get(run.pid, []), run)

    def read(self, run: Run, view: memoryview) -> None:
        """Fills `view` with the pages of a run."""
        at = 0
        for part in self.parts(run):
            size = part.end - part.start
            file = os.open(part.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.preadv(file, [view[at : at + size]], part.offset) != size:
                    raise Damaged(f"a round's file is shorter than what it brought of process {run.pid}")
            finally:
                os.close(file)  # of 500 processes and eight rounds they would be too many to keep
            at += size


def _stretches(directory: Path, pid: int, path: Path, before: list[Stretch]) -> Iterator[Stretch]:
    number, entries = pagemap_of(path.read_bytes())
    file, offset = directory / f"pages-{number}.img", 0
    for address, pages, flags in entries:
        if flags & PE_PARENT:
            yield from _parts(before, Run(pid, address, pages))
        elif flags & PE_PRESENT:
            yield Stretch(address, address + pages * PAGE, file, offset)
            offset += pages * PAGE


def _parts(stretches: list[Stretch], run: Run) -> Iterator[Stretch]:
    at, end = run.address, run.address + run.pages * PAGE
    index = max(0, bisect_right(stretches, at, key=lambda stretch: stretch.start) - 1)
    while at < end:
        if index == len(stretches) or not stretches[index].start <= at < stretches[index].end:
            raise Damaged(f"no round has brought what process {run.pid} had at {at:#x}")
        part = stretches[index].part(at, end)
        yield part
        at, index = part.end, index + 1


def leave(images: Path, owner: int) -> list[Run]:
    """Tells CRIU's restore, by the last dump's images, to leave pages that did not change since a round to userfaultfd,
    wherever it leaves any. Returns them; the others, of files and of locked memory, it reads from the rounds itself.
    """
    left: list[Run] = []
    for pid, path in pagemaps_in(images).items():
        number, entries = pagemap_of(path.read_bytes())
        told = list(_left(entries, Areas(images, pid)))
        runs = [Run(pid, address, pages) for address, pages, flags in told if flags & PE_PARENT and flags & PE_LAZY]
        if runs:
            _replace(path, pagemaps.written(number, told), owner)
            left += runs
    return left


def _left(entries: Iterable[tuple[int, int, int]], areas: Areas) -> Iterator[tuple[int, int, int]]:
    for address, pages, flags in entries:
        if not flags & PE_PARENT:
            yield address, pages, flags
            continue
        for at, size_bytes in areas.pieces(address, pages * PAGE):
            yield at, size_bytes // PAGE, flags | (PE_LAZY if areas.may_follow(at) else 0)


def _replace(path: Path, data: bytes, owner: int) -> None:
    new = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(new, flags, 0o640), "wb") as file:
        os.fchown(file.fileno(), owner, 0)
        os.fchmod(file.fileno(), 0o640)
        file.write(data)
    new.replace(path)
