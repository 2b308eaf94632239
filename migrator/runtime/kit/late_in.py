"""The target's end of pre-copy: the last dump's pages are placed before the copy holds, and those that rounds have
brought, which lie on this node, while it runs already. What a process touches comes first; no link is needed for it.

Without this CRIU's restore would read them all in the pause, which grew with the container's memory and not with
what is written to. What was sent last is waited for, so the source has nothing more to give once the copy holds; what
then fails is this node. As in post-copy a watcher kills a copy that would otherwise read zeros.
"""

from __future__ import annotations

import os
import select
import socket
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from pathlib import Path

from frames import PAGE, Areas, Damaged, Run, cut
from places import EARLY_BYTES, HEARTBEAT_S, Places
from rounds import Rounds
from watcher import Watcher

# What is placed for one question, and between two looks at who asks: it takes a tenth of a millisecond.
PIECE_PAGES = 64
# Pages of the stream that come before there is a process for them are kept, so that the link is not idle meanwhile.
KEPT_RUNS_MAX = 64


class Late(Places):
    """Pages of the stream, which are waited for, and those of rounds (`left`), which are not."""

    def __init__(
        self, stream: int, images: Path, connection: socket.socket, watcher: Watcher, rounds: Rounds, left: list[Run]
    ) -> None:
        super().__init__(images, connection, watcher)
        self._stream, self._images, self._rounds = stream, images, rounds
        self._late = 0
        self._wanted: deque[Run] = deque()
        self._runs: dict[int, list[Run]] = {}
        for run in left:
            self._runs.setdefault(run.pid, []).append(run)
            # While CRIU is still at its namespaces: what has not come must be known before the copy holds.
            for _ in rounds.parts(run):
                pass
        # Small ones first, as in post-copy: stacks and what libraries write to are touched by whatever runs next.
        self._pieces = (piece for run in sorted(left, key=lambda run: run.pages) for piece in cut(run, PIECE_PAGES))
        self._next = next(self._pieces, None)
        self._early_bytes = EARLY_BYTES
        self._null = os.open(os.devnull, os.O_WRONLY)
        self.poll.register(stream, select.EPOLLIN)
        self._is_full = False

    def place_all(self, placed: Callable[[int], object], holds: Callable[[], None]) -> int:
        """Returns when every page is in its place, and how many rounds had brought. Says between how many the stream
        brought, and that the copy may be held.
        """
        sent = told = held = False
        while not (held and self.finished and not self._wanted and self._next is None):
            ready = self.turn(0 if self._has_work(held) else HEARTBEAT_S)
            if self._stream in ready and not self.take_frame(self._stream):
                self.poll.unregister(self._stream)
                sent = True
            if not sent:
                self._hold_back(self.kept >= KEPT_RUNS_MAX)
            elif not told and not self.kept:
                told = True
                placed(self.came)
            if told and self.stands and not held:
                self._try_areas()
                held = True
                holds()
            self._go_on(held)
            if not ready:
                os.write(self._null, b".")  # a sign of life (receive)
        self.end()
        return self._late

    def want(self, pid: int, origin: int) -> None:
        """What the stream brings comes without being asked for."""
        runs = self._runs.get(pid, [])
        index = bisect_right(runs, origin, key=lambda run: run.address) - 1
        if index >= 0 and origin < runs[index].address + runs[index].pages * PAGE:
            run = runs[index]
            first = (origin - run.address) // PAGE // PIECE_PAGES * PIECE_PAGES
            self._wanted.append(Run(pid, run.address + first * PAGE, min(PIECE_PAGES, run.pages - first)))

    def _has_work(self, held: bool) -> bool:
        unasked = self.finished or (held and self._early_bytes > 0)
        return bool(self._wanted) or (unasked and self._next is not None)

    def _go_on(self, held: bool) -> None:
        """One piece: what somebody waits for, or the next that nobody has asked for."""
        if self._wanted:
            self._bring(self._wanted.popleft())
        elif self._next is not None and self._has_work(held):
            piece, self._next = self._next, next(self._pieces, None)
            self._early_bytes -= piece.pages * PAGE
            self._bring(piece)

    def _bring(self, run: Run) -> None:
        if self.lacks(run):
            buffer = self.buffer()
            self._rounds.read(run, buffer.view)
            self.place(run, buffer)
            self._late += run.pages

    def _try_areas(self) -> None:
        """Places a page of each area that pages were left of. One that the restore has not given to userfaultfd would
        read as zeros for ever: that has to be seen before the copy holds.
        """
        for pid, runs in self._runs.items():
            areas = Areas(self._images, pid)
            for run in {areas.end_of(run.address): run for run in runs}.values():
                self._bring(run._replace(pages=1))
        if self.kept or self.unclaimed:
            raise Damaged("the restore has not left all memory to userfaultfd that rounds have brought")

    def _hold_back(self, is_full: bool) -> None:
        if is_full != self._is_full:
            self._is_full = is_full
            self.poll.modify(self._stream, 0 if is_full else select.EPOLLIN)
