"""One migration: forward step by step, one decision, then to the end; or back to where it was.

Every transition is in the journal before and after the act. Before the decision any failure, and any
cancellation, aborts and rolls back. After it there is only forward: what cannot be finished is told, never undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import tenacity

from migrator.errors import FailedSafe, MigratorError, NeedsOperator, Refused
from migrator.executor.cancel import finish_anyway
from migrator.executor.look import look_if_it_answers
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.protocol.states import State, is_decided
from migrator.steps import AFTER_RELEASE, FROZEN, PREPARE, RELEASE, UNDO_ORDER
from migrator.steps.base import Move, Step
from migrator.transport.base import NodeMissing, NodeRefused, NodeUnreachable

Turn = Callable[[Move], AbstractAsyncContextManager[object]]
Notify = Callable[[Move, State, Phase], None]

# A node that declines here was asked whether it would take the container, and said no.
BEFORE_ANY_CHANGE = (State.LEASED, State.CHECKED, State.RESERVED)


def _free_for_all(move: Move) -> AbstractAsyncContextManager[object]:
    return nullcontext()


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
            if State.RELEASED in self.move.results:  # a cancellation came after the release, or the source was lost
                await finish_anyway(self.finish())
                if isinstance(error, MigratorError):
                    return
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
        patiently = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NodeUnreachable),
            stop=tenacity.stop_after_delay(move.policy.recovery_timeout_s),
            wait=tenacity.wait_exponential(multiplier=0.5, max=5),
            reraise=True,
        )
        try:
            async for attempt in patiently:
                with attempt:
                    await self.step(RELEASE)
        except MigratorError as error:
            raise NeedsOperator(
                f"container {move.name} is committed to {move.target.node.name} and not released: {error}; both copies "
                f"stay as they are; when the node answers run: migrator resume {move.run}"
            ) from error
        if move.results[State.RELEASED].get("processes") == "none":
            raise NeedsOperator(
                f"container {move.name} ended on {move.target.node.name} right after its release; see: "
                f"migrator ct logs {move.name}; its files are there: migrator ct start {move.name}"
            )

    async def roll_back(self) -> None:
        """Undoes an aborted move. What cannot be reached is said; its own watchdog or a later resume settles it."""
        move = self.move
        debts = []
        for step in UNDO_ORDER:
            try:
                await step.undo(move)
            except (NodeRefused, NodeMissing):
                continue  # nothing of this move is there, or a later token has taken it over
            except MigratorError as error:
                debts.append(str(error))
        if debts:
            raise FailedSafe(
                f"container {move.name} stays on {move.source.node.name}; not cleaned yet: {'; '.join(debts)}; "
                f"run: migrator resume {move.run}"
            )
        self.journal.record(move.id, (State.ROLLED_BACK, Phase.END, {"generation": move.generation}))
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
        if progress.verified and await self._only_the_held_copy_lives():
            await self._commit_and_release()
            return
        self.journal.decide(move.id, move.token, State.ABORTED, {"error": _said(error)})
        self.notify(move, State.ABORTED, Phase.END)
        await self.roll_back()
        if isinstance(error, MigratorError):
            told = f"{error}; {await self._how_it_is()}"
            declined = isinstance(error, NodeRefused) and progress.pending in BEFORE_ANY_CHANGE
            kind = Refused if isinstance(error, Refused) or declined else FailedSafe
            raise kind(told) from error

    async def _how_it_is(self) -> str:
        """What became of the container that stays on its source: it may have gone down with its node meanwhile."""
        move = self.move
        try:
            source = await look_if_it_answers(move.source.node, move.name)
        except MigratorError:
            source = None
        if source is not None and source.state == "serving" and not source.alive:
            return (
                f"container {move.name} stays on {move.source.node.name}, and its processes have ended there; "
                f"start it from its files with: migrator ct start {move.name}"
            )
        return f"container {move.name} runs on {move.source.node.name} as before"

    async def _only_the_held_copy_lives(self) -> bool:
        """Whether the source went down with its frozen copy, so that going back would lose what the target holds."""
        move = self.move
        try:
            source = await look_if_it_answers(move.source.node, move.name)
            if source is None or source.state not in ("fenced", "sealed") or (source.same_boot and source.alive):
                return False
            target = await look_if_it_answers(move.target.node, move.name)
        except MigratorError:
            return False  # not known: what follows goes back, and asks again
        return target is not None and target.state == "held" and target.held and target.same_boot

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
