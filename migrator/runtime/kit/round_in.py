"""One round of pre-copy, on its target: round_in.py MOVE NUMBER OWNER, with the round on stdin, or as plain.py says.

Pages go into files in the move's memory, in images as CRIU's restore reads them (pagemaps.py), each round's in a
directory MOVE/images/pre-NUMBER with a link to the one before. The last dump's images have a link to the last round,
and what that dump does not send is read there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from frames import END, HEADER, PAGE, PAGES, PARENT, PE_PARENT, PE_PRESENT, PROCESS, Damaged, read_exactly, write_all
from pagemaps import Pagemap
from plain import way_in
from splicer import SPLICE_BYTES, Splicer

ADDRESS_MAX = 1 << 56


def main(move: Path, number: int, owner: int) -> None:
    images = move / "images"
    directory = images / f"pre-{number}"
    directory.mkdir(mode=0o700)
    if number > 1:
        if not (images / f"pre-{number - 1}").is_dir():
            raise Damaged(f"round {number - 1} has not come")
        (directory / "parent").symlink_to(f"../pre-{number - 1}")
    stream, answers = way_in(move)
    pages = receive(stream, directory)
    give(directory, owner)
    last = images / "parent.new"
    last.unlink(missing_ok=True)
    last.symlink_to(f"pre-{number}")
    last.replace(images / "parent")
    tell(move / "round-came")
    write_all(answers, b"placed %d\n" % pages)


def give(directory: Path, owner: int) -> None:
    """CRIU reads it as the container's root, or as the node's without capabilities (target.sh). A restore that stands
    ready has given what was there before.
    """
    for path in (*directory.iterdir(), directory):
        os.chown(path, owner, 0, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o750 if path.is_dir() else 0o640)


def tell(fifo: Path) -> None:
    """Wakes the receiver of the last dump, where it stands ready: it looks the round up before the freeze."""
    with contextlib.suppress(OSError):  # nobody waits yet
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, b"\n")
        os.close(fd)


def receive(fd: int, directory: Path) -> int:
    """Takes the whole round. Returns how many pages came."""
    header = memoryview(bytearray(HEADER.size))
    came = processes = of = 0
    splicer = Splicer(fd)
    with contextlib.ExitStack() as written:
        pagemap: Pagemap | None = None
        while True:
            read_exactly(fd, header)
            kind, pid, address, pages = HEADER.unpack(header)
            if kind == END:
                break
            if kind == PROCESS:
                written.close()
                processes += 1
                pagemap, of = written.enter_context(Pagemap(directory, pid, processes)), pid
                continue
            if pagemap is None or pid != of or address % PAGE or not 0 < pages * PAGE <= ADDRESS_MAX - address:
                raise Damaged("a frame of the round makes no sense")
            if kind == PARENT:
                pagemap.add(address, pages, PE_PARENT)
            elif kind == PAGES:
                pagemap.add(address, pages, PE_PRESENT)
                take(splicer, fd, pagemap.pages, pages * PAGE)
                came += pages
            else:
                raise Damaged("a frame of the round makes no sense")
    if pages != came:
        raise Damaged(f"{came} pages came, {pages} were sent")
    return came


def take(splicer: Splicer, fd: int, out: int, size: int) -> None:
    while size:
        moved = splicer.move(fd, out, min(SPLICE_BYTES, size))
        if not moved:
            raise Damaged("the connection ended before all had come")
        size -= moved


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except (Damaged, OSError) as error:
        sys.stderr.write(f"the memory cannot be received: {error}\n")
        sys.exit(1)
