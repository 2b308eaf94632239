"""Events, and the fold that turns a migration's events into where it stands.

Every transition is two events: `begin`, durable before the act, and `end`, durable after it. `fail` says that an
act was tried and did not work. `note` tells of what stands beside the states: a site's hook that is called, and a
warning. Recovery reads nothing but these and the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from migrator.protocol.states import DECISIONS, State, check_transition


class Phase(StrEnum):
    BEGIN = "begin"
    END = "end"
    FAIL = "fail"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal. `at_ms` is wall time; order is by `seq` alone."""

    seq: int
    at_ms: int
    state: State
    phase: Phase
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a migration stands.

    `state` is the last state reached; `pending` one that was begun and has no outcome; `reached` holds all with
    what was measured on the way; `begun` all that were ever tried, reached or not; `error` is the last failure's.
    `told` maps a moment at which the site's hooks are called to how far that came; `warnings` are for an operator.
    """

    migration: str
    state: State = State.PLANNED
    pending: State | None = None
    decision: State | None = None
    reached: dict[State, dict[str, Any]] = field(default_factory=dict)
    begun: frozenset[State] = frozenset()
    error: str = ""
    told: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        return State.VERIFIED in self.reached


def fold(migration: str, events: Iterable[Event]) -> Progress:
    """Replays events from the first. Raises IllegalTransition where one does not follow from those before."""
    progress = Progress(migration)
    for event in events:
        progress = apply(progress, event)
    return progress


def apply(progress: Progress, event: Event) -> Progress:
    """One event later."""
    if event.phase is Phase.NOTE:
        warnings = (event.data["warning"],) if "warning" in event.data else ()
        told = {**progress.told, str(event.data["hook"]): str(event.data["is"])}
        return replace(progress, told=told, warnings=progress.warnings + warnings)
    check_transition(progress.migration, progress.state, event.state)
    begun = progress.begun | {event.state}
    if event.phase is Phase.BEGIN:
        return replace(progress, begun=begun, pending=event.state)
    if event.phase is Phase.FAIL:
        return replace(progress, begun=begun, pending=None, error=str(event.data.get("error", "")))
    return replace(
        progress,
        begun=begun,
        state=event.state,
        pending=None,
        decision=event.state if event.state in DECISIONS else progress.decision,
        reached={**progress.reached, event.state: event.data},
    )
