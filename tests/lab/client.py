"""A client on one TCP connection that never reconnects: all it gets after a migration came through the same one."""

from __future__ import annotations

import asyncio
from types import TracebackType

CONNECT_TRIES = 100
ANSWER_LIMIT_S = 120
"""Above the longest outage of a test: TCP doubles its wait at each try (RFC 6298, 5.5), so a client cut off for a while
may be silent for as long again after its container runs."""


class CountingClient:
    """Asks and is answered with the next number; a skipped, repeated or reset answer ends it with an error."""

    def __init__(self, ip: str, connect_tries: int = CONNECT_TRIES, port: int = 7000) -> None:
        self.ip = ip
        self.port = port
        self.connect_tries = connect_tries
        self.answers = 0
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> CountingClient:
        for _ in range(self.connect_tries):  # the program in the container may still be starting
            try:
                self._reader, self._writer = await asyncio.open_connection(self.ip, self.port)
                break
            except OSError:
                await asyncio.sleep(0.05)
        self._task = asyncio.create_task(self._ask())
        await self.more(3)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()

    async def more(self, count: int, timeout_s: float = ANSWER_LIMIT_S) -> None:
        """Waits for that many more answers; raises what ended the connection, if something did."""
        wanted = self.answers + count
        async with asyncio.timeout(timeout_s):
            while self.answers < wanted:
                if self._task is not None and self._task.done():
                    self._task.result()
                self._more.clear()
                await self._more.wait()

    async def _ask(self) -> None:
        first: int | None = None
        try:
            while True:
                self._writer.write(b"next\n")
                line = await self._reader.readline()
                number = int(line)
                first = number if first is None else first
                assert number == first + self.answers, f"got {number}, wanted {first + self.answers}"
                self.answers += 1
                self._more.set()
                await asyncio.sleep(0.002)
        finally:
            self._more.set()
