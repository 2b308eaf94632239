"""How a migration that has not ended stands: what both nodes say now, the verdict on it, and what settles it.

Nothing is changed by asking. A node that is slow to answer is shown as one that does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from migrator.errors import MigratorError
from migrator.executor.fleet import Fleet
from migrator.executor.look import look
from migrator.journal.store import Journal, Migration
from migrator.model.observation import Observation
from migrator.protocol.recovery import Action, Verdict, judge
from migrator.protocol.settlement import refusal, word_needed
from migrator.protocol.states import State

ANSWER_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Told:
    """One node's answer, or why there is none; `at_ms` is when it came."""

    node: str
    role: str
    seen: Observation | None
    error: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """`worker` is the process that works on the run, if one does: then nothing is to be settled by hand."""

    source: Told
    target: Told
    verdict: Verdict
    worker: int | None
    commands: tuple[str, ...]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def standing(
    fleet: Fleet | None, journal: Journal, migration: Migration, now_ms: Callable[[], int] = wall_ms
) -> Standing:
    """Asks both nodes at once. `fleet` is None when there is no cluster file to find them by."""
    source, target = await asyncio.gather(
        _ask(fleet, migration.source, "source", migration.container, now_ms),
        _ask(fleet, migration.target, "target", migration.container, now_ms),
    )
    known = journal.known(migration)
    verdict = judge(known, source.seen, target.seen)
    worker = journal.worker(migration.run)
    if worker is not None:
        commands: tuple[str, ...] = (f"migrator cancel {migration.run}",)
    else:
        commands = what_settles(verdict.action, migration, known.reached, source.seen, target.seen)
    return Standing(source, target, verdict, worker, commands)


async def _ask(fleet: Fleet | None, node: str, role: str, container: str, now_ms: Callable[[], int]) -> Told:
    seen, error = None, ""
    try:
        if fleet is None:
            raise MigratorError("there is no cluster file to find it by; give it with --cluster FILE")
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            seen = await look(fleet.node(node), container, tries=1)
    except TimeoutError:
        error = f"no answer in {ANSWER_TIMEOUT_S} s"
    except MigratorError as caught:
        error = str(caught)
    return Told(node, role, seen, error, now_ms())


def what_settles(
    action: Action,
    migration: Migration,
    reached: frozenset[State],
    source: Observation | None,
    target: Observation | None,
) -> tuple[str, ...]:
    """The commands that bring the migration to its end, with the names filled in."""
    lines = []
    if action is not Action.STALE:
        lines.append(f"migrator resume {migration.run}")
    if action not in (Action.STALE, Action.STUCK, Action.SETTLE) and migration.decision is None:
        lines.append(f"migrator rollback {migration.run}")
    if action in (Action.STALE, Action.STUCK):
        sides = (
            (migration.source, source, migration.target, target, True),
            (migration.target, target, migration.source, source, State.SYNCED in reached),
        )
        for keep, here, other, there, files_complete in sides:
            if here is None or refusal(migration.container, keep, here, files_complete):
                continue
            word = word_needed(migration.container, other, here, there, State.VERIFIED in reached)
            said = f' --word "{word}"' if word else ""
            lines.append(f"migrator settle {migration.container} --keep {keep}{said}")
    return tuple(lines)
