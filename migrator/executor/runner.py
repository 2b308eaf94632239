"""Runs a plan: each move as soon as what it waits for has ended, within limits, and pauses on one link in turn.

A failed move stops what waits for it and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace

from migrator.errors import MigratorError, NeedsOperator, NotYet
from migrator.executor.recover import migrate
from migrator.executor.saga import Notify, TurnOf
from migrator.executor.turns import Turns
from migrator.journal.store import Journal
from migrator.model.modes import Mode
from migrator.model.plan import Plan, PlannedMove
from migrator.protocol.states import State
from migrator.steps.base import Move, Turn


@dataclass(slots=True)
class RunResult:
    """How the moves of a run ended, by name. `failed` maps one to its error, `skipped` to what it waited for.

    `cut_off` tells, in words, of containers that were moved and run behind a gate that did not open.
    """

    moved: list[str] = field(default_factory=list)
    failed: dict[str, MigratorError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    cut_off: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The worst of the moves': an operator needed before a failure before a refusal."""
        return max(
            (error.exit_code for error in self.failed.values()), default=4 if self.skipped or self.cut_off else 0
        )

    @property
    def waiting(self) -> bool:
        """Whether nothing failed, and all that is not done waits for its time."""
        return bool(self.failed) and all(isinstance(error, NotYet) for error in self.failed.values())

    def told(self) -> list[str]:
        """What did not end well, in words."""
        waited = [(*name.partition("#")[::2], other) for name, other in self.skipped.items()]
        skipped = [
            f"container {name} was not moved{' on' if leg else ''}: it waited for {other}"
            for name, leg, other in waited
        ]
        return [*(str(error) for error in self.failed.values()), *skipped, *self.cut_off]


class Runner:
    """Carries out the moves of one run. `prepare` makes a move from its plan, from facts as they are then; `turns` says
    when each may go on. `may_pause` is asked when a move has its turn, right before its freeze, and raises if it may
    not be paused any more.
    """

    def __init__(
        self,
        journal: Journal,
        turns: Turns,
        prepare: Callable[[PlannedMove], Awaitable[Move]],
        notify: Notify,
        may_pause: Callable[[PlannedMove, Move], None] = lambda planned, move: None,
    ) -> None:
        self.journal = journal
        self.prepare = prepare
        self.notify = notify
        self.turns = turns
        self.may_pause = may_pause

    async def run(self, plan: Plan, done: Collection[str] = ()) -> RunResult:
        """Runs the plan's moves except those named in `done`. Never raises for a move's failure: the result tells."""
        finished: dict[str, asyncio.Future[bool]] = {}
        loop = asyncio.get_running_loop()
        for planned in plan.moves:
            finished[planned.name] = loop.create_future()
        result = RunResult()
        tasks = [
            asyncio.create_task(self._one(planned, finished, result, planned.name in done)) for planned in plan.moves
        ]
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # each rolls back or finishes first
            stuck = [str(error) for error in result.failed.values() if isinstance(error, NeedsOperator)]
            if stuck:  # which says more than that it was interrupted
                raise NeedsOperator("; ".join(stuck)) from None
            raise
        return result

    async def _one(
        self, planned: PlannedMove, finished: dict[str, asyncio.Future[bool]], result: RunResult, done: bool
    ) -> None:
        mine = finished[planned.name]
        try:
            for other in planned.waits_for:
                if not await finished[other]:
                    result.skipped[planned.name] = other
                    return
            if not done:
                async with self.turns.moving(planned):
                    move = await self.prepare(planned)
                    await migrate(move, self.journal, self._turn(planned), self.notify)
            result.moved.append(planned.name)
            mine.set_result(True)
        except MigratorError as error:
            result.failed[planned.name] = error
        finally:
            if not mine.done():
                mine.set_result(False)

    def _turn(self, planned: PlannedMove) -> TurnOf:
        """A move's turn to pause, in which it is asked once more whether it may: it has waited since it was."""

        @contextlib.asynccontextmanager
        async def turn(move: Move) -> AsyncIterator[Turn]:
            async with self.turns.pausing(move, predicted_s(planned, move)) as mine:

                async def may_freeze() -> None:
                    await mine.come()
                    self.may_pause(planned, move)

                yield replace(mine, come=may_freeze)

        return turn


def predicted_s(planned: PlannedMove, move: Move) -> float:
    """How long a pause will be, by what is known when the container could be paused. Of a stop nobody knows; it counts
    as if memory were sent.
    """
    if (told_ms := move.results[State.SEEDED].get("predicted_ms")) is not None:
        return float(told_ms) / 1000
    return move.rates.constant_s(Mode.POST_COPY) if move.mode is Mode.POST_COPY else planned.estimate.blackout_s
