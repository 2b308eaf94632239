"""Brings a migration that nobody works on to its end: take over, look, decide by the table, act."""

from __future__ import annotations

import asyncio

from migrator.errors import MigratorError, NeedsOperator
from migrator.executor.look import look_if_it_answers
from migrator.executor.saga import Saga
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.observation import Observation
from migrator.protocol.recovery import Action, Verdict, decide
from migrator.protocol.states import State
from migrator.steps import AFTER_RELEASE, RELEASE
from migrator.steps.base import Move, Side


async def recover(move: Move, journal: Journal, forward: bool = True) -> Verdict:
    """Settles one migration. Returns what was done; NeedsOperator when nobody can know what is right.

    `forward` says which way to go where both are open: a sealed source that is whole, and a verified held copy.
    """
    silent = await _take_over(move, journal)
    progress = journal.progress(move.id)
    move.results.update(progress.reached)
    source, target = await asyncio.gather(
        *(
            _nobody() if side in silent else look_if_it_answers(side.node, move.name)
            for side in (move.source, move.target)
        )
    )
    verified = progress.verified and (forward or source is None or not source.alive)
    verdict = decide(progress.decision, verified, source, target)
    await _act(verdict, move, journal, source, target)
    return verdict


async def _nobody() -> None:
    """What a node tells that did not answer a moment ago: it is not waited for twice."""


async def _take_over(move: Move, journal: Journal) -> list[Side]:
    """Raises the token on both nodes, which ends all that an older orchestrator still does there.

    Returns the sides that do not answer.
    """
    source, target = await asyncio.gather(
        look_if_it_answers(move.source.node, move.name), look_if_it_answers(move.target.node, move.name)
    )
    token = max(move.token, *(seen.token for seen in (source, target) if seen is not None), 0) + 1
    journal.take_over(move.id, token)
    for side, observed in ((move.source, source), (move.target, target)):
        # A node without a record has nothing to guard, except a target that may still be told to begin.
        if observed is None or (observed.state == "absent" and side is move.source):
            continue
        if observed.state in ("serving", "stopped") and observed.run == "-":
            continue  # settled: nobody's move
        if observed.state != "absent" and observed.run != move.run:
            if journal.progress(move.id).decision is State.ABORTED:
                continue  # a later run has it: what is left of ours is on the other side
            raise NeedsOperator(
                f"container {move.name} on {side.node.name} is held by run {observed.run}, not by {move.run}; see: "
                f"migrator show {observed.run}"
            )
        await side.node.call("lease", move.name, observed.token, token, move.run)
    move.token = token
    return [side for side, seen in ((move.source, source), (move.target, target)) if seen is None]


async def _act(
    verdict: Verdict, move: Move, journal: Journal, source: Observation | None, target: Observation | None
) -> None:
    saga = Saga(move, journal)
    decided = journal.progress(move.id).decision is not None
    if verdict.action is Action.STUCK:
        raise NeedsOperator(
            f"container {move.name} is stuck between {move.source.node.name} and {move.target.node.name}: "
            f"{verdict.reason}; nothing was changed; when the node answers run: migrator resume {move.run}"
        )
    if verdict.action in (Action.ABORT, Action.COLD_START) and not decided:
        journal.decide(move.id, move.token, State.ABORTED, {"error": verdict.reason})
    if verdict.action in (Action.ABORT, Action.ROLL_BACK):
        await saga.roll_back()
    elif verdict.action is Action.COLD_START:
        await _cold_start(move, saga)
    elif verdict.action is Action.REVOKE:
        journal.decide(move.id, move.token, State.REVOKED, {"reason": verdict.reason})
        move.generation += 1
        await saga.roll_back()
    else:
        if verdict.action is Action.COMMIT:
            journal.decide(move.id, move.token, State.COMMITTED, {"reason": verdict.reason})
        await _finish(move, saga, journal, source, target)


async def _finish(
    move: Move, saga: Saga, journal: Journal, source: Observation | None, target: Observation | None
) -> None:
    reached = journal.progress(move.id).reached
    here = source or Observation()
    there = target or Observation()
    if State.RELEASED not in reached:
        if RELEASE.happened(here, there) and there.state == "serving":
            journal.record(move.id, (State.RELEASED, Phase.END, {"processes": there.processes}))
        else:
            await saga.release()
    for step in AFTER_RELEASE:
        if step.state in reached:
            continue
        if step.happened(here, there):
            journal.record(move.id, (step.state, Phase.END, {}))
            continue
        await saga.step(step)


async def _cold_start(move: Move, saga: Saga) -> None:
    """The memory is lost on both sides; the files on the source are whole."""
    await move.source.node.call("reclaim", move.name, move.token)
    await saga.roll_back()
    try:
        await move.source.node.call("ct-start", move.name, timeout_s=60)
    except MigratorError as error:
        raise NeedsOperator(
            f"container {move.name} lost its memory and does not start on {move.source.node.name}: {error}"
        ) from error
