"""The states of one migration, and the only place that says which may follow which.

A migration moves along `FORWARD` one state at a time; in post-copy its memory is FILLED between RELEASED and
SOURCE_REMOVED. Until the decision it may turn to ABORTED from anywhere; after COMMITTED there is no way but forward,
except that a committed move whose target copy died before its release may be REVOKED by a decision of higher
generation, and that an operator may have anything that is not final SETTLED, by a generation above all that was seen.
docs/architecture.md draws its diagram from this table.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise

from migrator.errors import MigratorError


class State(StrEnum):
    PLANNED = "planned"
    LEASED = "leased"
    CHECKED = "checked"
    RESERVED = "reserved"
    SEEDED = "seeded"
    FENCED = "fenced"
    DUMPED = "dumped"
    SYNCED = "synced"
    RESTORED = "restored"
    VERIFIED = "verified"
    SEALED = "sealed"
    COMMITTED = "committed"
    RELEASED = "released"
    FILLED = "filled"
    SOURCE_REMOVED = "source-removed"
    DONE = "done"
    ABORTED = "aborted"
    REVOKED = "revoked"
    SETTLED = "settled"
    ROLLED_BACK = "rolled-back"


FORWARD = (
    State.PLANNED,
    State.LEASED,
    State.CHECKED,
    State.RESERVED,
    State.SEEDED,
    State.FENCED,
    State.DUMPED,
    State.SYNCED,
    State.RESTORED,
    State.VERIFIED,
    State.SEALED,
    State.COMMITTED,
    State.RELEASED,
    State.SOURCE_REMOVED,
    State.DONE,
)
DECISIONS = frozenset({State.COMMITTED, State.ABORTED, State.REVOKED, State.SETTLED})
FINAL = frozenset({State.DONE, State.ROLLED_BACK})
_UNDECIDED = FORWARD[: FORWARD.index(State.COMMITTED)]


def _transitions() -> dict[State, frozenset[State]]:
    table = {state: {follower} for state, follower in pairwise(FORWARD)}
    for state in _UNDECIDED:
        table[state].add(State.ABORTED)
        table[state].add(State.COMMITTED)  # by recovery, which may find the states in between true without us
    table[State.COMMITTED] |= {State.REVOKED, State.SOURCE_REMOVED, State.DONE}
    table[State.RELEASED] |= {State.FILLED, State.DONE}
    table[State.FILLED] = {State.SOURCE_REMOVED, State.DONE}
    table[State.ABORTED] = {State.ROLLED_BACK}
    table[State.REVOKED] = {State.ROLLED_BACK}
    table[State.SETTLED] = {State.DONE, State.ROLLED_BACK}  # the container is on its target, or on its source
    table[State.DONE] = set()
    table[State.ROLLED_BACK] = set()
    for state, followers in table.items():
        if state not in FINAL:
            followers.add(State.SETTLED)  # by an operator, who knows what nobody here can
    return {state: frozenset(followers) for state, followers in table.items()}


TRANSITIONS: dict[State, frozenset[State]] = _transitions()


class IllegalTransition(MigratorError):
    """A bug or a damaged journal: the event does not follow from the state."""

    exit_code = 5


def check_transition(migration: str, before: State, after: State) -> None:
    """Raises IllegalTransition unless `after` may follow `before`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(f"migration {migration}: {after} may not follow {before}")


def is_decided(state: State) -> bool:
    """Whether the one decision of the migration has been made when it is in this state."""
    return state not in _UNDECIDED
