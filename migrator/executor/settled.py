"""Carries out what an operator has settled: the other side made safe, the kept copy run, the other side removed.

All of it may be done again from any point, by `resume` too. What cannot be reached is a debt only if the operator has
said that it is off; the record there is of a lower generation, and is removed when the node answers again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migrator.errors import FailedSafe, MigratorError, NeedsOperator
from migrator.executor import site
from migrator.executor.look import Seen, look, look_at
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.observation import Observation
from migrator.model.site import When
from migrator.protocol.states import State
from migrator.steps.base import Move, Side
from migrator.steps.restore import write_down


@dataclass(slots=True)
class _Settled:
    """The decision, and both sides of it as they were when asked."""

    move: Move
    journal: Journal
    data: dict[str, Any]
    keep: Side
    other: Side
    here: Observation | None
    there: Observation | None

    @property
    def generation(self) -> int:
        return int(self.data["generation"])

    @property
    def kept(self) -> bool:
        """Whether the kept copy was seen to run; later runs may have moved it since."""
        return bool(self.data.get("kept"))

    @property
    def leftover(self) -> bool:
        """Whether what the other node has is the copy that was decided against, and not one that came later."""
        there = self.there
        if there is None or there.state == "absent":
            return False
        return there.run == self.move.run or there.token <= int(self.data["token"])


async def carry_out(move: Move, journal: Journal) -> None:
    """Does what the journal's SETTLED says. Raises what says how far it came."""
    data = journal.progress(move.id).reached[State.SETTLED]
    source_kept = data["keep"] == move.source.node.name
    keep, other = (move.source, move.target) if source_kept else (move.target, move.source)
    seen = await look_at(move)
    here, there = (seen.source, seen.target) if source_kept else (seen.target, seen.source)
    work = _Settled(move, journal, data, keep, other, here, there)
    _refuse_unsafe(work)
    try:
        await _take_over(work)
        if work.leftover:
            await _stand_down(work)
        if not work.kept:
            await _keep(work)
            journal.record(move.id, (State.SETTLED, Phase.END, {**data, "kept": True}))
        await site.tell(move, journal, When.AFTER_ROLLBACK if source_kept else When.AFTER_RELEASE)
    except FailedSafe as error:
        if work.kept:
            raise
        raise NeedsOperator(
            f"container {move.name} is settled to run on {keep.node.name}, and that is not done yet: {error}; "
            f"when that is mended run: migrator resume {move.run}"
        ) from error
    await _clean(work)
    journal.record(move.id, (State.ROLLED_BACK if source_kept else State.DONE, Phase.END, {}))


def _refuse_unsafe(work: _Settled) -> None:
    name, keep, other = work.move.name, work.keep.node.name, work.other.node.name
    settled = f"container {name} is settled to run on {keep}"
    again = f"run: migrator resume {work.move.run}"
    if work.kept and work.there is None:
        raise FailedSafe(_debt(work))
    if work.kept:
        return
    if work.here is None:
        raise NeedsOperator(f"{settled}, which does not answer; when it does, {again}")
    if work.there is None and not work.data.get("off"):
        raise NeedsOperator(
            f"{settled}, but {other} does not answer and may run a copy; when it answers, {again}; or, if it is off, "
            f'say so: migrator settle {name} --keep {keep} --word "{other} is off"'
        )
    if work.there is not None and work.there.state != "absent" and not work.leftover:
        raise NeedsOperator(
            f"{settled}, but {other} has a copy that came later (token {work.there.token}, run {work.there.run}): "
            f"settle it again: migrator show {work.move.run}"
        )


def _debt(work: _Settled) -> str:
    move, other = work.move, work.other.node.name
    return (
        f"container {move.name} runs on {work.keep.node.name} as settled; {other} does not answer and may still have "
        f"its old copy: keep it cut off, and before anything is started there run: migrator resume {move.run}"
    )


async def _take_over(work: _Settled) -> None:
    """Raises the token on what is still to be changed, whichever run holds it: the decision is above them all."""
    move = work.move
    token = max(work.journal.token_max(move.name), *Seen(work.here, work.there).tokens) + 1
    work.journal.take_over(move.id, token)
    move.token = token
    here = work.here
    settled = work.kept or (here is not None and here.run == "-" and here.generation >= work.generation)
    if here is not None and not settled and here.state != "absent":
        await work.keep.node.call("lease", move.name, here.token, token, move.run, move.holder)
    if work.there is not None and work.leftover:
        await work.other.node.call("lease", move.name, work.there.token, token, move.run, move.holder)


async def _stand_down(work: _Settled) -> None:
    there = work.there
    if there is not None and there.state not in ("reserved", "held"):  # which do not run unless they are released
        await work.other.node.call("stand-down", work.move.name, work.move.token, work.generation, timeout_s=90)


async def _keep(work: _Settled) -> None:
    move, node, here = work.move, work.keep.node, work.here or Observation()
    if not (here.run == "-" and here.generation >= work.generation):
        await _wake(work, here)
        await node.call("settle", move.name, move.token, work.generation)
    if (await look(node, move.name)).alive:
        return
    await node.call("ct-start", move.name, timeout_s=60)


async def _wake(work: _Settled, here: Observation) -> None:
    """Brings the kept copy into a state that serves: running where its memory is, stopped where it is lost."""
    name, token, node = work.move.name, work.move.token, work.keep.node
    if here.state in ("fenced", "sealed"):
        await node.call("thaw" if here.alive else "reclaim", name, token, timeout_s=90)
    elif here.holds:
        await write_down(work.keep.node, work.move, here)
        await node.call("release", name, token, timeout_s=40)
    elif here.state in ("reserved", "held"):
        await node.call("adopt", name, token, work.generation)
    elif here.state == "absent":
        raise NeedsOperator(f"container {name} is settled to run on {node.name}, which has nothing of it any more")


async def _clean(work: _Settled) -> None:
    """Removes the copy that was decided against."""
    move, other, there = work.move, work.other.node, work.there
    runs = f"container {move.name} runs on {work.keep.node.name} as settled"
    if there is None:
        raise FailedSafe(_debt(work))
    if there.state != "absent" and not work.leftover:
        return
    verb = "discard-target" if there.state in ("absent", "reserved", "held") else "retire"
    try:
        await other.call(verb, move.name, move.token, timeout_s=120)
    except MigratorError as error:
        raise FailedSafe(f"{runs}; {other.name} is not cleaned: {error}; run: migrator resume {move.run}") from error
