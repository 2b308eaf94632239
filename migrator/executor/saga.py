"""One migration: forward step by step, one decision, then to the end; or back to where it was.

Every transition is in the journal before and after the act. Before the decision any failure, and any
cancellation, aborts and rolls back. After it there is only forward: what cannot be finished is told, never undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext

import tenacity

from migrator.errors import FailedSafe, MigratorError, NeedsOperator, Refused
from migrator.executor.cancel import finish_anyway
from migrator.executor.look import look
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.protocol.states import State, is_decided
from migrator.steps import AFTER_RELEASE, FROZEN, PREPARE, RELEASE, UNDO_ORDER
from migrator.steps.base import Move, Side, Step
from migrator.transport.base import NodeMissing, NodeRefused, NodeUnreachable

Turn = Callable[[Move], AbstractAsyncContextManager[object]]
Notify = Callable[[Move, State, Phase], None]

# A node that declines here was asked whether it would take the container, and said no.
BEFORE_ANY_CHANGE = (State.LEASED, State.CHECKED, State.RESERVED)


def _free_for_all(move: Move) -> AbstractAsyncContextManager[object]:
    return nullcontext()


class Unsettled(NeedsOperator):
    """The saga may not decide by itself any more; recovery asks both nodes and goes by its table."""


class Saga:
    """Carries one move out. `turn` is entered for the frozen time, so that pauses on one link do not overlap."""

    def __init__(
        self,
        move: Move,
        journal: Journal,
        turn: Turn = _free_for_all,
        notify: Notify = lambda move, state, phase: None,
    ) -> None:
        self.move = move
        self.journal = journal
        self.turn = turn
        self.notify = notify

    async def run(self) -> None:
        """Moves the container, or leaves it where it was. Raises what says which, with the exit code of that."""
        try:
            await self._all(PREPARE)
            async with self.turn(self.move):
                await self._all(FROZEN)
                await finish_anyway(self._commit_and_release())
        except (MigratorError, asyncio.CancelledError) as error:
            await finish_anyway(self._failed(error))
            if State.RELEASED in self.move.results:  # only a cancellation comes here after the release
                await finish_anyway(self.finish())
            raise
        await finish_anyway(self.finish())

    async def finish(self) -> None:
        """What follows the release. The container runs on the target whatever happens here."""
        move = self.move
        try:
            await self._all(AFTER_RELEASE)
        except MigratorError as error:
            raise FailedSafe(
                f"container {move.name} runs on {move.target.node.name}, but {move.source.node.name} is not cleaned: "
                f"{error}; run: migrator resume {move.run}"
            ) from error

    async def release(self) -> None:
        """Releases a committed move, trying for a while if the target does not answer."""
        move = self.move
        clock = asyncio.get_running_loop().time  # the loop's: tenacity's own knows no virtual time
        give_up_at_s = clock() + move.policy.recovery_timeout_s
        patiently = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NodeUnreachable),
            stop=lambda state: clock() >= give_up_at_s,
            wait=tenacity.wait_exponential(multiplier=0.5, max=5),
            reraise=True,
        )
        try:
            async for attempt in patiently:
                with attempt:
                    await self.step(RELEASE)
        except MigratorError as error:
            kind = NeedsOperator if isinstance(error, NodeUnreachable) else Unsettled
            raise kind(
                f"container {move.name} is committed to {move.target.node.name} and not released: {error}; both copies "
                f"stay as they are; when the node answers run: migrator resume {move.run}"
            ) from error
        if move.results[State.RELEASED].get("processes") == "none":
            raise NeedsOperator(
                f"container {move.name} ended on {move.target.node.name} right after its release; see: "
                f"migrator ct logs {move.name}; its files are there: migrator ct start {move.name}"
            )

    async def roll_back(self, silent: Collection[Side] = ()) -> None:
        """Undoes an aborted move. What cannot be reached is said; its own watchdog or a later resume settles it.

        `silent` sides did not answer when the token was raised: one that answers again would refuse ours.
        """
        move = self.move
        debts = []
        for step in UNDO_ORDER:
            if step.undo_side(move) in silent:
                debts.append(f"node {step.undo_side(move).node.name}: no answer")
                continue
            try:
                await step.undo(move)
            except (NodeRefused, NodeMissing):
                continue  # nothing of this move is there, or a later token has taken it over
            except MigratorError as error:
                debts.append(str(error))
        if debts:
            owed = "; ".join(dict.fromkeys(debts))
            raise FailedSafe(
                f"container {move.name} stays on {move.source.node.name}; not cleaned yet: {owed}; "
                f"run: migrator resume {move.run}"
            )
        self.journal.record(move.id, (State.ROLLED_BACK, Phase.END, {}))
        self.notify(move, State.ROLLED_BACK, Phase.END)

    async def _commit_and_release(self) -> None:
        move = self.move
        self.journal.decide(move.id, move.token, State.COMMITTED)  # the commit point
        self.notify(move, State.COMMITTED, Phase.END)
        await self.release()

    async def _failed(self, error: BaseException) -> None:
        """Decides against the move unless it is decided, rolls back, and says how it ended."""
        move = self.move
        progress = self.journal.progress(move.id)
        if is_decided(progress.state):
            return
        if progress.pending is not None:
            self.journal.record(move.id, (progress.pending, Phase.FAIL, {"error": _said(error)}))
        if progress.verified and not await self._source_can_run():
            raise Unsettled(
                f"container {move.name} is undecided between {move.source.node.name} and {move.target.node.name}: "
                f"{_said(error)}; run: migrator resume {move.run}"
            ) from error
        self.journal.decide(move.id, move.token, State.ABORTED, {"error": _said(error)})
        self.notify(move, State.ABORTED, Phase.END)
        await self.roll_back()
        if isinstance(error, MigratorError):
            told = f"{error}; container {move.name} runs on {move.source.node.name} as before"
            declined = isinstance(error, NodeRefused) and progress.pending in BEFORE_ANY_CHANGE
            kind = Refused if isinstance(error, Refused) or declined else FailedSafe
            raise kind(told) from error

    async def _source_can_run(self) -> bool:
        """Whether the source is known to have its container whole. If it has not, a verified copy held by the target
        may be the only one, and to abort would end it."""
        try:
            seen = await look(self.move.source, self.move.name)
        except MigratorError:  # it answers, and nobody understands what
            return False
        return seen is not None and seen.alive and seen.same_boot

    async def _all(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            await self.step(step)

    async def step(self, step: Step) -> None:
        move = self.move
        self.journal.record(move.id, (step.state, Phase.BEGIN, {}))
        self.notify(move, step.state, Phase.BEGIN)
        result = await step.do(move)
        move.results[step.state] = result
        self.journal.record(move.id, (step.state, Phase.END, result))
        self.notify(move, step.state, Phase.END)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
