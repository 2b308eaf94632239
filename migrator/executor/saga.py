"""One migration: forward step by step, one decision, then to the end; or back to where it was.

Every transition is in the journal before and after the act. Before the decision any failure, and any
cancellation, aborts and rolls back. After it there is only forward: what cannot be finished is told, never undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from itertools import zip_longest
from typing import Any

import tenacity

from migrator.errors import FailedSafe, MigratorError, NeedsOperator, NotYet, Refused
from migrator.executor import site
from migrator.executor.cancel import finish_anyway
from migrator.executor.look import look
from migrator.journal.events import Phase
from migrator.journal.store import Journal, JournalError
from migrator.model.modes import ANEW, Mode
from migrator.model.site import When
from migrator.protocol.recovery import of_a_silent_source
from migrator.protocol.states import State, is_decided
from migrator.steps import FROZEN, PREPARE, RELEASE, UNDO_ORDER, after_release
from migrator.steps.base import AT_ONCE, Move, Step, Turn
from migrator.steps.fence import makes_ready
from migrator.steps.fill import MemoryLost, not_let_go
from migrator.transport.base import NodeMissing, NodeRefused, NodeUnreachable

# Entered when a move may make itself ready for its pause.
TurnOf = Callable[[Move], AbstractAsyncContextManager[Turn]]
Notify = Callable[[Move, State, Phase], None]

# A node that declines here was asked whether it would take the container, and said no.
BEFORE_ANY_CHANGE = (State.LEASED, State.CHECKED, State.RESERVED)


def free_for_all(move: Move) -> AbstractAsyncContextManager[Turn]:
    return nullcontext(AT_ONCE)


class Undecided(NeedsOperator):
    """A verified copy is held, and the source does not say that it is whole: not for the saga to decide."""


class Rehearsed(MigratorError):
    """Not a failure: the move was made as far as a rehearsal goes, and taken back."""

    exit_code = 0


class NotReleased(NeedsOperator):
    """Committed, and the target has answered that it cannot release: its copy is lost, or was never there."""


class Saga:
    """Carries one move out. `turn` is entered for the pause, until it is sealed or the container runs again."""

    def __init__(
        self,
        move: Move,
        journal: Journal,
        turn: TurnOf = free_for_all,
        notify: Notify = lambda move, state, phase: None,
    ) -> None:
        self.move = move
        self.journal = journal
        self.turn = turn
        self._thawed_at_ms: int | None = None
        self._begun: State | None = None  # a step whose begin was written with the end of the one before
        self.notify = notify

    async def run(self) -> None:
        """Moves the container, or leaves it where it was. Raises what says which, with the exit code of that."""
        name, source, target = self.move.name, self.move.source.node.name, self.move.target.node.name
        # The pause is until it runs again, on either side; the turn ends where nothing more of it goes over the links.
        async with AsyncExitStack() as turn, AsyncExitStack() as pause:
            try:
                await self._all(PREPARE)
                self.move.turn = await turn.enter_async_context(self.turn(self.move))
                for side in (self.move.source, self.move.target):
                    await pause.enter_async_context(side.node.standing_by())
                if not makes_ready(self.move):
                    await self.move.turn.come()
                await self._frozen()
                await turn.aclose()
                await finish_anyway(self._commit_and_release(), f"{name}: committed, releasing on {target}")
            except (MigratorError, asyncio.CancelledError) as error:
                await finish_anyway(self._failed(error), f"{name}: rolling back on {source}")
                if State.RELEASED in self.move.results and not isinstance(error, MemoryLost):
                    await finish_anyway(self.finish(), f"{name}: runs on {target}, cleaning {source}")
                raise
        await finish_anyway(self.finish(), f"{name}: runs on {target}, cleaning {source}")

    async def _frozen(self) -> None:
        """The site is asked as late as its refusal costs no more than a pause: while the watchdog still stands by."""
        for step, then in zip_longest(FROZEN, FROZEN[1:]):
            if step.state is State.SEALED:
                if self.move.rehearsal:
                    raise Rehearsed("rehearsed: restored, and as it was dumped")
                await site.ask(self.move, self.journal)
            at_once = then is not None and then.state is not State.SEALED and not self.move.rehearsal
            await self.step(step, then if at_once else None)
            if self.move.rehearsal and step.state is State.SYNCED:
                await self._thaw()

    async def _thaw(self) -> None:
        """A rehearsal pauses no longer than its dump and the last pass over the files take: nothing will be sealed."""
        await UNDO_ORDER[0].undo(self.move)
        if self.move.thawed:
            self._thawed_at_ms = self.journal.now_ms()

    async def finish(self) -> None:
        """What follows the release. The container runs on the target whatever happens here."""
        move = self.move
        try:
            await site.tell(move, self.journal, When.AFTER_RELEASE)
            await self._all(after_release(move))
        except MemoryLost:
            raise
        except MigratorError as error:
            raise FailedSafe(
                f"container {move.name} runs on {move.target.node.name}, but {move.source.node.name} is not cleaned: "
                f"{error}; run: migrator resume {move.run}"
            ) from error

    async def release(self) -> None:
        """Releases a committed move, trying for a while if the target does not answer.

        NotReleased when the target has answered that it cannot: then recovery can know what is true.
        """
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
        except JournalError as error:
            raise self._unwritten(error) from error
        except MigratorError as error:
            kind = NeedsOperator if isinstance(error, NodeUnreachable) else NotReleased
            raise kind(
                f"container {move.name} is committed to {move.target.node.name} and not released: {error}; both copies "
                f"stay as they are; when the node answers run: migrator resume {move.run}"
            ) from error
        if why := move.results[State.RELEASED].get("not_let_go"):
            raise not_let_go(move, why)
        if move.results[State.RELEASED].get("processes") == "none":
            raise NeedsOperator(
                f"container {move.name} ended on {move.target.node.name} right after its release; see: "
                f"migrator ct logs {move.name}; its files are there: migrator ct start {move.name}"
            )

    async def roll_back(self, unreached: Collection[str] = ()) -> None:
        """Undoes an aborted move. What cannot be reached is said; its own watchdog or a later resume settles it.

        `unreached` are nodes that did not answer when the token was raised: one that answers again would refuse ours,
        and that would look as if nothing of this move were there.
        """
        move = self.move
        debts: list[str] = []
        thawed_at_ms = self._thawed_at_ms
        silent = move.source.node.name in unreached
        for step in UNDO_ORDER:
            node = step.undo_side(move).node.name
            if node in unreached:
                debts.append(f"node {node}: no answer")
                continue
            try:
                await step.undo(move)
                if move.thawed and thawed_at_ms is None:
                    thawed_at_ms = self.journal.now_ms()
            except (NodeRefused, NodeMissing):
                continue  # nothing of this move is there, or a later token has taken it over
            except MigratorError as error:
                debts.append(str(error))
                silent = silent or (step is UNDO_ORDER[0] and isinstance(error, NodeUnreachable))
                continue
            told_wrong = site.may_be_told_wrong(self.journal.progress(move.id)) and not move.rehearsal
            if step is UNDO_ORDER[0] and told_wrong:
                await site.tell(move, self.journal, When.AFTER_ROLLBACK)
        if debts:
            raise self._debts(debts, silent)
        data = {"generation": move.generation, "thawed_at_ms": thawed_at_ms, "paused_ms": move.paused_ms}
        self.journal.record(move.id, (State.ROLLED_BACK, Phase.END, data))
        self.notify(move, State.ROLLED_BACK, Phase.END)

    def _debts(self, debts: list[str], silent: bool) -> MigratorError:
        """What a rollback could not reach, what is known of it, what happens by itself, and what to do."""
        move = self.move
        stays = f"container {move.name} stays on {move.source.node.name}"
        begun = self.journal.progress(move.id).begun
        if silent:
            stays += f", which does not answer: {of_a_silent_source(begun, move.policy.blackout_s_max, move.mode)}"
        kind = NeedsOperator if silent and State.SEALED in begun else FailedSafe
        return kind(f"{stays}; not cleaned yet: {'; '.join(dict.fromkeys(debts))}; run: migrator resume {move.run}")

    async def _commit_and_release(self) -> None:
        move = self.move
        self.journal.decide(move.id, move.token, State.COMMITTED)  # the commit point
        self.notify(move, State.COMMITTED, Phase.END)
        await self.release()

    def _unwritten(self, error: JournalError) -> NeedsOperator:
        """What is known of a container whose journal takes nothing any more."""
        move = self.move
        source, target = move.source.node.name, move.target.node.name
        progress = self.journal.progress(move.id)
        if progress.decision is State.COMMITTED:
            stands = f"is committed to {target}"
        elif progress.decision is State.ABORTED:
            stands = f"stays on {source}, not moved to {target}"
        else:
            how = of_a_silent_source(progress.begun, move.policy.blackout_s_max, move.mode)
            if State.SEALED in progress.begun:
                how = "it may be sealed: then it stays frozen there, whole, until it is resumed"
            stands = f"is undecided between {source} and {target} ({source}: {how})"
        return NeedsOperator(
            f"container {move.name} {stands}: {error}; free or mend the journal's disk, then: migrator resume "
            f"{move.run}"
        )

    async def _failed(self, error: BaseException) -> None:
        """Decides against the move unless it is decided, rolls back, and says how it ended."""
        try:
            await self._go_back(error)
        except JournalError as unwritten:
            raise self._unwritten(unwritten) from error

    async def _go_back(self, error: BaseException) -> None:
        move = self.move
        progress = self.journal.progress(move.id)
        if is_decided(progress.state):
            return
        if progress.pending is not None:
            waited = {"turn_ms": move.turn_ms} if progress.pending is State.FENCED else {}
            self.journal.record(move.id, (progress.pending, Phase.FAIL, {"error": _said(error), **waited}))
        if not await self._may_abort():
            raise Undecided(
                f"container {move.name} is undecided between {move.source.node.name} and {move.target.node.name}: "
                f"{_said(error)}; run: migrator resume {move.run}"
            ) from error
        self.journal.decide(move.id, move.token, State.ABORTED, {"error": _said(error)})
        self.notify(move, State.ABORTED, Phase.END)
        try:
            await self.roll_back()
        except JournalError:
            raise
        except MigratorError as debt:
            raise type(debt)(f"{_said(error)}; {debt}") from error
        if isinstance(error, Rehearsed):
            return
        if isinstance(error, MigratorError):
            told = f"{error}; {await self._how_it_is()}"
            declined = isinstance(error, NodeRefused) and progress.pending in BEFORE_ANY_CHANGE
            if isinstance(error, NotYet):
                raise NotYet(told) from error
            kind = Refused if isinstance(error, Refused) or declined else FailedSafe
            raise kind(told) from error

    async def _how_it_is(self) -> str:
        """What became of the container that stays on its source: it may have gone down with its node meanwhile."""
        move = self.move
        begun = self.journal.progress(move.id).begun
        try:
            source = await look(move.source.node, move.name)
        except MigratorError:
            source = None
        if source is None:
            return f"container {move.name} stays on {move.source.node.name}, which does not answer now"
        if source.state != "serving":
            return f"container {move.name} is {source.state} on {move.source.node.name}; see: migrator show {move.run}"
        if not source.alive:
            return (
                f"container {move.name} stays on {move.source.node.name}, and its processes have ended there; "
                f"start it from its files with: migrator ct start {move.name}"
            )
        told = f"container {move.name} runs on {move.source.node.name} {as_before(move, begun)}"
        if move.paused_ms is None:
            return told
        bound, paused = f"{move.policy.blackout_s_max:g} s", f"{move.paused_ms / 1000:.1f} s"
        return f"{told}: its pause reached {bound}, and its source ended it, after {paused}; see --max-blackout"

    async def _may_abort(self) -> bool:
        """Whether to go back is known to be safe, by one look at the source: two might show two worlds.

        If it does not have its container whole, the copy that the target holds may be the only one. And a later token
        than ours means that another orchestrator has gone on: this journal may not say any more what became of it.
        """
        progress = self.journal.progress(self.move.id)
        if State.LEASED not in progress.reached:
            return True
        try:
            seen = await look(self.move.source.node, self.move.name)
        except MigratorError:  # no answer, or one that nobody understands
            return State.RESTORED not in progress.begun
        if State.RESTORED in progress.begun and not seen.whole:
            return False
        return seen.state != "absent" and max(seen.token, seen.floor) <= self.move.token

    async def _all(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            await self.step(step)

    async def step(self, step: Step, then: Step | None = None) -> None:
        """One step. `then` follows at once, so its begin is written with this one's end, in one sync."""
        move = self.move
        if self._begun is not step.state:
            self.journal.record(move.id, (step.state, Phase.BEGIN, {}))
        self.notify(move, step.state, Phase.BEGIN)
        result = await step.do(move)
        move.results[step.state] = result
        begins: list[tuple[State, Phase, dict[str, Any]]] = [(then.state, Phase.BEGIN, {})] if then else []
        self.journal.record(move.id, (step.state, Phase.END, result), *begins)
        self._begun = then.state if then else None
        self.notify(move, step.state, Phase.END)


def as_before(move: Move, begun: Collection[State]) -> str:
    """How a container runs on its source that was not moved after all."""
    if move.mode is Mode.RESTART and State.FENCED in begun:
        return f"again: it was stopped for the move, and {ANEW}"
    return "as before"


def _said(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "interrupted"
    return str(error) or type(error).__name__
