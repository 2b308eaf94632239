"""A journal that is older than the world is noticed, and an up-to-date one is never taken for such."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.model.observation import Observation
from migrator.protocol.recovery import Action, judge
from migrator.protocol.stale import Known, ahead
from migrator.protocol.states import FORWARD, State

RUN = "r"


def journal(last: State, *, begun: State | None = None, decision: State | None = None, token: int = 2) -> Known:
    reached = FORWARD[1 : FORWARD.index(last) + 1]
    tried = {*reached, *([begun] if begun else [])}
    return Known(RUN, token, 1, decision, frozenset(tried), frozenset(reached))


def record(state: str, *, token: int = 2, run: str = RUN, generation: int = 1, held: bool = False) -> Observation:
    processes = "frozen" if state in ("fenced", "sealed") else "running"
    return Observation(state=state, token=token, generation=generation, run=run, processes=processes, held=held)


SERVING = record("serving", run="-", token=1)
LEASED = record("serving")
GONE = Observation()
ROWS = [
    # what the journal knows, source, target, whether it is older than the world
    ("nothing begun", journal(State.PLANNED), SERVING, GONE, False),
    ("lease begun and taken", journal(State.PLANNED, begun=State.LEASED), LEASED, GONE, False),
    ("lease begun, never came", journal(State.PLANNED, begun=State.LEASED), SERVING, GONE, False),
    ("fence begun, never came", journal(State.SEEDED, begun=State.FENCED), LEASED, record("reserved"), False),
    ("fence begun and came", journal(State.SEEDED, begun=State.FENCED), record("fenced"), record("reserved"), False),
    ("the watchdog was first", journal(State.VERIFIED), LEASED, record("held", held=True), False),
    ("a take-over that has not reached the nodes", journal(State.SEEDED, token=9), LEASED, record("reserved"), False),
    ("sealed and held", journal(State.SEALED), record("sealed"), record("held", held=True), False),
    ("sealed, target silent", journal(State.SEALED), record("sealed"), None, False),
    ("nobody answers", journal(State.SEALED), None, None, False),
    ("token of the source above", journal(State.SEEDED), record("serving", token=3), record("reserved"), True),
    ("token of the target above", journal(State.SEEDED), LEASED, record("reserved", token=3), True),
    ("target released", journal(State.SEALED), record("sealed"), record("released"), True),
    ("target serves, source silent", journal(State.SEALED), None, record("serving"), True),
    ("target settled", journal(State.FENCED), GONE, record("serving", run="-", generation=2), True),
    ("source fenced, fence not begun", journal(State.SEEDED), record("fenced"), record("reserved"), True),
    ("source sealed, seal not begun", journal(State.VERIFIED), record("sealed"), record("held", held=True), True),
    ("target held, restore not begun", journal(State.SYNCED), record("fenced"), record("held", held=True), True),
    ("leased, and the source is nobody's", journal(State.SEEDED), SERVING, GONE, True),
    ("leased, and the source is another's", journal(State.SEEDED), record("serving", run="q"), GONE, True),
    ("leased, and the source's record is gone", journal(State.SEEDED), GONE, GONE, True),
    ("generation above", journal(State.SEEDED), record("serving", generation=3), record("reserved"), True),
    ("never leased, and it came back", journal(State.PLANNED), record("serving", run="-", generation=3), GONE, False),
    ("never leased, and gone to a target", journal(State.PLANNED), GONE, record("serving", run="-"), False),
    ("not leased here, and this run has released it", journal(State.PLANNED), GONE, record("released"), True),
    ("not leased here, and this run holds it", journal(State.PLANNED), GONE, record("held", held=True), True),
    ("never leased, and it is gone", journal(State.PLANNED, begun=State.LEASED), GONE, GONE, False),
    (
        "committed, and the source runs",
        journal(State.COMMITTED, decision=State.COMMITTED),
        record("serving", run="-", generation=3),
        GONE,
        True,
    ),
    (
        "committed and settled, and the container came back by another run",
        journal(State.SOURCE_REMOVED, begun=State.DONE, decision=State.COMMITTED),
        record("serving", run="-", generation=3),
        GONE,
        False,
    ),
    (
        "aborted, and a later run moved it",
        replace(journal(State.SEEDED), decision=State.ABORTED),
        GONE,
        record("serving", run="-", generation=2),
        False,
    ),
    (
        "never leased, and a later run of this journal moved it",
        replace(journal(State.PLANNED, begun=State.LEASED), superseded="q"),
        GONE,
        record("serving", run="-", generation=2),
        False,
    ),
]


@pytest.mark.parametrize(("name", "known", "source", "target", "older"), ROWS, ids=[row[0] for row in ROWS])
def test_row(name: str, known: Known, source: Observation | None, target: Observation | None, older: bool) -> None:
    reason = ahead(known, source, target)
    assert bool(reason) == older, reason
    assert (judge(known, source, target).action is Action.STALE) == older


def test_a_settled_move_that_only_the_journal_does_not_know_of_is_finished() -> None:
    known = journal(State.SOURCE_REMOVED, begun=State.DONE, decision=State.COMMITTED)
    assert judge(known, GONE, record("serving", run="-", generation=2)).action is Action.FINISH
    assert judge(known, record("serving", run="-", generation=3), GONE).action is Action.FINISH


@dataclass(frozen=True)
class World:
    """The journal and both records at one moment of a saga."""

    known: Known
    source: Observation
    target: Observation


def acted(world: World, state: State) -> World:
    """What the act of a state does to the records."""
    source, target, known = world.source, world.target, world.known
    match state:
        case State.LEASED:
            source = replace(source, run=RUN, token=known.token)
            target = replace(target, state="reserved", run=RUN, token=known.token)
        case State.FENCED:
            source = replace(source, state="fenced", processes="frozen")
        case State.RESTORED:
            target = replace(target, state="held", held=True, processes="running")
        case State.SEALED:
            source = replace(source, state="sealed")
        case State.RELEASED:
            target = replace(target, state="released", held=False)
        case State.SOURCE_REMOVED:
            source = Observation(floor=known.token)
        case State.DONE:
            target = replace(target, state="serving", run="-", generation=2)
    return World(known, source, target)


def histories() -> list[World]:
    """Every moment of a saga: journal begun, one node of a lease had, act done, journal told; crashes of each side,
    a watchdog that fires, and take-overs whose token has reached none, one or both of the nodes."""
    world = World(Known(RUN, 2, 1), replace(SERVING), GONE)
    moments = [world]
    for state in FORWARD[1:]:
        if state is State.COMMITTED:
            known = replace(world.known, decision=state)
        else:
            known = replace(world.known, begun=world.known.begun | {state})
            moments.append(replace(world, known=known))
            after = acted(replace(world, known=known), state)
            moments.append(replace(after, target=world.target))  # a lease has two ends
            world = after
            moments.append(world)
        known = replace(known, begun=known.begun | {state}, reached=known.reached | {state})
        world = replace(world, known=known)
        moments.append(world)
    return moments


def variants(world: World) -> list[World]:
    found = [world]
    if world.source.state == "fenced":
        found.append(replace(world, source=replace(world.source, state="serving", processes="running")))
    for one in list(found):
        raised = replace(one, known=replace(one.known, token=5))
        source, target = one.source, one.target
        if source.run == RUN:
            source = replace(source, token=5)
        if target.run == RUN:
            target = replace(target, token=5)
        found += [raised, replace(raised, source=source), replace(raised, source=source, target=target)]
    for one in list(found):
        lost: dict[str, Any] = {"same_boot": False, "processes": "none", "held": False}
        found.append(replace(one, source=replace(one.source, **lost)))
        found.append(replace(one, target=replace(one.target, **lost)))
    return found


MOMENTS = [variant for world in histories() for variant in variants(world)]


@given(st.sampled_from(MOMENTS), st.booleans(), st.booleans())
def test_a_journal_that_was_written_before_every_act_is_never_taken_for_older(
    world: World, source_answers: bool, target_answers: bool
) -> None:
    source = world.source if source_answers else None
    target = world.target if target_answers else None
    assert ahead(world.known, source, target) == ""


@given(st.sampled_from(histories()), st.sampled_from(histories()))
def test_a_backup_decides_nothing_against_a_decision_that_it_does_not_know(backup: World, now: World) -> None:
    """Whatever moment the backup is of: a world that was decided since is never aborted, nor decided a second time."""
    if now.known.decision is None or backup.known.decision is not None or not backup.known.reached:
        return
    verdict = judge(backup.known, now.source, now.target)
    released = now.target.state in ("released", "serving")
    if released:
        assert verdict.action is Action.STALE
    elif verdict.action not in (Action.STALE, Action.STUCK):
        # Not released yet: the backup's own token is raised on both nodes first, so that nobody else can release it.
        assert (now.source.state, now.target.state) == ("sealed", "held")
