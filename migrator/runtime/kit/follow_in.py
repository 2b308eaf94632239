"""The target's end of post-copy: processes run, and get the pages that they touch before all others.

Nothing is sent unasked before the restored processes stand, when nobody waits for the link any more: the pause is not
longer by a page that is not needed in it. Then, while the pause goes on for its last words, EARLY_BYTES come, so that
whoever runs finds what all programs touch at once. When CRIU has said that its restore is over, which is after the
release, all the rest follows. Of what is sent unasked at most WINDOW_BYTES are on their way.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from pathlib import Path

import uffd
from frames import END, HEADER, PAGE, PAGES, RUN_PAGES_MAX, Areas, Damaged, Run, lazy_runs, read_exactly, write_all
from spaces import Piece, Space, page_of
from uffd import Buffer
from watcher import Watcher

# A millisecond or two on the way at 10 Gb/s and more; at 1 Gb/s a page that is waited for comes 30 ms later by it.
WINDOW_BYTES = 4 << 20
# What fits between the restore and the release: it takes 30 to 50 ms. The small areas, which the source sends first,
# are rarely more, and with more than this the two cores of a small node would lack at the release.
EARLY_BYTES = 16 << 20
# A receiver that says nothing for two minutes is taken for one whose peer is gone (receive).
HEARTBEAT_S = 20
AGAIN_S = 0.001
WAIT_TIMEOUT_S = 30
# CRIU's uffd.c: what it sends instead of a process's number when its restore is over.
RESTORE_FINISHED = 0x52535446


class Follower:
    """The memory that follows. `connection` is CRIU's, by which it hands over each process's userfaultfd."""

    def __init__(self, stream: int, answers: int, images: Path, connection: socket.socket, watcher: Watcher) -> None:
        self._stream, self._answers, self._images, self._connection = stream, answers, images, connection
        self._watcher = watcher
        self._missing: dict[int, list[Piece]] = {}
        areas: dict[int, Areas] = {}
        for run in lazy_runs(images):
            if run.pid not in areas:  # an image that is read anew for each run of pages is 60 ms of a pause at 1 GiB
                areas[run.pid] = Areas(images, run.pid)
            pieces = areas[run.pid].pieces(run.address, run.pages * PAGE)
            self._missing.setdefault(run.pid, []).extend(Piece(at, at, size) for at, size in pieces)
        self._spaces: dict[int, Space] = {}
        self._of: dict[int, list[Space]] = {}
        self._buffer = Buffer()
        self._early: list[tuple[Run, bytes]] = []
        self._zeros: list[tuple[Space, int]] = []
        self._asked: set[tuple[int, int]] = set()
        self._header = memoryview(bytearray(HEADER.size))
        self._owed_bytes, self._early_bytes = WINDOW_BYTES, EARLY_BYTES
        self._stands = os.open(images.parent / "stands", os.O_RDWR | os.O_NONBLOCK)
        self._stand = False
        self._placed = 0
        self.finished = False

    def follow(self) -> int:
        """Returns when every page is in its place, and how many came."""
        poll = select.epoll()
        self._poll = poll
        poll.register(self._stream, select.EPOLLIN)
        poll.register(self._connection, select.EPOLLIN)
        poll.register(self._watcher.socket, select.EPOLLIN)
        poll.register(self._stands, select.EPOLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(AGAIN_S if self._early or self._zeros else HEARTBEAT_S)}
            if self._watcher.socket.fileno() in ready:
                self._watcher.replace()
                poll.register(self._watcher.socket, select.EPOLLIN)
            if self._connection.fileno() in ready:
                self._take()
            if self._stands in ready:
                os.read(self._stands, 64)
                self._stand = True
                self._allow()
            for fd in ready & self._spaces.keys():
                self._hear(self._spaces[fd])
            self._again()
            if self._stream in ready and self._frame():
                break
            if not ready:
                self._say("more 0")
        self._end()
        return self._placed

    def _take(self) -> None:
        """What CRIU says: one more process, or that its restore is over."""
        word = self._connection.recv(4, socket.MSG_WAITALL)
        if len(word) < 4:
            if not self.finished:
                raise Damaged("CRIU's restore ended before it was through")
            self._poll.unregister(self._connection)
            return
        pid = int.from_bytes(word, "little", signed=True)
        if pid == RESTORE_FINISHED:
            self.finished = True
            self._allow()
        elif pid > 0:
            _, fds, _, _ = socket.recv_fds(self._connection, 1, 1)
            self._add(Space(fds[0], pid, self._missing.pop(pid, [])))

    def _add(self, space: Space) -> None:
        self._watcher.hold(space.uffd)
        self._spaces[space.uffd] = space
        self._of.setdefault(space.pid, []).append(space)
        self._poll.register(space.uffd, select.EPOLLIN)

    def _forget(self, space: Space) -> None:
        """Its processes have ended, or run another program."""
        if self._lives(space):
            del self._spaces[space.uffd]
            self._watcher.forget(space.uffd)
            os.close(space.uffd)

    def _lives(self, space: Space) -> bool:
        """Whether it is not forgotten; the number of its descriptor may be another's by now."""
        return self._spaces.get(space.uffd) is space

    def _hear(self, space: Space) -> None:
        """What the kernel tells of one address space."""
        for said in uffd.messages(space.uffd):
            if said.event == uffd.FAULT:
                self._fault(space, page_of(said.second))
            elif said.event == uffd.FORK:
                self._add(space.fork(said.first))
            elif said.event == uffd.MOVED:
                space.move(said.first, said.second, said.third)
            elif said.event in (uffd.REMOVED, uffd.UNMAPPED):
                space.drop(said.first, said.second)
            else:
                raise Damaged(f"the kernel tells of memory what nobody knows: event {said.event:#x}")

    def _fault(self, space: Space, page: int) -> None:
        """Somebody waits for a page."""
        piece = space.at(page)
        if piece is None:
            self._zeros.append((space, page))
            return
        origin = piece.origin + page - piece.at
        if (space.pid, origin) not in self._asked:
            self._asked.add((space.pid, origin))
            self._say(f"want {space.pid} {origin}")

    def _again(self) -> None:
        """Pages of zeros, and what came too early; what still cannot be placed stays for the next time."""
        zeros, self._zeros = self._zeros, []
        for space, page in zeros:
            error = uffd.zero(space.uffd, page) if self._lives(space) else 0
            if error == errno.EAGAIN:  # the kernel has something to tell first
                self._zeros.append((space, page))
            elif error == errno.ESRCH:
                self._forget(space)
            elif error in (errno.EEXIST, errno.ENOENT):
                uffd.wake(space.uffd, page)
            elif error:
                raise Damaged(f"a page at {page:#x} cannot be made: {os.strerror(error)}")
        early, self._early = self._early, []
        for run, data in early:
            self._buffer.view[: len(data)] = data
            self._place(run)

    def _frame(self) -> bool:
        """Takes one frame of the stream; True if it was the last."""
        read_exactly(self._stream, self._header)
        kind, pid, address, pages = HEADER.unpack(self._header)
        if kind == END:
            if pages != self._placed:
                raise Damaged(f"{self._placed} pages came, {pages} were sent")
            return True
        if kind != PAGES or not 0 < pages <= RUN_PAGES_MAX or address % PAGE:
            raise Damaged("a frame of the stream makes no sense")
        read_exactly(self._stream, self._buffer.view[: pages * PAGE])
        self._place(Run(pid, address, pages))
        self._placed += pages
        self._owed_bytes += pages * PAGE
        self._allow()
        return False

    def _allow(self) -> None:
        """Says how much more may be sent unasked."""
        more_bytes = (
            self._owed_bytes if self.finished else min(self._owed_bytes, self._early_bytes) if self._stand else 0
        )
        if more_bytes:
            self._owed_bytes -= more_bytes
            self._early_bytes -= min(more_bytes, self._early_bytes)
            self._say(f"more {more_bytes}")

    def _place(self, run: Run) -> None:
        """Copies the buffer to wherever it is missing: the process's own memory, and that of children it has forked."""
        for space in self._of.get(run.pid, []):  # it grows while it is gone through, when one of them forks
            if self._lives(space):
                self._copy(space, run)

    def _copy(self, space: Space, run: Run) -> None:
        ends_s = time.monotonic() + WAIT_TIMEOUT_S
        whole = True
        while piece := space.lacks(run.address, run.pages * PAGE):
            size = piece.size_bytes if whole else PAGE
            came, error = uffd.copy(space.uffd, piece.at, self._buffer.address + piece.origin - run.address, size)
            space.drop(piece.at, piece.at + came)
            at = piece.at + came
            if error == errno.EAGAIN:
                self._hear(space)
            elif error == errno.EEXIST:
                space.drop(at, at + PAGE)
                uffd.wake(space.uffd, at)
            elif error == errno.ESRCH:
                self._forget(space)
                return
            elif error == errno.ENOENT and whole and piece.size_bytes > PAGE:
                whole = False  # it spans two areas by now
            elif error == errno.ENOENT and not self.finished:
                # CRIU has not come to that area yet, so nobody can wait for it.
                self._early.append((run, bytes(self._buffer.view[: run.pages * PAGE])))
                return
            elif error == errno.ENOENT:
                space.drop(at, at + PAGE)
                uffd.wake(space.uffd, at)
            elif error:
                raise Damaged(f"pages at {at:#x} cannot be placed: {os.strerror(error)}")
            if time.monotonic() > ends_s:
                raise Damaged(f"process {run.pid} takes no pages at {at:#x}")

    def _end(self) -> None:
        while self._early:
            self._again()
        if left := sum(bool(space) for space in self._spaces.values()):
            raise Damaged(f"all pages have come, and {left} processes lack some")
        # First nobody is killed any more, then whoever waits for a page that never was gets zeros from the kernel.
        self._watcher.end()
        for space in list(self._spaces.values()):
            self._forget(space)

    def _say(self, line: str) -> None:
        write_all(self._answers, line.encode() + b"\n")
