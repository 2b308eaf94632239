"""migrator settle: finds what is stuck, asks for what only an operator can know, and journals the decision."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from migrator.errors import BadInput, Refused, quoted
from migrator.executor.cancel import finish_anyway
from migrator.executor.fleet import Fleet, new_run_id
from migrator.executor.look import Seen, look_at, whereabouts
from migrator.executor.moves import from_journal
from migrator.executor.outcome import Outcome
from migrator.executor.runs import plan_of
from migrator.executor.settled import carry_out
from migrator.executor.unknown import Strays, find_strays, journal_strays
from migrator.journal.store import Journal, Migration
from migrator.model.observation import Observation
from migrator.model.policy import Policy
from migrator.protocol.recovery import Action, judge
from migrator.protocol.settlement import refusal, what_it_means, word_needed
from migrator.protocol.states import FINAL, State
from migrator.steps.base import Move


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator asks for. `word` is what they said in writing, `by` their login name."""

    container: str
    keep: str
    run: str | None = None
    word: str = ""
    by: str = "-"


@dataclass(slots=True)
class Case:
    """What is to be settled, as it was when asked. `word` is what has to be said, and `why`; empty when nothing has."""

    move: Move
    seen: Seen
    other: str
    word: str
    why: str
    strays: Strays | None  # what was found on the nodes, when the journal knows of no migration


async def examine(fleet: Fleet, journal: Journal, wish: Wish) -> Case:
    """Looks, and changes nothing. Refused when there is nothing to settle, or when what is to be kept cannot be."""
    fleet.file.entry(wish.keep)
    migration = _unfinished(journal, wish)
    strays = None
    if migration is not None:
        policy = plan_of(journal.run(migration.run))[1]
        move = from_journal(fleet, migration, policy)
        if wish.keep not in (migration.source, migration.target):
            raise BadInput(
                f"--keep {wish.keep}: container {wish.container} is between {migration.source} and {migration.target}"
            )
        seen = await look_at(move)
        _refuse_what_resume_can_do(journal, migration, move, seen)
        reached = journal.progress(migration.id).reached
    else:
        strays = find_strays(await fleet.probe(), wish.container, wish.keep, _named(wish))
        move = strays.move(fleet, Policy())
        seen = await look_at(move)
        reached = {}
    keeps_source = wish.keep == move.source.node.name
    here, there = (seen.source, seen.target) if keeps_source else (seen.target, seen.source)
    why_not = refusal(wish.container, wish.keep, here, keeps_source or State.SYNCED in reached)
    if why_not:
        raise Refused(f"container {wish.container} cannot be settled so: {why_not}; seen: {whereabouts(move, seen)}")
    other = move.target.node.name if keeps_source else move.source.node.name
    word = word_needed(wish.container, other, here or Observation(), there, State.VERIFIED in reached)
    return Case(move, seen, other, word, what_it_means(wish.container, other, there) if word else "", strays)


async def settle(fleet: Fleet, journal: Journal, wish: Wish, cluster_file: str) -> str:
    """Settles a container and returns the run that says so. Refused without the words that are needed."""
    case = await examine(fleet, journal, wish)
    if case.word and wish.word != case.word:
        said = f"; what was said is {quoted(wish.word)}" if wish.word else ""
        raise Refused(
            f"container {wish.container} is not settled: {case.why}; if that is so, say it in writing: migrator settle "
            f'{wish.container} --keep {wish.keep} --word "{case.word}"{said}'
        )
    if case.strays is not None:
        run = new_run_id()
        case.move = replace(case.move, id=f"{run}/{wish.container}/1", run=run)
        journal_strays(journal, fleet, cluster_file, case.strays, case.move, wish.keep)
    move = case.move
    with journal.working_on(move.run):
        _decide(journal, case, wish)
        try:
            await finish_anyway(carry_out(move, journal), f"{move.name}: settling on {wish.keep}")
        finally:
            if all(journal.progress(m.id).state in FINAL for m in journal.migrations(move.run)):
                journal.finish_run(move.run, Outcome.SETTLED)
    return move.run


def _unfinished(journal: Journal, wish: Wish) -> Migration | None:
    """The container's newest migration that has not ended, of the run that was named."""
    run = journal.run(wish.run).id if wish.run else None
    found = [m for m in journal.migrations_of(wish.container) if run in (None, m.run)]
    unfinished = [m for m in found if journal.progress(m.id).state not in FINAL]
    if run and not unfinished:
        raise Refused(f"run {run} has no unfinished move of container {wish.container}; see: migrator show {run}")
    return unfinished[-1] if unfinished else None


def _refuse_what_resume_can_do(journal: Journal, migration: Migration, move: Move, seen: Seen) -> None:
    progress = journal.progress(migration.id)
    if progress.decision is State.SETTLED:
        if progress.reached[State.SETTLED].get("kept"):
            kept = progress.reached[State.SETTLED]["keep"]
            raise Refused(f"container {move.name} is settled and runs on {kept}; run: migrator resume {move.run}")
        return  # decided and not carried out: the operator may decide again
    verdict = judge(journal.known(migration), seen.source, seen.target)
    if verdict.action not in (Action.STUCK, Action.STALE):
        raise Refused(
            f"container {move.name} is not stuck: {verdict.reason}; run: migrator resume {move.run}, or: migrator "
            f"rollback {move.run}"
        )


def _named(wish: Wish) -> str:
    return wish.word.removesuffix(" is off") if wish.word.endswith(" is off") else ""


def _decide(journal: Journal, case: Case, wish: Wish) -> None:
    """The commit point of a settlement: token and generation above everything that was seen."""
    move, seen = case.move, [side for side in (case.seen.source, case.seen.target) if side is not None]
    token = max(journal.token_max(move.name), *case.seen.tokens) + 1
    generation = max(move.generation, *(s.generation for s in seen), 0) + 2
    journal.take_over(move.id, token)
    move.token = token
    data: dict[str, Any] = {
        "keep": wish.keep,
        "token": token,
        "generation": generation,
        "word": wish.word if case.word else "",
        "off": case.word == f"{case.other} is off",
        "by": wish.by,
        "reason": f"{wish.by} keeps {wish.keep}" + (f': "{wish.word}"' if case.word else ""),
        "known": {
            side.node.name: asdict(found) if found else None
            for side, found in ((move.source, case.seen.source), (move.target, case.seen.target))
        },
    }
    journal.decide(move.id, token, State.SETTLED, data)
