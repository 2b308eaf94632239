"""Brings a migration that nobody works on to its end: look, judge, take over, look again, act.

Nothing is changed, on no node and not in the journal, before the first look has shown that something can be settled.
Only then the token is raised, which ends all that an older orchestrator still does, and what is true after that counts.
"""

from __future__ import annotations

from dataclasses import replace

from migrator.errors import FailedSafe, MigratorError, NeedsOperator
from migrator.executor import site
from migrator.executor.cancel import finish_anyway
from migrator.executor.look import Seen, look_at, whereabouts
from migrator.executor.saga import Notify, NotReleased, Saga, TurnOf, Undecided, as_before
from migrator.executor.settled import carry_out
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.observation import Observation
from migrator.model.site import When
from migrator.protocol.recovery import Action, Verdict, judge, of_a_silent_source
from migrator.protocol.states import FINAL, State
from migrator.steps import RELEASE, after_release, verify
from migrator.steps.base import Move
from migrator.steps.restore import write_down
from migrator.transport.base import NodeUnreachable


async def migrate(move: Move, journal: Journal, turn: TurnOf, notify: Notify) -> None:
    """Carries a move out. What the saga may not decide, because one side has died meanwhile, is settled at once.

    Every second until somebody resumes the run would be a longer pause.
    """
    try:
        await Saga(move, journal, turn, notify).run()
    except (NotReleased, Undecided) as error:
        verdict = await recover(move, journal)
        notify(move, journal.progress(move.id).state, Phase.END)
        done = journal.progress(move.id).state is State.DONE
        if verdict.action not in (Action.COMMIT, Action.FINISH) and not done:
            begun = journal.progress(move.id).begun
            raise FailedSafe(
                f"container {move.name} runs on {move.source.node.name} {as_before(move, begun)}: {verdict.reason} "
                f"({error.__cause__})"
            ) from error


async def recover(move: Move, journal: Journal, forward: bool = True) -> Verdict:
    """Settles one migration. Returns what was done; NeedsOperator when nobody can know what is right.

    `forward` says which way to go where both are open: a sealed source that is whole, and a verified held copy.
    """
    if journal.superseded(move.id, move.name):
        _close(move, journal)
        return Verdict(Action.NOTHING, "a later attempt has leased the container; this one holds nothing")
    seen = await look_at(move)
    verdict = await _judge(move, journal, seen, forward)
    _refuse_to_guess(move, journal, seen, verdict)
    if verdict.action is Action.SETTLE:
        await finish_anyway(carry_out(move, journal), f"{move.name}: carrying out what was settled")
        return verdict
    taken = await _take_over(move, journal, seen)
    if journal.progress(move.id).state in FINAL:
        return Verdict(Action.NOTHING, "another orchestrator has brought it to its end meanwhile")
    seen = await look_at(move, of=taken)
    verdict = await _judge(move, journal, seen, forward)
    _refuse_to_guess(move, journal, seen, verdict)
    move.results.update(journal.progress(move.id).reached)
    way = f"{move.name}: settling between {move.source.node.name} and {move.target.node.name}"
    await finish_anyway(_act(verdict, move, journal, seen), f"{way} ({verdict.action})")
    return verdict


def _close(move: Move, journal: Journal) -> None:
    """Ends a migration that a later one has superseded before it held anything, on the journal's side alone."""
    move.token = journal.token_max(move.name) + 1
    journal.take_over(move.id, move.token)
    journal.decide(move.id, move.token, State.ABORTED, {"error": "superseded by a later attempt"})
    journal.record(move.id, (State.ROLLED_BACK, Phase.END, {}))


async def _judge(move: Move, journal: Journal, seen: Seen, forward: bool) -> Verdict:
    known = journal.known(journal.migration(move.id))
    if await _verified_late(move, journal, seen):
        known = replace(known, reached=known.reached | {State.VERIFIED})
    return judge(known, seen.source, seen.target, forward)


async def _verified_late(move: Move, journal: Journal, seen: Seen) -> bool:
    """Compares a held copy now, where the orchestrator died before it did: it may be the only one there is."""
    progress = journal.progress(move.id)
    whole = seen.source is None or seen.source.whole
    if whole or progress.decision is not None or seen.target is None or not seen.target.held:
        return False
    if State.DUMPED not in progress.reached or State.SYNCED not in progress.reached:
        return False
    try:
        census = (await move.target.node.call("census", move.name)).text
    except MigratorError:
        return False
    return not verify.difference(progress.reached[State.DUMPED]["census"], census.split("\n"))


def _refuse_to_guess(move: Move, journal: Journal, seen: Seen, verdict: Verdict) -> None:
    if verdict.action is Action.STALE:
        raise NeedsOperator(
            f"container {move.name}: the journal {journal.store.where} is older than the world: {verdict.reason}; "
            f"nothing was changed and nothing decided; it is seen: {whereabouts(move, seen)}; find the newer "
            f"journal; if it is lost: migrator show {move.run}"
        )
    if verdict.action is Action.STUCK:
        silent = ""
        begun = journal.progress(move.id).begun
        if seen.source is None:
            silent = f"; {move.source.node.name}: {of_a_silent_source(begun, move.policy.blackout_s_max, move.mode)}"
        raise NeedsOperator(
            f"container {move.name} is stuck between {move.source.node.name} and {move.target.node.name}: "
            f"{verdict.reason}{silent}; nothing was changed; when the node answers run: migrator resume {move.run}; if "
            f"it never will: migrator show {move.run}"
        )


async def _take_over(move: Move, journal: Journal, seen: Seen) -> Seen:
    """Raises the token on both nodes, which ends all that an older orchestrator still does there.

    Returns what was seen, without a side that has stopped answering meanwhile.
    """
    wanted = []
    known = journal.known(journal.migration(move.id))
    for side, observed in ((move.source, seen.source), (move.target, seen.target)):
        # A node without a record has nothing to guard, except a target that may still be told to begin, which after
        # the commit none is: one that has settled may have given the container on.
        begins = side is move.target and known.decision is not State.COMMITTED
        if observed is None or (observed.state == "absent" and not begins):
            continue
        if observed.run == "-" and observed.token >= move.token:
            continue  # settled: nobody's move. A lower token is one that our lease has not reached, and still may
        if observed.state != "absent" and observed.run not in ("-", move.run):
            if known.decision in (State.ABORTED, State.REVOKED) or State.DONE in known.begun or known.superseded:
                continue  # a later run has it: what is left of ours is on the other side
            raise NeedsOperator(
                f"container {move.name} on {side.node.name} is held by run {observed.run}, not by {move.run}; see: "
                f"migrator show {observed.run}"
            )
        wanted.append((side, observed))
    token = max(journal.token_max(move.name), *seen.tokens) + 1
    journal.take_over(move.id, token)
    move.token = token
    if journal.progress(move.id).state in FINAL:  # since the look, and from here on nobody else can write that
        return seen
    for side, observed in wanted:
        try:
            await side.node.call("lease", move.name, observed.token, token, move.run, move.holder)
        except NodeUnreachable:
            seen = replace(seen, source=None) if side is move.source else replace(seen, target=None)
    return seen


async def _act(verdict: Verdict, move: Move, journal: Journal, seen: Seen) -> None:
    saga = Saga(move, journal)
    decision = journal.progress(move.id).decision
    if verdict.action in (Action.ABORT, Action.COLD_START) and decision is None:
        journal.decide(move.id, move.token, State.ABORTED, {"error": verdict.reason})
    if verdict.action is Action.REVOKE:
        journal.decide(move.id, move.token, State.REVOKED, {"reason": verdict.reason})
    if verdict.action is Action.REVOKE or decision is State.REVOKED:
        move.generation += 2  # one more than the commit would have made it
    if verdict.action in (Action.ABORT, Action.ROLL_BACK, Action.REVOKE):
        await saga.roll_back(seen.silent(move))
    elif verdict.action is Action.COLD_START:
        await _cold_start(move, saga, seen)
    else:
        if verdict.action is Action.COMMIT:
            if seen.target is not None:
                await write_down(move.target.node, move, seen.target)
            if journal.progress(move.id).told.get(When.BEFORE_COMMIT) != site.ENDED:
                await site.tell(move, journal, When.BEFORE_COMMIT)  # no refusal brings back what is lost
            journal.decide(move.id, move.token, State.COMMITTED, {"reason": verdict.reason})
        await _finish(move, saga, journal, seen)


async def _finish(move: Move, saga: Saga, journal: Journal, seen: Seen) -> None:
    progress = journal.progress(move.id)
    here = seen.source or Observation()
    there = seen.target or Observation()
    if State.DONE in progress.begun and there.run != move.run:
        journal.record(move.id, (State.DONE, Phase.END, {"generation": move.generation + 1}))
        return
    if State.RELEASED not in progress.reached:
        if RELEASE.happened(here, there) and there.state == "serving":
            journal.record(move.id, (State.RELEASED, Phase.END, {"processes": there.processes}))
        else:
            await saga.release()
    await site.tell(move, journal, When.AFTER_RELEASE)
    if seen.source is None:
        raise FailedSafe(
            f"container {move.name} runs on {move.target.node.name}; {move.source.node.name} does not answer, and its "
            f"frozen copy is removed when it does: migrator resume {move.run}"
        )
    for step in after_release(move):
        if step.state in progress.reached:
            continue
        if step.happened(here, there):
            journal.record(move.id, (step.state, Phase.END, {}))
            continue
        await saga.step(step)


async def _cold_start(move: Move, saga: Saga, seen: Seen) -> None:
    """The memory is lost on both sides; the files on the source are whole.

    It is started before the rest is cleaned: a resume that dies in between leaves it running, and comes back for that.
    """
    await move.source.node.call("reclaim", move.name, move.token)
    failed: MigratorError | None = None
    try:
        await move.source.node.call("ct-start", move.name, timeout_s=60)
    except MigratorError as error:
        failed = error
    await saga.roll_back(seen.silent(move))
    if failed is not None:
        raise NeedsOperator(
            f"container {move.name} lost its memory and does not start on {move.source.node.name}: {failed}"
        ) from failed
