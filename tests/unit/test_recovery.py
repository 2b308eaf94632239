"""The recovery table, row by row, and what must hold whatever is observed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.model.observation import Observation
from migrator.protocol.recovery import Action, decide, judge
from migrator.protocol.stale import Known
from migrator.protocol.states import State


def source(state: str, *, boot: bool = True, processes: str = "frozen") -> Observation:
    return Observation(state=state, token=2, same_boot=boot, processes=processes if boot else "none")


def target(state: str, *, boot: bool = True, held: bool = False, processes: str = "running") -> Observation:
    return Observation(
        state=state, token=2, same_boot=boot, held=held and boot, processes=processes if boot else "none"
    )


HELD = target("held", held=True)
LOST = target("held", boot=False)
# Its node rebooted after the lease, restored the copy, and had no room to write that it holds it.
UNRECORDED = Observation(state="reserved", token=2, same_boot=False, held=True, processes="running")
GONE = Observation()
ROWS = [
    # decision, verified, source, target, verdict
    ("fenced, target not released", None, False, source("fenced"), target("reserved"), Action.ABORT),
    ("fenced, target unreachable", None, False, source("fenced"), None, Action.ABORT),
    ("fenced, target held and verified", None, True, source("fenced"), HELD, Action.ABORT),
    ("the watchdog was first", None, True, source("serving", processes="running"), HELD, Action.ABORT),
    ("sealed, target held and verified", None, True, source("sealed"), HELD, Action.COMMIT),
    ("sealed, held, the disk too full for the record", None, True, source("sealed"), UNRECORDED, Action.COMMIT),
    ("sealed, target held, not verified", None, False, source("sealed"), HELD, Action.ABORT),
    ("sealed, target unreachable", None, True, source("sealed"), None, Action.STUCK),
    ("sealed, target lost its copy", None, True, source("sealed"), LOST, Action.ABORT),
    ("source rebooted, target held and verified", None, True, source("fenced", boot=False), HELD, Action.COMMIT),
    ("source rebooted, target not verified", None, False, source("fenced", boot=False), HELD, Action.COLD_START),
    ("source rebooted, target unreachable", None, True, source("sealed", boot=False), None, Action.STUCK),
    ("undecided, yet released", None, True, source("sealed"), target("released"), Action.STUCK),
    ("undecided, source unreachable", None, True, None, HELD, Action.STUCK),
    ("aborted, target unreachable", State.ABORTED, False, source("fenced"), None, Action.ROLL_BACK),
    ("aborted, source thawed", State.ABORTED, False, source("serving", processes="running"), GONE, Action.ROLL_BACK),
    ("aborted, source rebooted", State.ABORTED, False, source("sealed", boot=False), GONE, Action.COLD_START),
    (
        "aborted, reclaimed and not started",
        State.ABORTED,
        False,
        source("stopped", boot=False),
        GONE,
        Action.COLD_START,
    ),
    ("aborted, source unreachable", State.ABORTED, False, None, GONE, Action.STUCK),
    ("committed, target held", State.COMMITTED, True, source("sealed"), HELD, Action.FINISH),
    ("committed, target held, source gone", State.COMMITTED, True, None, HELD, Action.FINISH),
    ("committed, target unreachable", State.COMMITTED, True, source("sealed"), None, Action.STUCK),
    ("committed, target lost it unreleased", State.COMMITTED, True, source("sealed"), LOST, Action.REVOKE),
    ("committed, target's record is gone", State.COMMITTED, True, source("sealed"), target("reserved"), Action.STUCK),
    ("committed, both lost it", State.COMMITTED, True, source("sealed", boot=False), LOST, Action.STUCK),
    ("committed, released", State.COMMITTED, True, source("sealed"), target("released"), Action.FINISH),
    ("committed, released, process gone", State.COMMITTED, True, GONE, target("released", boot=False), Action.FINISH),
]


@pytest.mark.parametrize(("name", "decision", "verified", "src", "dst", "action"), ROWS, ids=[row[0] for row in ROWS])
def test_row(
    name: str, decision: State | None, verified: bool, src: Observation | None, dst: Observation | None, action: Action
) -> None:
    verdict = decide(decision, verified, src, dst)
    assert verdict.action is action, verdict.reason
    assert verdict.reason


observations = st.none() | st.builds(
    Observation,
    state=st.sampled_from(["absent", "serving", "stopped", "fenced", "sealed", "reserved", "held", "released"]),
    same_boot=st.booleans(),
    processes=st.sampled_from(["none", "frozen", "running"]),
    held=st.booleans(),
)
decisions = st.sampled_from([None, State.ABORTED, State.COMMITTED])


@given(decisions, st.booleans(), observations, observations)
def test_the_source_comes_back_only_if_the_target_was_never_released(
    decision: State | None, verified: bool, src: Observation | None, dst: Observation | None
) -> None:
    back = (Action.ABORT, Action.ROLL_BACK, Action.COLD_START, Action.REVOKE)
    if decide(decision, verified, src, dst).action in back:
        assert dst is None or dst.state not in ("released", "serving", "stopped")
        unreleased = dst is not None and dst.state == "held" and not (dst.held and dst.same_boot)
        assert decision is not State.COMMITTED or unreleased


@given(decisions, st.booleans(), observations, observations)
def test_forward_is_chosen_only_when_the_source_cannot_run_by_itself(
    decision: State | None, verified: bool, src: Observation | None, dst: Observation | None
) -> None:
    if decide(decision, verified, src, dst).action is Action.COMMIT:
        assert verified
        assert src is not None
        assert src.state == "sealed" or not src.same_boot or not src.alive
        assert dst is not None
        assert dst.holds


@given(st.booleans(), observations, observations)
def test_an_aborted_migration_never_goes_forward_and_a_committed_one_never_aborts(
    verified: bool, src: Observation | None, dst: Observation | None
) -> None:
    assert decide(State.ABORTED, verified, src, dst).action not in (Action.COMMIT, Action.FINISH, Action.ABORT)
    assert decide(State.COMMITTED, verified, src, dst).action not in (Action.ABORT, Action.COLD_START, Action.COMMIT)


RELEASED = Known("-", 2, 1, State.COMMITTED, reached=frozenset({State.RELEASED}))


@pytest.mark.parametrize(
    ("known", "dst"),
    [
        (RELEASED, replace(target("released"), memory="lost")),
        (replace(RELEASED, follows=True), replace(target("released"), memory="lost")),
        (replace(RELEASED, not_let_go=True), target("released", processes="none")),
        (replace(RELEASED, not_let_go=True), target("released", processes="none", boot=False)),
    ],
    ids=["as its node says", "and more was to follow", "as the journal says", "and its node has rebooted since"],
)
def test_a_source_is_kept_for_whoever_chooses_while_a_release_has_failed(known: Known, dst: Observation) -> None:
    assert judge(known, source("sealed"), dst).action is Action.STUCK


def test_a_copy_that_somebody_has_started_after_a_failed_release_is_the_container() -> None:
    started = target("released", processes="running")
    assert judge(replace(RELEASED, not_let_go=True), source("sealed"), started).action is Action.FINISH
