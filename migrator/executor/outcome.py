"""The one word for how a run has ended: in the journal, in `runs` and in `show`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrator.journal.store import Journal, Migration
from migrator.model.plan import Plan
from migrator.protocol.states import FINAL, State


class Outcome(StrEnum):
    """docs/operations.md says what each means to who reads it."""

    DONE = "done"
    SETTLED = "settled"
    FAILED = "failed"
    WAITING = "waiting"
    INTERRUPTED = "interrupted"
    ROLLED_BACK = "rolled back"
    CANCELLED = "cancelled"
    REHEARSED = "rehearsed"


# Ended on purpose: there is nothing to resume.
CLOSED = frozenset({Outcome.ROLLED_BACK, Outcome.CANCELLED, Outcome.REHEARSED})


@dataclass(frozen=True, slots=True)
class Ends:
    """How a run's moves ended, over all attempts: `moved` by name, and in `back` those that were not moved since.

    `settled` are containers: where an operator has decided, none of its moves is made any more.
    """

    moved: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    back: frozenset[str] = frozenset()

    def over(self, plan: Plan) -> frozenset[str]:
        """The plan's moves, by name, that this run does not make again."""
        return frozenset(m.name for m in plan.moves if m.name in self.moved or m.container in self.settled)

    def complete(self, plan: Plan) -> bool:
        """Whether every move of the plan has come to its end. A plan without moves has nothing that says so."""
        return bool(plan.moves) and len(self.over(plan)) == len(plan.moves)


def ends(journal: Journal, run: str) -> Ends:
    """How the moves of a run have ended, as far as they have."""
    moved: set[str] = set()
    settled: set[str] = set()
    back: set[str] = set()
    for migration in journal.migrations(run):
        progress = journal.progress(migration.id)
        if progress.state not in FINAL:
            continue
        if progress.decision is State.SETTLED:
            settled.add(migration.container)
        else:
            (moved if progress.state is State.DONE else back).add(migration.move)
    back = {name for name in back - moved if name.partition("#")[0] not in settled}
    return Ends(frozenset(moved), frozenset(settled), frozenset(back))


@dataclass(frozen=True, slots=True)
class StopOver:
    """A container that a run has left where its plan only has it put aside."""

    container: str
    node: str
    goal: str


def stop_overs(plan: Plan, found: Ends) -> tuple[StopOver, ...]:
    """Containers that this run has brought to a stop-over and not further."""
    stopped = []
    for name, way in plan.ways().items():
        made = sum(leg.name in found.moved for leg in way)
        if 0 < made < len(way) and name not in found.settled:
            stopped.append(StopOver(name, way[made - 1].target, way[-1].target))
    return tuple(stopped)


def gate_error(journal: Journal, migration: Migration) -> str:
    """Why the target's gate did not open at the release; empty when it did, or when nobody was told."""
    return str(journal.progress(migration.id).reached.get(State.RELEASED, {}).get("gate_error", ""))


def cut_off(container: str, node: str, why: str) -> str:
    """What an operator is told of a container that runs behind a closed gate."""
    return (
        f"container {container} runs on {node}, but its gate did not open: {why}; make it, then: migrator ct start "
        f"{container}"
    )


def carried_out(found: Ends, failed: bool, waiting: bool = False) -> Outcome:
    """The word for a run that was carried out as far as it goes. What an operator has settled is never only "done".

    `waiting`: what is not done has not failed, and waits for its time.
    """
    if found.settled:
        return Outcome.SETTLED
    if waiting:
        return Outcome.WAITING
    return Outcome.FAILED if failed else Outcome.DONE


def ended_early(plan: Plan, found: Ends) -> Outcome:
    """The word for a run that a person has ended: what was done by then is done, and only what went back went back."""
    if found.complete(plan):
        return carried_out(found, failed=False)
    return Outcome.ROLLED_BACK if found.back else Outcome.CANCELLED
