"""Clients that talk to a program all the time, each over the connection it began with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

# As long as an emulated machine may take.
ANSWER_LIMIT_S = 300
CONNECT_TRIES = 2400


async def connect(ip: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, once the program in the container has started."""
    for _ in range(CONNECT_TRIES):
        try:
            return await asyncio.open_connection(ip, port)
        except OSError:
            await asyncio.sleep(0.05)
    raise TimeoutError(f"nobody listens on {ip} port {port}")


class Load:
    """`count` workers, each `talk(number, load)`: it goes on until `stopping`, and calls `answered` for every answer.

    A worker that fails ends whoever waits for answers, with its error.
    """

    def __init__(self, talk: Callable[[int, Load], Awaitable[None]], count: int = 1) -> None:
        self.stopping = False
        self.answers = [0] * count
        self._talk = talk
        self._more = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.ensure_future(self._work(number)) for number in range(len(self.answers))]
        await self.more(1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping = True
        if error is not None:
            for task in self._tasks:
                task.cancel()
        ended = asyncio.gather(*self._tasks, return_exceptions=error is not None)
        await asyncio.wait_for(ended, ANSWER_LIMIT_S)

    async def _work(self, number: int) -> None:
        try:
            await self._talk(number, self)
        finally:
            self._more.set()

    def answered(self, number: int) -> None:
        self.answers[number] += 1
        self._more.set()

    async def more(self, count: int = 5) -> None:
        """Waits until each worker had that many more answers."""
        wanted = [answers + count for answers in self.answers]
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while any(now < then for now, then in zip(self.answers, wanted, strict=True)):
                for task in self._tasks:
                    if task.done():
                        task.result()
                        raise AssertionError("a client has ended early")
                self._more.clear()
                await self._more.wait()
