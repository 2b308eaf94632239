"""The one word for how a run has ended: in the journal, in `runs` and in `show`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrator.journal.store import Journal
from migrator.model.plan import Plan
from migrator.protocol.states import FINAL, State


class Outcome(StrEnum):
    """docs/operations.md says what each means to who reads it."""

    DONE = "done"
    SETTLED = "settled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    ROLLED_BACK = "rolled back"
    CANCELLED = "cancelled"


CLOSED = frozenset({Outcome.ROLLED_BACK, Outcome.CANCELLED})  # ended on purpose: there is nothing to resume


@dataclass(frozen=True, slots=True)
class Ends:
    """A run's containers by how their moves ended, over all attempts. `back` are those that were not moved since."""

    moved: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    back: frozenset[str] = frozenset()

    @property
    def over(self) -> frozenset[str]:
        """Containers that this run does not move again."""
        return self.moved | self.settled

    def complete(self, plan: Plan) -> bool:
        """Whether every move of the plan has come to its end. A plan without moves has nothing that says so."""
        return bool(plan.moves) and self.over.issuperset(move.container for move in plan.moves)


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
            (moved if progress.state is State.DONE else back).add(migration.container)
    return Ends(frozenset(moved), frozenset(settled), frozenset(back - moved - settled))


def carried_out(found: Ends, failed: bool) -> Outcome:
    """The word for a run that was carried out as far as it goes. What an operator has settled is never only "done"."""
    if found.settled:
        return Outcome.SETTLED
    return Outcome.FAILED if failed else Outcome.DONE


def ended_early(plan: Plan, found: Ends) -> Outcome:
    """The word for a run that a person has ended: what was done by then is done, and only what went back went back."""
    if found.complete(plan):
        return carried_out(found, failed=False)
    return Outcome.ROLLED_BACK if found.back else Outcome.CANCELLED
