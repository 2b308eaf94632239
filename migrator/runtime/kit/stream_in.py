"""The target's end of a streamed move: stream_in.py MOVE OWNER CGROUP CABLE, with the stream on stdin,
or, over a trusted network, as plain.py says.

Writes the images, then puts every page where it belongs in the restored processes, which stand and have not run: CRIU
hands over a userfaultfd for each of them, and pages are copied in by it. A page that the restore itself needs early
makes it wait until that page has come. Files in MOVE tell the rest of the kit how it stands:

    came      all images are here, and CRIU's restore goes on
    filling   locked as long as pages are missing and somebody is placing them
    listener  the number of who hears CRIU out; without him a release would fail, after its point of no return
    filled    every page is in its place

When this program ends early, the kernel's side of userfaultfd lets go, and pages that are missing would read as zeros.
So who holds the copy waits for the lock and then asks for `filled`: without it the copy is killed (criu-hook).

With a file MOVE/follows the copy is held, and released, before all its pages are in their place, and somebody stands
by who kills it if this program ends early (watcher.py). In post-copy it is there from the beginning, and pages come
from the source (follow_in.py). After rounds of pre-copy this program makes it, when it has left pages of theirs for
later (late_in.py); what comes from the source is waited for then:

    sending   locked as long as that is under way
    sent      it is in its place
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

import uffd
from apart import apart
from follow_in import Follower
from frames import (
    CAME,
    END,
    HEADER,
    IMAGE,
    NAME,
    PAGE,
    PAGES,
    RECEIVER_READY,
    RUN_PAGES_MAX,
    Areas,
    Damaged,
    Run,
    read_exactly,
)
from late_in import Late
from plain import way_in
from rounds import Rounds, leave
from splicer import SPLICE_BYTES, Splicer
from uffd import Buffer
from watcher import Watcher

# Pages that come before there is a process for them are kept, so that the link is not idle while CRIU restores.
KEPT_RUNS_MAX = 64
# A restore that is not there yet, an area that CRIU has not registered yet: asked again, so long.
WAIT_TIMEOUT_S = 30
WAIT_PAUSE_S = 0.001
# CRIU takes no pages before the last pass over the files has ended. As long as a pause may last.
FILES_TIMEOUT_S = 600
# Before the freeze nothing is lost by waiting until CRIU stands ready; where it does not, that is told later.
READY_TIMEOUT_S = 5
READY_PAUSE_S = 0.01
# CRIU reads this image before any other.
INVENTORY = "inventory.img"
INVENTORY_BYTES_MAX = 4096

# CRIU's uffd.c: a process's number as an int, then its descriptor; the number alone, negative, for a zombie.
PROCESS = struct.Struct("<i")


class Kept:
    """A run that has come, and how many of its bytes are in their place."""

    def __init__(self, run: Run, buffer: Buffer) -> None:
        self.run, self.buffer, self.done = run, buffer, 0


class Restore:
    """What CRIU has handed over so far: its connection, and each process's userfaultfd and areas."""

    def __init__(self, work: Path, images: Path) -> None:
        self._images = images
        self._listener = socket.socket(socket.AF_UNIX)
        os.chdir(work)  # a path to a socket has room for 107 characters
        self._listener.bind("lazy-pages.socket")
        self._listener.listen()
        self.connection: socket.socket | None = None
        self._uffds: dict[int, int] = {}
        self._areas: dict[int, Areas] = {}

    def connect(self) -> socket.socket:
        """CRIU's connection, which it opens before it makes the first process."""
        if not select.select([self._listener], [], [], WAIT_TIMEOUT_S)[0]:
            raise Damaged("CRIU's restore does not ask for its memory")
        self.connection, _ = self._listener.accept()
        return self.connection

    @property
    def waits_for(self) -> socket.socket:
        return self.connection or self._listener

    def take(self) -> None:
        """Takes what CRIU has said: the connection, or one more process."""
        if self.connection is None:
            self.connection, _ = self._listener.accept()
            return
        word = self.connection.recv(PROCESS.size, socket.MSG_WAITALL)
        if len(word) < PROCESS.size:
            raise Damaged("CRIU's restore ended before it had all its memory")
        (pid,) = PROCESS.unpack(word)
        if pid > 0:
            _, fds, _, _ = socket.recv_fds(self.connection, 1, 1)
            self._uffds[pid] = fds[0]

    def has(self, pid: int) -> bool:
        return pid in self._uffds

    def place(self, kept: Kept) -> bool:
        """Copies a run into its process, as far as that is ready; False if not all of it could be placed yet."""
        run = kept.run
        if run.pid not in self._areas:
            self._areas[run.pid] = Areas(self._images, run.pid)
        for address, size in self._areas[run.pid].pieces(run.address + kept.done, run.pages * PAGE - kept.done):
            copied = self._copy(self._uffds[run.pid], address, kept.buffer.address + kept.done, size)
            kept.done += copied
            if copied < size:
                return False
        return True

    @staticmethod
    def _copy(fd: int, address: int, at: int, size: int) -> int:
        """Returns how many bytes could be copied. What the kernel has to tell has to be heard first; it changes nothing
        here. ENOENT: the process has not registered that area yet.
        """
        copied, error = uffd.copy(fd, address, at, size)
        if error == errno.EAGAIN:
            uffd.messages(fd)
        elif error not in (0, errno.ENOENT):
            raise Damaged(f"pages at {address:#x} cannot be placed: {os.strerror(error)}")
        return copied


class Stream:
    """The stream, frame by frame."""

    def __init__(self, move: Path, owner: int, fd: int) -> None:
        self._fd, self._owner, self._move = fd, owner, move
        self._splicer = Splicer(fd)
        self._images = move / "images"
        self._restore = Restore(move / "work", self._images)
        self._header = memoryview(bytearray(HEADER.size))
        self._buffers: list[Buffer] = []
        self._kept: list[Kept] = []
        self._began_s = self._moved_s = time.monotonic()
        self._placed = 0
        self._inventory = bytearray()

    def receive(self) -> int:
        """Takes the whole stream. Returns how many pages were placed."""
        self._images_come()
        self._let_go_on()
        return self._pages_come()

    def receive_after(self, rounds: Rounds, answers: int, group: Path, cables: list[str]) -> int:
        """Takes the whole stream, and what rounds have brought. Returns how many pages the stream brought."""
        watcher = Watcher(group, cables)
        rounds.look_up_until(self._fd, self._move / "round-came")
        self._images_come()
        left = leave(self._images, self._owner)
        if not left:
            watcher.end()
            self._let_go_on()
            return self._pages_come()
        with (self._move / "sending").open("wb") as sending:
            fcntl.flock(sending, fcntl.LOCK_EX)
            (self._move / "listener").write_text(f"{os.getpid()}\n")
            (self._move / "follows").touch()
            self._let_go_on()

            def hold() -> None:
                (self._move / "sent").touch()
                fcntl.flock(sending, fcntl.LOCK_UN)

            late = Late(self._fd, self._images, self._restore.connect(), watcher, rounds, left)
            return late.place_all(lambda pages: os.write(answers, b"placed %d\n" % pages), hold)

    def _pages_come(self) -> int:
        while (frame := self._next())[0] != END:
            kind, pid, address, pages = frame
            if kind != PAGES or not 0 < pages <= RUN_PAGES_MAX or address % PAGE:
                raise Damaged("a frame of the stream makes no sense")
            self._pages(Run(pid, address, pages))
        while self._kept:
            self._make_room()
        if frame[3] != self._placed:
            raise Damaged(f"{self._placed} pages came, {frame[3]} were sent")
        return self._placed

    def follow(self, answers: int, group: Path, cables: list[str]) -> int:
        """Takes the images, and then pages as they are wanted. Returns how many were placed."""
        (self._move / "listener").write_text(f"{os.getpid()}\n")
        watcher = Watcher(group, cables)
        self._images_come()
        self._let_go_on()
        follower = Follower(self._fd, answers, self._images, self._restore.connect(), watcher)
        return follower.follow()

    def _images_come(self) -> None:
        came = 0
        while (frame := self._next())[0] != CAME:
            kind, _, size, length = frame
            if kind != IMAGE:
                raise Damaged("pages came before the images")
            self._image(size, length)
            came += 1
        if frame[3] != came:
            raise Damaged(f"{came} images came, {frame[3]} were sent")
        (self._move / "came").touch()

    def stay_behind(self) -> None:
        """Leaves one who listens until CRIU says that its restore is over: it fails if nobody hears it. He belongs to
        no job, and holds nothing but that connection, so what ends receivers at the release does not end the restore.
        """
        connection = self._restore.connection
        if connection is None:
            return
        if child := apart(connection.fileno()):
            (self._move / "listener").write_text(f"{child}\n")
            return
        with contextlib.suppress(OSError):
            while connection.recv(64):  # a copy may be held for days, until somebody decides; it ends with CRIU
                pass
        os._exit(0)

    def _next(self) -> tuple[int, int, int, int]:
        self._wait()
        read_exactly(self._fd, self._header)
        kind, pid, value, count = HEADER.unpack(self._header)
        return kind, pid, value, count

    def _wait(self) -> None:
        """Returns when the stream has something, or nothing more; meanwhile takes what CRIU says, and places."""
        while True:
            pause_s = WAIT_PAUSE_S if any(self._restore.has(kept.run.pid) for kept in self._kept) else None
            said = self._restore.waits_for.fileno()
            ready, _, _ = select.select([self._fd, said], [], [], pause_s)
            if said in ready:
                self._restore.take()
            self._place_kept()
            if self._fd in ready:
                return

    def _make_room(self) -> None:
        """Takes what CRIU says, and places what can be placed."""
        said = self._restore.waits_for.fileno()
        if select.select([said], [], [], WAIT_PAUSE_S)[0]:
            self._restore.take()
        self._place_kept()

    def _image(self, size: int, length: int) -> None:
        raw = bytearray(min(length, 255))
        read_exactly(self._fd, memoryview(raw))
        name = raw.decode("ascii", "replace")
        if name == INVENTORY and size <= INVENTORY_BYTES_MAX:
            self._inventory = bytearray(size)
            read_exactly(self._fd, memoryview(self._inventory))
            return
        if length > 255 or not NAME.fullmatch(name):
            raise Damaged(f"what came is not an image: {name[:70]!r}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(self._images / name, flags, 0o640)
        try:
            os.fchown(fd, self._owner, 0)
            os.fchmod(fd, 0o640)
            left = size
            while left:
                moved = self._splicer.move(self._fd, fd, min(SPLICE_BYTES, left))
                if not moved:
                    raise Damaged("the connection ended before all had come")
                left -= moved
        finally:
            os.close(fd)

    def _let_go_on(self) -> None:
        """Lets CRIU's restore go on, which stands ready and waits in its first step, to read the inventory: a fifo."""
        ends_s = time.monotonic() + WAIT_TIMEOUT_S
        while True:
            try:
                fd = os.open(self._images / INVENTORY, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                break
            except OSError as error:
                if error.errno != errno.ENXIO or time.monotonic() > ends_s:
                    raise Damaged("no restore waits for the images") from None
                time.sleep(WAIT_PAUSE_S)
        try:
            os.write(fd, self._inventory)  # far less than a pipe holds
        finally:
            os.close(fd)

    def _pages(self, run: Run) -> None:
        while len(self._kept) >= KEPT_RUNS_MAX:
            self._make_room()
        buffer = self._buffers.pop() if self._buffers else Buffer()
        read_exactly(self._fd, buffer.view[: run.pages * PAGE])
        self._kept.append(Kept(run, buffer))
        self._place_kept()

    def _place_kept(self) -> None:
        waiting = []
        for kept in self._kept:
            if self._restore.has(kept.run.pid) and self._restore.place(kept):
                self._placed += kept.run.pages
                self._buffers.append(kept.buffer)
                self._moved_s = time.monotonic()
            else:
                waiting.append(kept)
        self._kept = waiting
        if not waiting:
            self._moved_s = time.monotonic()
        elif self._is_overdue():
            run = waiting[0].run
            raise Damaged(f"process {run.pid} takes no pages at {run.address:#x}")

    def _is_overdue(self) -> bool:
        """Whether pages have waited for longer than a restore takes, once all files are there."""
        now_s = time.monotonic()
        if now_s - self._moved_s <= WAIT_TIMEOUT_S:
            return False
        if (self._move / "files-came").exists() or now_s - self._began_s > FILES_TIMEOUT_S:
            return True
        self._moved_s = now_s
        return False


def say_ready(move: Path, answers: int) -> None:
    """Tells the source that the restore stands in its first step, as far as one can see: it has opened its log."""
    ends_s = time.monotonic() + READY_TIMEOUT_S
    while not (move / "work" / "restore.log").exists() and time.monotonic() < ends_s:
        time.sleep(READY_PAUSE_S)
    os.write(answers, RECEIVER_READY)


def main(move: Path, owner: int, group: Path, cables: list[str]) -> None:
    with (move / "filling").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fd, answers = way_in(move)
        stream = Stream(move, owner, fd)
        rounds = Rounds(move / "images") if (move / "images" / "parent").exists() else None
        say_ready(move, answers)
        if (move / "follows").exists():
            placed = stream.follow(answers, group, cables)
        elif rounds is not None:
            placed = stream.receive_after(rounds, answers, group, cables)
        else:
            placed = stream.receive()
        stream.stay_behind()
        (move / "filled").touch()
        fcntl.flock(lock, fcntl.LOCK_UN)
        with contextlib.suppress(BrokenPipeError):  # after rounds it was told before, and nobody is there any more
            os.write(answers, b"placed %d\n" % placed)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    except (Damaged, OSError) as error:
        sys.stderr.write(f"the memory cannot be received: {error}\n")
        sys.exit(1)
