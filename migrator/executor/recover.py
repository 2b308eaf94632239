"""Brings a migration that nobody works on to its end: take over, look, decide by the table, act."""

from __future__ import annotations

import asyncio

from migrator.errors import FailedSafe, MigratorError, NeedsOperator
from migrator.executor.look import look
from migrator.executor.saga import Saga
from migrator.journal.events import Phase, Progress
from migrator.journal.store import Journal
from migrator.model.observation import Observation
from migrator.protocol.recovery import Action, Verdict, decide
from migrator.protocol.states import State
from migrator.steps import AFTER_RELEASE, RELEASE, verify
from migrator.steps.base import Move, Side


async def recover(move: Move, journal: Journal, forward: bool = True) -> Verdict:
    """Settles one migration. Returns what was done; NeedsOperator when nobody can know what is right.

    `forward` says which way to go where both are open: a sealed source that is whole, and a verified held copy.
    """
    if journal.progress(move.id).decision is None and journal.superseded(move.id, move.name):
        _close(move, journal)
        return Verdict(Action.NOTHING, "a later attempt has leased the container; this one holds nothing")
    silent = await _take_over(move, journal)
    progress = journal.progress(move.id)
    move.results.update(progress.reached)
    source, target = await asyncio.gather(
        *(_nobody() if side in silent else look(side, move.name) for side in (move.source, move.target))
    )
    lost = source is None or not (source.alive and source.same_boot)
    verified = (progress.verified and (forward or lost)) or (lost and await _verify_late(move, progress, target))
    verdict = decide(progress.decision, verified, source, target)
    await _act(verdict, move, journal, source, target, silent)
    return verdict


async def _verify_late(move: Move, progress: Progress, target: Observation | None) -> bool:
    """Compares a held copy now, where the orchestrator died before it did: it may be the only one there is."""
    complete = State.DUMPED in progress.reached and State.SYNCED in progress.reached
    if not complete or progress.decision is not None or target is None or not target.held:
        return False
    try:
        census = (await move.target.node.call("census", move.name)).text
    except MigratorError:
        return False
    return not verify.difference(progress.reached[State.DUMPED]["census"], census.split("\n"))


def _close(move: Move, journal: Journal) -> None:
    """Ends a migration that a later one has superseded before it held anything, on the journal's side alone."""
    move.token = journal.token_max(move.name) + 1
    journal.take_over(move.id, move.token)
    journal.decide(move.id, move.token, State.ABORTED, {"error": "superseded by a later attempt"})
    journal.record(move.id, (State.ROLLED_BACK, Phase.END, {}))


async def _nobody() -> None:
    """What a node tells that did not answer a moment ago: it is not waited for twice."""


async def _take_over(move: Move, journal: Journal) -> list[Side]:
    """Raises the token on both nodes, which ends all that an older orchestrator still does there.

    Returns the sides that do not answer.
    """
    source, target = await asyncio.gather(look(move.source, move.name), look(move.target, move.name))
    seen_max = max(seen.token for seen in (source or Observation(), target or Observation()))
    token = max(journal.token_max(move.name), seen_max) + 1
    journal.take_over(move.id, token)
    for side, observed in ((move.source, source), (move.target, target)):
        # A node without a record has nothing to guard, except a target that may still be told to begin.
        if observed is None or (observed.state == "absent" and side is move.source):
            continue
        if observed.run == "-" and observed.token > move.token:
            continue  # settled: nobody's move. A lower token is one that our lease has not reached, and still may
        if observed.state != "absent" and observed.run not in ("-", move.run):
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
    verdict: Verdict,
    move: Move,
    journal: Journal,
    source: Observation | None,
    target: Observation | None,
    silent: list[Side],
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
        await saga.roll_back(silent)
    elif verdict.action is Action.COLD_START:
        await _cold_start(move, saga, silent)
    elif verdict.action is Action.REVOKE:
        journal.decide(move.id, move.token, State.REVOKED, {"reason": verdict.reason})
        move.generation += 1
        await saga.roll_back(silent)
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
    if source is None:
        raise FailedSafe(
            f"container {move.name} runs on {move.target.node.name}; {move.source.node.name} does not answer, and its "
            f"frozen copy is removed when it does: migrator resume {move.run}"
        )
    for step in AFTER_RELEASE:
        if step.state in reached:
            continue
        if step.happened(here, there):
            journal.record(move.id, (step.state, Phase.END, {}))
            continue
        await saga.step(step)


async def _cold_start(move: Move, saga: Saga, silent: list[Side]) -> None:
    """The memory is lost on both sides; the files on the source are whole."""
    await move.source.node.call("reclaim", move.name, move.token)
    await saga.roll_back(silent)
    try:
        await move.source.node.call("ct-start", move.name, timeout_s=60)
    except MigratorError as error:
        raise NeedsOperator(
            f"container {move.name} lost its memory and does not start on {move.source.node.name}: {error}"
        ) from error
