"""Whose turn it is: how many moves may touch a node, and who may pause on which links.

Theory. A move holds its turn on both nodes from its first look at them to its end, and its links for the pause alone.
To make ready for a pause sends nothing, so it is done beside the end of the pause before. A move that waits becomes
*next* when all who are paused on its links are predicted to end within a moment, or have ended, and nobody else is next
on any of them; it has its *turn* when all its links are free. Of those that wait the first to come is asked first, and
passed over while one of its links is taken for longer. Who is next is passed by nobody: two never stand ready for one
link, and another link of the one that does may lie idle for that moment.
Links are taken all at once, when all of a move's are free. Who is next waits for those who are paused, and these wait
for nobody, so there is no circle.
While a long pause sends its last pages nothing of the next could be on the links for what its freeze and its dump take.
So who pauses is told that somebody is next, and hands its links over a moment before its last page.
A turn to pause ends by itself after the longest pause that is allowed. By then the source's own watchdog has ended the
pause, or it stands sealed until somebody resumes the run: neither sends anything, and others need not wait for it. So
it is known how long a move can stand ready at most, however wrong the prediction was, and nobody becomes next before
that is less than receivers wait.
All of this is in memory, so an orchestrator that dies leaves nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from migrator.model.facts import SharedLink
from migrator.model.links import taken
from migrator.model.plan import PlannedMove
from migrator.model.policy import Policy
from migrator.steps.base import AT_ONCE, Move, Turn

NEXT_S = 1.0  # before the predicted end of a pause; making ready takes 0.6 s (steps/precopy.py), more on busy nodes
HAND_OVER_S_MIN = 1.5  # shorter pauses would grow by more, of sharing CPUs, than the links would gain
STAND_S_MAX = 60.0  # a receiver that hears nothing for 120 s ends (the kit's `receive`)


@dataclass(slots=True, eq=False)
class _Place:
    """One move's place among those that pause: it waits, is next, has its turn, is asked for its links by one who is
    next, and has ended.
    """

    links: tuple[str, ...]
    lasts_s: float
    is_next: asyncio.Event = field(default_factory=asyncio.Event)
    has_turn: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    ends_soon: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class Turns:
    """Turns of one run's moves. `links` are those that nodes share."""

    def __init__(self, policy: Policy, links: Sequence[SharedLink] = ()) -> None:
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._policy = policy
        self._links = tuple(links)
        self._waiting: list[_Place] = []
        self._next: dict[str, _Place] = {}  # links, and who is next there
        self._pausing: dict[str, _Place] = {}  # links, and by whose turn each is taken

    @contextlib.asynccontextmanager
    async def moving(self, planned: PlannedMove) -> AsyncIterator[None]:
        """A turn on both nodes of a move."""
        async with contextlib.AsyncExitStack() as stack:
            for node in sorted((planned.source, planned.target)):  # one order for all, or two moves wait for each other
                slot = self._slots.setdefault(node, asyncio.Semaphore(self._policy.moves_per_node_max))
                await stack.enter_async_context(slot)
            yield

    @contextlib.asynccontextmanager
    async def pausing(self, move: Move, lasts_s: float) -> AsyncIterator[Turn]:
        """Entered when the move is next, with its turn, which comes at once where pauses may overlap. `lasts_s` is how
        long its pause is predicted to be.
        """
        if self._policy.overlapping_pauses:
            yield AT_ONCE
            return
        place = _Place(taken(move.source.node.name, move.target.node.name, self._links), lasts_s)
        self._waiting.append(place)
        self._go_on()
        try:
            await place.is_next.wait()
            yield Turn(place.has_turn.wait, place.wanted.wait, lambda: self._end(place))
        finally:
            self._end(place)

    def _go_on(self) -> None:
        """Gives turns to those that are next and whose links are all free, and has others be next, the first to come
        first.
        """
        for place in dict.fromkeys(self._next.values()):
            self._begin(place)
        for place in tuple(self._waiting):
            holders = [self._pausing[link] for link in place.links if link in self._pausing]
            if self._next.keys().isdisjoint(place.links) and all(holder.ends_soon for holder in holders):
                self._waiting.remove(place)
                self._next.update(dict.fromkeys(place.links, place))
                place.is_next.set()
                for holder in holders:
                    if holder.lasts_s >= HAND_OVER_S_MIN:
                        holder.wanted.set()
                self._begin(place)

    def _begin(self, place: _Place) -> None:
        """Gives a turn to one who is next, if all its links are free."""
        if not self._pausing.keys().isdisjoint(place.links):
            return
        _take_out(self._next, place)
        self._pausing.update(dict.fromkeys(place.links, place))
        place.has_turn.set()
        longest_s, later = self._policy.blackout_s_max, asyncio.get_running_loop().call_later
        place.timers.append(later(longest_s, self._end, place))
        soon_s = max(place.lasts_s - NEXT_S, longest_s - STAND_S_MAX)
        place.ends_soon = soon_s <= 0
        if not place.ends_soon:
            place.timers.append(later(soon_s, self._soon, place))

    def _soon(self, place: _Place) -> None:
        place.ends_soon = True
        self._go_on()

    def _end(self, place: _Place) -> None:
        """Ends a place, wherever it stands; one that has ended by itself before holds nothing any more."""
        for timer in place.timers:
            timer.cancel()
        if place in self._waiting:
            self._waiting.remove(place)
        _take_out(self._next, place)
        _take_out(self._pausing, place)
        self._go_on()


def _take_out(places: dict[str, _Place], place: _Place) -> None:
    for link in [link for link, holder in places.items() if holder is place]:
        del places[link]
