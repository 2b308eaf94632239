"""An event loop whose clock jumps: nothing is waited for, and the same inputs give the same order of events.

`asyncio.timeout`, `asyncio.sleep` and everything built on them (tenacity too) go by the loop's clock, so the real
executor runs on it unchanged. A loop with nothing to do and somebody still waiting is a deadlock, and says so.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")


class Deadlock(Exception):
    """Somebody waits for what can never come."""


class VirtualLoop(asyncio.BaseEventLoop):
    """One loop serves many runs, one after the other; each begins at time 0."""

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()  # and tuples are compared faster than handles

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
        for _, _, timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # As the base's own, without what serves files, threads, signals and slow callbacks, on which a seventh of a
    # simulated life was spent. Timers of one moment come in the order in which they were set.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left out when its moment comes."""

    def _run_once(self) -> None:
        """Moves the clock to the next timer if nothing else is left to do, and does what is due."""
        timers, ready = self._timers, self._ready
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise Deadlock("nothing is left to happen, and somebody still waits")
            self.now_s = max(self.now_s, timers[0][0])
        while timers and timers[0][0] <= self.now_s:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _write_to_self(self) -> None:
        """No other thread ever wakes this loop."""
