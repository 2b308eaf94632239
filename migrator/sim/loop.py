"""An event loop whose clock jumps: nothing is waited for, and the same inputs give the same order of events.

`asyncio.timeout`, `asyncio.sleep` and everything built on them (tenacity too) go by the loop's clock, so the real
executor runs on it unchanged. A loop with nothing to do and somebody still waiting is a deadlock, and says so.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any


class Deadlock(Exception):
    """Somebody waits for what can never come."""


class _Jump:
    """Stands where a selector would: instead of sleeping until the next timer it moves the clock there."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        scheduled = self._loop._scheduled
        if timeout is None or (timeout > 0 and not scheduled):
            raise Deadlock("nothing is left to happen, and somebody still waits")
        if timeout > 0:
            self._loop.now_s = max(self._loop.now_s, scheduled[0].when())
        return []

    def close(self) -> None:
        """Nothing is held open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """One loop serves many runs, one after the other; each begins at time 0."""

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._selector = _Jump(self)

    def time(self) -> float:
        return self.now_s

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Runs one world from time 0 to the end of `main`, and ends what is left of it."""
        self.now_s = 0.0
        asyncio.set_event_loop(self)
        try:
            self.run_until_complete(main)
        finally:
            self._clear()

    def _clear(self) -> None:
        left = [task for task in asyncio.all_tasks(self) if not task.done()]
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for handle in self._scheduled:
            handle.cancel()
        self._scheduled.clear()
        heapq.heapify(self._scheduled)

    # What BaseEventLoop leaves to its children; there are no files and no other threads here.

    def _process_events(self, event_list: list[Any]) -> None:
        """No files, no events."""

    def _write_to_self(self) -> None:
        """No other thread ever wakes this loop."""
