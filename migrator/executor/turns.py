"""Whose turn it is: how many moves may touch a node, and who may pause on which links.

Theory. A move holds its turn on both nodes from its first look at them to its end, and its links for the pause alone.
Links are taken all at once, when all of a move's are free, so nobody holds one while waiting for another: there is no
deadlock. Of those that wait the first to come is asked first, and passed over while one of its links is still taken.
A turn to pause ends by itself after the longest pause that is allowed. By then the source's own watchdog has ended the
pause, or it stands sealed until somebody resumes the run: neither sends anything, and others need not wait for it.
All of this is in memory, so an orchestrator that dies leaves nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from migrator.model.facts import SharedLink
from migrator.model.links import taken
from migrator.model.plan import PlannedMove
from migrator.model.policy import Policy
from migrator.steps.base import Move


class Turns:
    """Turns of one run's moves. `links` are those that nodes share."""

    def __init__(self, policy: Policy, links: Sequence[SharedLink] = ()) -> None:
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._policy = policy
        self._links = tuple(links)
        self._pausing: dict[str, object] = {}  # links, and by whose turn each is taken
        self._waiting: list[tuple[tuple[str, ...], asyncio.Future[object]]] = []

    @contextlib.asynccontextmanager
    async def moving(self, planned: PlannedMove) -> AsyncIterator[None]:
        """A turn on both nodes of a move."""
        async with contextlib.AsyncExitStack() as stack:
            for node in sorted((planned.source, planned.target)):  # one order for all, or two moves wait for each other
                slot = self._slots.setdefault(node, asyncio.Semaphore(self._policy.moves_per_node_max))
                await stack.enter_async_context(slot)
            yield

    @contextlib.asynccontextmanager
    async def pausing(self, move: Move) -> AsyncIterator[None]:
        """A turn to pause on all links of a move; at once where pauses may overlap."""
        if self._policy.overlapping_pauses:
            yield
            return
        turn = await self._turn(taken(move.source.node.name, move.target.node.name, self._links))
        over = asyncio.get_running_loop().call_later(self._policy.blackout_s_max, self._end, turn)
        try:
            yield
        finally:
            over.cancel()
            self._end(turn)

    async def _turn(self, links: tuple[str, ...]) -> object:
        mine: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        waiting = (links, mine)
        self._waiting.append(waiting)
        self._go_on()
        try:
            return await mine
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                self._end(mine.result())  # it came in the same moment
            raise

    def _go_on(self) -> None:
        """Gives turns to those that wait and whose links are all free, the first to come first."""
        for waiting in tuple(self._waiting):
            links, mine = waiting
            if not mine.done() and self._pausing.keys().isdisjoint(links):  # done: cancelled a moment ago
                self._waiting.remove(waiting)
                turn = object()
                self._pausing.update(dict.fromkeys(links, turn))
                mine.set_result(turn)

    def _end(self, turn: object) -> None:
        """Ends a turn, unless it has ended by itself before."""
        mine = [link for link, holder in self._pausing.items() if holder is turn]
        for link in mine:
            del self._pausing[link]
        if mine:
            self._go_on()
