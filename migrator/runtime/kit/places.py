"""Restored processes that run, or are about to, before all their pages are in their place: what the kernel and CRIU
tell of them, and how a page comes to whoever lacks it. Where pages come from is for who builds on this: the source,
in post-copy (follow_in.py), or what rounds of pre-copy have left on this node (late_in.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from pathlib import Path

import uffd
from frames import END, HEADER, PAGE, PAGES, RUN_PAGES_MAX, Areas, Damaged, Run, lazy_runs, read_exactly
from spaces import Piece, Space, page_of
from uffd import Buffer
from watcher import Watcher

# What fits between the restore and the release: it takes 30 to 50 ms. The small areas, which go first, are rarely
# more, and with more than this the two cores of a small node would lack at the release.
EARLY_BYTES = 16 << 20
# A receiver that neither reads nor writes for two minutes is taken for one whose peer is gone (receive).
HEARTBEAT_S = 20
AGAIN_S, AGAIN_S_MAX = 0.001, 0.016
WAIT_TIMEOUT_S = 30
# CRIU's uffd.c: what it sends instead of a process's number when its restore is over.
RESTORE_FINISHED = 0x52535446


class Places:
    """The address spaces, and what they lack. `connection` is CRIU's, by which it hands over each one's userfaultfd.

    `stands` is whether all processes are there, `finished` whether CRIU has let them go, `came` how many pages a stream
    has brought.
    """

    def __init__(self, images: Path, connection: socket.socket, watcher: Watcher) -> None:
        self._connection, self._watcher = connection, watcher
        self._missing: dict[int, list[Piece]] = {}
        areas: dict[int, Areas] = {}
        for run in lazy_runs(images):
            if run.pid not in areas:  # an image that is read anew for each run of pages is 60 ms of a pause at 1 GiB
                areas[run.pid] = Areas(images, run.pid)
            pieces = areas[run.pid].pieces(run.address, run.pages * PAGE)
            self._missing.setdefault(run.pid, []).extend(Piece(at, at, size) for at, size in pieces)
        self._spaces: dict[int, Space] = {}
        self._of: dict[int, list[Space]] = {}
        self._early: list[tuple[Run, Buffer]] = []
        self._again_s, self._pause_s = 0.0, AGAIN_S
        self._buffers: list[Buffer] = []
        self._zeros: list[tuple[Space, int]] = []
        self._stands = os.open(images.parent / "stands", os.O_RDWR | os.O_NONBLOCK)
        self.stands = self.finished = False
        self.came = 0
        self._header = memoryview(bytearray(HEADER.size))
        with contextlib.suppress(OSError):  # the kernel ends somebody else where memory is short
            Path("/proc/self/oom_score_adj").write_text("-1000")
        self.poll = select.epoll()
        for fd in (connection.fileno(), watcher.socket.fileno(), self._stands):
            self.poll.register(fd, select.EPOLLIN)

    # What who builds on this does with what is heard. Not at once where it would place pages: one may be being placed.

    def want(self, pid: int, origin: int) -> None:
        """Somebody waits for a page that was at `origin` when its process was dumped."""
        raise NotImplementedError

    def allow(self) -> None:
        """The processes stand, or run."""

    def turn(self, pause_s: float) -> set[int]:
        """Waits until something is there; takes what the kernel, CRIU and the watcher say. Returns who can be read."""
        if self._zeros:
            pause_s = min(pause_s, AGAIN_S)
        elif any(run.pid in self._of for run, _ in self._early):
            pause_s = min(pause_s, max(0.0, self._again_s - time.monotonic()))
        ready = {fd for fd, _ in self.poll.poll(pause_s)}
        if self._watcher.socket.fileno() in ready:
            self._watcher.replace()
            self.poll.register(self._watcher.socket, select.EPOLLIN)
        if self._connection.fileno() in ready:
            self._take()
        if self._stands in ready:
            os.read(self._stands, 64)
            self.stands = True
            self.allow()
        for fd in ready & self._spaces.keys():
            self._hear(self._spaces[fd])
        self._again()
        return ready

    def buffer(self) -> Buffer:
        return self._buffers.pop() if self._buffers else Buffer()

    def place(self, run: Run, buffer: Buffer) -> None:
        """Copies a run to wherever it is missing: the process's own memory, and that of children it has forked. What
        nobody can take yet is kept with its buffer, which is given back when it is in its place.
        """
        if self._place(run, buffer):
            self._buffers.append(buffer)
        else:
            self._early.append((run, buffer))

    def take_frame(self, stream: int) -> int:
        """Takes one frame of the stream, and places what it brings. Returns its bytes: 0 of the last one."""
        read_exactly(stream, self._header)
        kind, pid, address, pages = HEADER.unpack(self._header)
        if kind == END:
            if pages != self.came:
                raise Damaged(f"{self.came} pages came, {pages} were sent")
            return 0
        if kind != PAGES or not 0 < pages <= RUN_PAGES_MAX or address % PAGE:
            raise Damaged("a frame of the stream makes no sense")
        buffer = self.buffer()
        read_exactly(stream, buffer.view[: pages * PAGE])
        self.came += pages
        self.place(Run(pid, address, pages), buffer)
        size_bytes: int = pages * PAGE
        return size_bytes

    @property
    def unclaimed(self) -> bool:
        """Whether there is a process of which CRIU has not handed over what its pages are placed by."""
        return bool(self._missing)

    @property
    def kept(self) -> int:
        """How many runs have come for which there is no place yet."""
        return len(self._early)

    def lacks(self, run: Run) -> bool:
        """Whether anybody lacks any of it."""
        size_bytes = run.pages * PAGE
        spaces = (space for space in self._of.get(run.pid, []) if self._lives(space))
        return any(space.lacks(run.address, size_bytes) is not None for space in spaces)

    def end(self) -> None:
        """All pages have come."""
        while self._early:
            self.turn(AGAIN_S)
        if left := sum(bool(space) for space in self._spaces.values()):
            raise Damaged(f"all pages have come, and {left} processes lack some")
        # First nobody is killed any more, then whoever waits for a page that never was gets zeros from the kernel.
        self._watcher.end()
        for space in list(self._spaces.values()):
            self._forget(space)

    def _take(self) -> None:
        """What CRIU says: one more process, or that its restore is over."""
        word = self._connection.recv(4, socket.MSG_WAITALL)
        if len(word) < 4:
            if not self.finished:
                raise Damaged("CRIU's restore ended before it was through")
            self.poll.unregister(self._connection)
            return
        pid = int.from_bytes(word, "little", signed=True)
        if pid == RESTORE_FINISHED:
            self.finished = True
            self.allow()
        elif pid > 0:
            _, fds, _, _ = socket.recv_fds(self._connection, 1, 1)
            self._add(Space(fds[0], pid, self._missing.pop(pid, [])))

    def _add(self, space: Space) -> None:
        self._watcher.hold(space.uffd)
        self._spaces[space.uffd] = space
        self._of.setdefault(space.pid, []).append(space)
        self._again_s, self._pause_s = 0.0, AGAIN_S
        self.poll.register(space.uffd, select.EPOLLIN)

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
        else:
            self.want(space.pid, piece.origin + page - piece.at)

    def _again(self) -> None:
        """Pages of zeros, and what came too early; what still cannot be placed stays for the next time. Ever rarer, as
        long as it is in vain: CRIU needs the processor to make a place for it.
        """
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
        if not self._early or time.monotonic() < self._again_s:
            return
        early, self._early = self._early, []
        for run, buffer in early:
            self.place(run, buffer)
        self._pause_s = AGAIN_S if len(self._early) < len(early) else min(2 * self._pause_s, AGAIN_S_MAX)
        self._again_s = time.monotonic() + self._pause_s

    def _place(self, run: Run, buffer: Buffer) -> bool:
        """Whether all of it is in its place."""
        if run.pid not in self._of and not self.finished:
            return False
        whole = True
        for space in self._of.get(run.pid, []):  # it grows while it is gone through, when one of them forks
            if self._lives(space):
                whole = self._copy(space, run, buffer) and whole
        return whole

    def _copy(self, space: Space, run: Run, buffer: Buffer) -> bool:
        ends_s = time.monotonic() + WAIT_TIMEOUT_S
        whole = True
        while piece := space.lacks(run.address, run.pages * PAGE):
            size = piece.size_bytes if whole else PAGE
            came, error = uffd.copy(space.uffd, piece.at, buffer.address + piece.origin - run.address, size)
            space.drop(piece.at, piece.at + came)
            at = piece.at + came
            if error == errno.EAGAIN:
                self._hear(space)
            elif error == errno.EEXIST:
                space.drop(at, at + PAGE)
                uffd.wake(space.uffd, at)
            elif error == errno.ESRCH:
                self._forget(space)
                return True
            elif error == errno.ENOENT and whole and piece.size_bytes > PAGE:
                whole = False  # it spans two areas by now
            elif error == errno.ENOENT and not self.finished:
                return False  # CRIU has not come to that area yet, so nobody can wait for it
            elif error == errno.ENOENT:
                space.drop(at, at + PAGE)
                uffd.wake(space.uffd, at)
            elif error:
                raise Damaged(f"pages at {at:#x} cannot be placed: {os.strerror(error)}")
            if time.monotonic() > ends_s:
                raise Damaged(f"process {run.pid} takes no pages at {at:#x}")
        return True
