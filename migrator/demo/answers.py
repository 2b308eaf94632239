"""How long a client waits for each answer, while something else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

ASK_EVERY_S = 0.005
FIRST_TIMEOUT_S = 30
_NUMBER = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Answered:
    """One question: when it was asked, in milliseconds of the wall clock, and how long its answer took."""

    asked_at_ms: float
    took_ms: float


class AnswerTimes(asyncio.DatagramProtocol):
    """Asks a service that echoes datagrams, again and again, whether answers come or not."""

    def __init__(self) -> None:
        self.seen: list[Answered] = []
        self._asked: dict[int, tuple[float, float]] = {}
        self._first = asyncio.Event()
        self._number = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        now_s = time.monotonic()
        if len(data) != _NUMBER.size:
            return
        asked = self._asked.pop(_NUMBER.unpack(data)[0], None)
        if asked is not None:
            at_ms, asked_s = asked
            self.seen.append(Answered(at_ms, (now_s - asked_s) * 1000))
            self._first.set()

    @contextlib.asynccontextmanager
    async def asking(self, host: str, port: int) -> AsyncIterator[None]:
        """Asks while the body runs, which begins after the first answer. TimeoutError when there is none."""
        async with asked(self, host, port, self._question, ASK_EVERY_S):
            async with asyncio.timeout(FIRST_TIMEOUT_S):
                await self._first.wait()
            yield

    def _question(self) -> bytes:
        number = self._number
        self._number += 1
        self._asked[number] = (time.time() * 1000, time.monotonic())
        return _NUMBER.pack(number)


@contextlib.asynccontextmanager
async def asked(
    listener: asyncio.DatagramProtocol, host: str, port: int, question: Callable[[], bytes], every_s: float
) -> AsyncIterator[None]:
    """Sends a question every so many seconds while the body runs, whether `listener` hears answers or not."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: listener, remote_addr=(host, port))

    async def ask() -> None:
        while True:
            transport.sendto(question())
            await asyncio.sleep(every_s)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        transport.close()


def median_ms(seen: Sequence[Answered], since_ms: float, until_ms: float) -> float | None:
    """The median answer to what was asked in that time; None when nothing was."""
    took = [each.took_ms for each in seen if since_ms <= each.asked_at_ms < until_ms]
    return median(took) if took else None
