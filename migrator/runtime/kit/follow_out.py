"""The source's end of post-copy: pages go to a target whose processes run already, those that they ask for first.

The target sends a line for each: `want PID ADDRESS` for a page that a process waits for, `more BYTES` for what may be
sent unasked. The second bounds what is on its way, so that a page that is waited for never queues behind many that are
not.
"""

from __future__ import annotations

import os
import select
from bisect import bisect_right

from channel import Outlet
from frames import END, HEADER, PAGE, Damaged, Run, cut
from page_server import PageServer

# What is sent for one question: the page that is waited for, and some of its neighbours. At 1 Gb/s it takes 2 ms.
PIECE_PAGES = 64
LINE_BYTES_MAX = 64


class Backlog:
    """What was dumped and has not been sent, cut into pieces. Small runs come first: stacks and what libraries write to
    are touched by whatever a program does next, of its large areas it needs a page here and there.
    """

    def __init__(self, runs: list[Run]) -> None:
        self._pieces = [piece for run in sorted(runs, key=lambda run: run.pages) for piece in cut(run, PIECE_PAGES)]
        self._unsent = set(self._pieces)
        self._next = iter(self._pieces)
        self._starts: dict[int, list[int]] = {}
        self._by_start: dict[tuple[int, int], Run] = {}
        for piece in self._pieces:
            self._starts.setdefault(piece.pid, []).append(piece.address)
            self._by_start[piece.pid, piece.address] = piece
        for starts in self._starts.values():
            starts.sort()
        self.pages = sum(run.pages for run in runs)

    def __bool__(self) -> bool:
        return bool(self._unsent)

    def take(self) -> Run | None:
        """The next piece, in order."""
        for piece in self._next:
            if piece in self._unsent:
                self._unsent.remove(piece)
                return piece
        return None

    def take_at(self, pid: int, address: int) -> Run | None:
        """The piece that holds a page; None if it was sent, and is on its way."""
        starts = self._starts.get(pid, [])
        index = bisect_right(starts, address) - 1
        piece = self._by_start[pid, starts[index]] if index >= 0 else None
        if piece is None or address >= piece.address + piece.pages * PAGE:
            raise Damaged(f"the target wants a page of process {pid} at {address:#x} that was not dumped")
        if piece not in self._unsent:
            return None
        self._unsent.remove(piece)
        return piece


def follow(server: PageServer, runs: list[Run], out: Outlet, answers: int) -> int:
    """Sends every page that CRIU serves, as the target wants them. Returns their bytes.

    A bound on what a move sends holds back what nobody waits for, and listens meanwhile to who does.
    """
    backlog = Backlog(runs)
    credit_bytes, said = 0, b""
    while backlog:
        pause_s = out.wait_s() if credit_bytes > 0 else None
        if select.select([answers], [], [], pause_s)[0]:
            heard = os.read(answers, 4096)
            if not heard:
                raise Damaged("the target's receiver ended before it had all pages")
            *lines, said = (said + heard).split(b"\n")
            for line in lines:
                more_bytes, wanted = _understood(line, backlog)
                credit_bytes += more_bytes
                if wanted is not None:
                    credit_bytes -= _send(server, wanted, out)
        elif not out.wait_s() and (piece := backlog.take()) is not None:
            credit_bytes -= _send(server, piece, out)
    out.write(HEADER.pack(END, 0, 0, backlog.pages))
    return backlog.pages * PAGE


def _understood(line: bytes, backlog: Backlog) -> tuple[int, Run | None]:
    """How many bytes more may be sent unasked, and what is to be sent at once."""
    try:
        match line.split():
            case [b"want", pid, address]:
                return 0, backlog.take_at(int(pid), int(address))
            case [b"more", count]:
                return int(count), None
    except ValueError:
        pass
    raise Damaged(f"the target says what nobody knows: {line[:LINE_BYTES_MAX]!r}")


def _send(server: PageServer, piece: Run, out: Outlet) -> int:
    server.ask(piece)
    server.pass_on(piece, out, at_once=True)
    return piece.pages * PAGE
