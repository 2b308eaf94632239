"""SIGINT, SIGTERM and SIGHUP, from the first line of the program to its last: a command has an exit code of its own.

A command has three times. Before it has begun anything a signal ends it at once. While it works, the work is asked to
stop, and decides. When it is over a signal comes too late: how it ended is told, and the code is that of how it ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: the terminal, or the login to it, is gone


class Stopped(BaseException):
    """Ended before anything was begun. No Exception, so that nothing but the end of the program catches it."""


class Signals:
    """What a signal does now. One for the process, because signals are the process's."""

    def __init__(self) -> None:
        self._pid = 0
        self._answer: Callable[[], None] = self._stop
        self.how_it_is = "before anything was done"

    def install(self) -> None:
        self._pid = os.getpid()
        for number in NUMBERS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                signal.signal(number, self._came)

    def early(self) -> None:
        """Nothing has been begun, or only looked at."""
        self._answer = self._stop

    def working(self, stop: Callable[[], None]) -> None:
        """`stop` is called in the middle of anything: it may only leave word."""
        self._answer = stop

    def over(self) -> None:
        """All is safe, and what is left is to tell it."""
        self._answer = self._too_late

    def ignore(self) -> None:
        """For the last moments of the process, in which Python has already let go of its handlers."""
        for number in NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _came(self, number: int, _: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self._answer()
        else:  # a child that was forked is ended as if none of this were there
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _stop(self) -> None:
        self.over()  # one is enough, also if more come while it unwinds
        raise Stopped

    def _too_late(self) -> None:
        """Nothing: the command ends by itself in a moment."""


SIGNALS = Signals()
