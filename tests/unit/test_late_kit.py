"""What rounds of pre-copy have brought, put into its place while a process runs: with the kernel's own userfaultfd, and
with what CRIU says spoken by hand. The memory is this process's; who places it is another, as on a node.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import socket
import stat
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migrator.transport.kit import SCRIPTS
from tests.unit.kit_modules import load, varint

PAGE, PAGES, PID = 4096, 300, 7
TIMEOUT_S = 30
PARENT, LAZY, PRESENT = 1, 2, 4
ANONYMOUS, LOCKED = 0x22, 0x2000
OF_A_FILE = 0x02
ORDINARY_PAGES = (1 << 0) | (1 << 9)
# linux/userfaultfd.h
SYSCALL, API, REGISTER, MISSING = 323, 0xC018AA3F, 0xC020AA00, 1

PROGRAM = """
import os, socket, sys
from pathlib import Path
from frames import Damaged
from late_in import Late
from rounds import Rounds, leave
from watcher import Watcher
move, stream, criu = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
try:
    rounds = Rounds(move / "images")
    left = leave(move / "images", 0)
    late = Late(stream, move / "images", socket.socket(fileno=criu), Watcher(move / "group", []), rounds, left)
    count = late.place_all(lambda pages: print("placed", pages, flush=True), lambda: print("holds", flush=True))
    print("all", count, flush=True)
except Damaged as error:
    print("damaged", error, flush=True)
"""


def waiting(fd: int) -> int:
    """How many bytes nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def content(page: int, version: int) -> bytes:
    return b"%d:%d;" % (page, version) * 1200


@dataclass
class Process:
    """A restored process, for what places its memory: areas, of which the kernel was told, and images of it."""

    move: Path
    memory: mmap.mmap
    address: int
    uffd: int

    def areas(self, *areas: tuple[int, int, int]) -> None:
        """`(first page, pages, flags)` of each, and its image."""
        message = b""
        for first, count, flags in areas:
            start, end = self.address + first * PAGE, self.address + (first + count) * PAGE
            fields = ((1, start), (2, end), (6, flags), (7, ORDINARY_PAGES))
            area = b"".join(varint(number << 3) + varint(value) for number, value in fields)
            message += varint(14 << 3 | 2) + varint(len(area)) + area
        image = b"\0" * 8 + struct.pack("<I", len(message)) + message
        (self.move / "images" / f"mm-{PID}.img").write_bytes(image)

    def give(self, first: int, count: int) -> None:
        """To userfaultfd."""
        words = struct.pack("<QQQQ", self.address + first * PAGE, count * PAGE, MISSING, 0)
        fcntl.ioctl(self.uffd, REGISTER, bytearray(words))

    def image(self, directory: str, *entries: tuple[int, int, int], version: int = 0) -> None:
        """`(first page, pages, flags)` of each entry. Pages that are there are of this version."""
        at = self.move / "images" / directory
        at.mkdir(exist_ok=True)
        told = [(self.address + first * PAGE, count, flags) for first, count, flags in entries]
        (at / f"pagemap-{PID}.img").write_bytes(load("pagemaps").written(1, told))
        pages = [page for first, count, flags in entries if flags == PRESENT for page in range(first, first + count)]
        (at / "pages-1.img").write_bytes(b"".join(content(page, version)[:PAGE] for page in pages))

    def has(self, page: int) -> bytes:
        return self.memory[page * PAGE : (page + 1) * PAGE]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / "stands")
    memory = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    libc = ctypes.CDLL(None, use_errno=True)
    uffd = libc.syscall(SYSCALL, os.O_CLOEXEC | os.O_NONBLOCK)
    if uffd < 0:
        pytest.skip(f"this kernel gives no userfaultfd: {os.strerror(ctypes.get_errno())}")
    fcntl.ioctl(uffd, API, bytearray(struct.pack("<QQQ", 0xAA, 0, 0)))
    held = ctypes.c_char.from_buffer(memory)
    yield Process(tmp_path, memory, ctypes.addressof(held), uffd)
    os.close(uffd)  # before the memory is read by anybody else: what is still missing reads as zeros then
    del held
    memory.close()


class Receiver:
    """The program that places, and the three who speak to it: the source, CRIU and the hook."""

    def __init__(self, process: Process) -> None:
        self.process, frames = process, load("frames")
        self._header, self._kinds = frames.HEADER, (frames.PAGES, frames.END)
        theirs, self.source = os.pipe()
        self.criu, criu = socket.socketpair()
        words = [sys.executable, "-c", PROGRAM, str(process.move), str(theirs), str(criu.fileno())]
        self.program = subprocess.Popen(
            words,
            pass_fds=(theirs, criu.fileno()),
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        )
        self.spare = theirs  # of which nothing is read here
        criu.close()

    def says(self) -> str:
        assert self.program.stdout is not None
        return self.program.stdout.readline().decode().strip()

    def made(self) -> None:
        self.criu.sendall(struct.pack("<i", PID))
        socket.send_fds(self.criu, [b"\0"], [self.process.uffd])

    def send(self, first: int, count: int, version: int) -> None:
        address = self.process.address + first * PAGE
        os.write(self.source, self._header.pack(self._kinds[0], PID, address, count))
        os.write(self.source, b"".join(content(page, version)[:PAGE] for page in range(first, first + count)))

    def sent(self, pages: int) -> None:
        os.write(self.source, self._header.pack(self._kinds[1], 0, 0, pages))
        os.close(self.source)

    def stands(self) -> None:
        """Returns when it was heard, so what was sent before has been taken by then."""
        with (self.process.move / "stands").open("r+b", buffering=0) as fifo:
            fifo.write(b"\n")
            while waiting(fifo.fileno()) and self.program.poll() is None:
                pass

    def says_nothing(self) -> bool:
        assert self.program.stdout is not None
        return not waiting(self.program.stdout.fileno())

    def finished(self) -> None:
        self.criu.sendall(struct.pack("<i", 0x52535446))
        self.criu.close()


@contextlib.contextmanager
def receiver(process: Process) -> Iterator[Receiver]:
    started = Receiver(process)
    try:
        yield started
        started.program.wait(TIMEOUT_S)
    finally:
        started.program.kill()
        os.close(started.spare)
        started.program.communicate(timeout=TIMEOUT_S)


def two_rounds(process: Process) -> None:
    """Pages 0 to 199 of which 20 to 29 came once more, and 10 to 19 will come last."""
    images = process.move / "images"
    process.image("pre-1", (0, 200, PRESENT), version=1)
    process.image("pre-2", (0, 20, PARENT), (20, 10, PRESENT), (30, 170, PARENT), version=2)
    process.image(".", (0, 10, PARENT), (10, 10, LAZY), (20, 180, PARENT))
    (images / "parent").symlink_to("pre-2")


def versions(page: int) -> int:
    return 3 if 10 <= page < 20 else 2 if 20 <= page < 30 else 1


@pytest.mark.timeout(60)
def test_what_is_sent_last_is_there_before_it_holds_and_the_rest_while_it_runs(process: Process) -> None:
    process.areas((0, 200, ANONYMOUS))
    two_rounds(process)
    process.give(0, 200)
    with receiver(process) as late:
        late.send(10, 4, version=3)  # kept, for there is no process yet
        late.made()
        late.send(14, 6, version=3)
        late.sent(10)
        assert late.says() == "placed 10"
        assert process.has(12) == content(12, 3)[:PAGE]
        assert process.has(150) == content(150, 1)[:PAGE]  # CRIU's restore touches a page: nobody has to stand for it
        late.stands()
        assert late.says() == "holds"
        assert process.has(25) == content(25, 2)[:PAGE]
        late.finished()
        assert late.says().startswith("all ")
    for page in range(200):
        assert process.has(page) == content(page, versions(page))[:PAGE], page
    assert process.has(250) == b"\0" * PAGE


@pytest.mark.timeout(60)
def test_nothing_is_said_to_be_placed_that_has_no_place_yet(process: Process) -> None:
    process.areas((0, 200, ANONYMOUS))
    two_rounds(process)
    process.give(0, 200)
    with receiver(process) as late:
        late.send(10, 10, version=3)
        late.sent(10)
        while waiting(late.spare):
            pass
        late.stands()
        assert late.says_nothing()
        late.made()
        assert late.says() == "placed 10"
        assert late.says() == "holds"
        late.finished()
        assert late.says().startswith("all ")


@pytest.mark.timeout(60)
def test_an_area_that_the_restore_has_not_left_to_us_is_seen_before_it_holds(process: Process) -> None:
    process.areas((0, 100, ANONYMOUS), (100, 100, ANONYMOUS))
    two_rounds(process)
    process.give(0, 100)
    with receiver(process) as late:
        late.made()
        late.send(10, 10, version=3)
        late.sent(10)
        assert late.says() == "placed 10"
        late.stands()
        assert late.says() == "damaged the restore has not left all memory to userfaultfd that rounds have brought"


@pytest.mark.timeout(60)
def test_a_process_that_the_restore_has_not_left_to_us_is_seen_before_it_holds(process: Process) -> None:
    process.areas((0, 200, ANONYMOUS))
    two_rounds(process)
    process.image(".", (0, 200, PARENT))
    with receiver(process) as late:
        late.sent(0)
        assert late.says() == "placed 0"
        late.stands()
        assert late.says() == "damaged the restore has not left all memory to userfaultfd that rounds have brought"


@pytest.mark.timeout(60)
def test_pages_that_no_round_has_brought_are_seen_before_it_holds(process: Process) -> None:
    process.areas((0, 250, ANONYMOUS))
    two_rounds(process)
    process.image(".", (0, 10, PARENT), (10, 10, LAZY), (20, 181, PARENT))
    with receiver(process) as late:
        at = process.address + 200 * PAGE
        assert late.says() == f"damaged no round has brought what process {PID} had at {at:#x}"


@pytest.mark.timeout(60)
def test_a_source_that_ends_early_ends_it(process: Process) -> None:
    process.areas((0, 200, ANONYMOUS))
    two_rounds(process)
    with receiver(process) as late:
        os.close(late.source)
        assert late.says() == "damaged the connection ended before all had come"


def test_only_memory_that_criu_leaves_to_userfaultfd_is_left_for_later(process: Process) -> None:
    process.areas((0, 50, ANONYMOUS), (50, 50, ANONYMOUS | LOCKED), (100, 100, OF_A_FILE))
    two_rounds(process)
    frames, rounds = load("frames"), load("rounds")
    left = rounds.leave(process.move / "images", os.getuid())
    at = process.address
    assert left == [frames.Run(PID, at, 10), frames.Run(PID, at + 20 * PAGE, 30)]
    told = frames.pagemap_of((process.move / "images" / f"pagemap-{PID}.img").read_bytes())
    assert told == (
        1,
        [
            (at, 10, PARENT | LAZY),
            (at + 10 * PAGE, 10, LAZY),
            (at + 20 * PAGE, 30, PARENT | LAZY),
            (at + 50 * PAGE, 50, PARENT),
            (at + 100 * PAGE, 100, PARENT),
        ],
    )


def test_images_of_which_nothing_is_left_for_later_stay_as_they_came(process: Process) -> None:
    process.areas((0, 200, OF_A_FILE))
    two_rounds(process)
    image = process.move / "images" / f"pagemap-{PID}.img"
    before = image.read_bytes()
    assert load("rounds").leave(process.move / "images", os.getuid()) == []
    assert image.read_bytes() == before


def one_more_round(process: Process) -> None:
    images = process.move / "images"
    process.image("pre-3", (0, 100, PARENT), (100, 5, PRESENT), (105, 95, PARENT), version=3)
    (images / "parent").unlink()
    (images / "parent").symlink_to("pre-3")


def files_of(process: Process, rounds: Any, first: int, pages: int) -> list[tuple[str, int]]:
    """In which round each part of these pages lies, and how many pages it has."""
    run = load("frames").Run(PID, process.address + first * PAGE, pages)
    return [(part.file.parent.name, (part.end - part.start) // PAGE) for part in rounds.parts(run)]


@pytest.mark.timeout(60)
def test_a_round_that_comes_when_all_stands_ready_is_looked_up_before_the_stream_begins(process: Process) -> None:
    two_rounds(process)
    os.mkfifo(process.move / "round-came")
    rounds = load("rounds").Rounds(process.move / "images")
    assert files_of(process, rounds, 98, 9) == [("pre-1", 9)]
    stream, source = os.pipe()
    waits = threading.Thread(target=rounds.look_up_until, args=(stream, process.move / "round-came"))
    waits.start()
    one_more_round(process)
    with (process.move / "round-came").open("r+b", buffering=0) as fifo:
        fifo.write(b"\n")
        while waiting(fifo.fileno()):
            pass
    found = [("pre-1", 2), ("pre-3", 5), ("pre-1", 2)]
    while waits.is_alive() and files_of(process, rounds, 98, 9) != found:
        pass
    assert waits.is_alive()
    os.write(source, b"!")
    waits.join()
    os.close(source)
    os.close(stream)


@pytest.mark.timeout(60)
def test_a_round_that_came_before_anybody_listened_is_looked_up_too(process: Process) -> None:
    two_rounds(process)
    os.mkfifo(process.move / "round-came")
    rounds = load("rounds").Rounds(process.move / "images")
    one_more_round(process)
    stream, source = os.pipe()
    os.write(source, b"!")
    rounds.look_up_until(stream, process.move / "round-came")
    assert files_of(process, rounds, 100, 5) == [("pre-3", 5)]
    os.close(source)
    os.close(stream)


@pytest.mark.timeout(60)
def test_a_round_is_given_to_who_reads_it_and_told_to_who_waits(process: Process) -> None:
    frames, images = load("frames"), process.move / "images"
    os.mkfifo(process.move / "round-came")
    address = process.address
    stream = b"".join(
        (
            frames.HEADER.pack(frames.PROCESS, PID, 0, 0),
            frames.HEADER.pack(frames.PAGES, PID, address, 2),
            content(0, 1)[:PAGE] + content(1, 1)[:PAGE],
            frames.HEADER.pack(frames.END, 0, 0, 2),
        )
    )
    with (process.move / "round-came").open("r+b", buffering=0) as told:
        words = [sys.executable, str(SCRIPTS / "round_in.py"), str(process.move), "1", str(os.getuid() + 1000)]
        done = subprocess.run(words, input=stream, capture_output=True, check=True, timeout=TIMEOUT_S)
        assert (done.stdout, waiting(told.fileno())) == (b"placed 2\n", 1)
    assert (images / "parent").readlink() == Path("pre-1")
    assert files_of(process, load("rounds").Rounds(images), 0, 2) == [("pre-1", 2)]
    found = {path.name: path.stat() for path in (images / "pre-1", *(images / "pre-1").iterdir())}
    assert {stat.S_IMODE(each.st_mode) for name, each in found.items() if name.endswith(".img")} == {0o640}
    assert stat.S_IMODE(found["pre-1"].st_mode) == 0o750
    assert {each.st_uid for each in found.values()} == {os.getuid() + 1000}
