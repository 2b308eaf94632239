"""What apply says at the end: which nodes are proved empty, and what it came to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.errors import FailedSafe, NeedsOperator, NotYet, Refused
from migrator.executor.apply import leftovers, outcome, refuse_own_host
from migrator.executor.outcome import Ends, Outcome, carried_out
from migrator.executor.runner import RunResult
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.drain import drain
from tests.properties.fleets import cluster, ct, node

BEFORE = cluster(node("n1", ct("a"), ct("b"), ct("old", state="stopped", alive=False)), node("n2"))
AFTER = cluster(node("n1", ct("old", state="stopped", alive=False)), node("n2", ct("a"), ct("b")))


def plan() -> Plan:
    made = drain(BEFORE, ["n1"], "-", PlanPolicy(leave_stopped=True))
    assert isinstance(made, Plan)
    return made


def test_a_node_with_nothing_but_what_the_plan_leaves_is_proved_empty():
    assert leftovers(AFTER, plan()) == {}


def test_a_record_of_any_state_keeps_a_node_from_being_empty():
    left = leftovers(cluster(node("n1", ct("c", state="reserved")), node("n2")), plan())
    assert left == {"n1": "n1 still holds c (reserved)"}


def test_what_was_stopped_and_runs_again_is_not_left_behind_silently():
    assert leftovers(cluster(node("n1", ct("old")), node("n2")), plan()) == {"n1": "n1 still holds old (serving)"}


def test_a_node_that_does_not_answer_is_not_proved_empty():
    left = leftovers(cluster(node("n1", error="no route"), node("n2")), plan())
    assert left == {"n1": "n1 is not proved empty: no route"}


def test_all_as_planned_is_no_error():
    assert outcome("r1", plan(), RunResult(moved=["a", "b"]), {}) is None


def test_a_node_not_empty_after_good_moves_is_a_failure():
    error = outcome("r1", plan(), RunResult(moved=["a", "b"]), {"n1": "n1 still holds c (serving)"})
    assert isinstance(error, FailedSafe)
    assert error.exit_code == 4
    assert "every move is done, but n1 still holds c (serving)" in str(error)


@pytest.mark.parametrize(
    ("failed", "code"), [(FailedSafe("broke"), 4), (Refused("no room"), 3), (NeedsOperator("stuck"), 5)]
)
def test_failed_moves_name_the_ways_on_and_keep_the_worst_exit_code(failed, code):
    error = outcome("r1", plan(), RunResult(moved=["a"], failed={"b": failed}), {"n1": "n1 still holds b (serving)"})
    assert error is not None
    assert error.exit_code == code
    told = str(error)
    assert f"1 of 2 moves did not end well: {failed}" in told
    assert "migrator resume r1" in told
    assert "migrator rollback r1" in told
    assert "n1 stays cordoned (migrator uncordon NODE ends that)" in told


def test_a_move_whose_window_is_closed_has_not_failed_and_is_said_to_wait():
    closed = NotYet(
        "container b on n1 may be moved only within mon 22:00-23:00 UTC: that is in 5 s; then: migrator resume r1"
    )
    error = outcome("r1", plan(), RunResult(moved=["a"], failed={"b": closed}), {})
    assert error is not None
    assert (type(error), error.exit_code) == (NotYet, 3)
    told = str(error)
    assert f"nothing failed; 1 of 2 moves waits for its time: {closed}" in told
    assert "did not end well" not in told
    assert "do the rest then: migrator resume r1" in told
    both = outcome("r1", plan(), RunResult(failed={"a": FailedSafe("broke"), "b": closed}), {})
    assert "2 of 2 moves did not end well" in str(both)
    assert carried_out(Ends(), failed=True, waiting=True) is Outcome.WAITING
    assert (
        carried_out(Ends(), failed=True, waiting=RunResult(failed={"a": Refused("no room")}).waiting) is Outcome.FAILED
    )


def test_what_waited_for_a_failed_move_is_told_too():
    result = RunResult(failed={"a": FailedSafe("broke")}, skipped={"b": "a"})
    assert "container b was not moved: it waited for a" in str(outcome("r1", plan(), result, {}))


def test_the_machine_that_this_runs_on_is_not_emptied():
    with pytest.raises(Refused, match="n1 is the machine that this runs on"):
        refuse_own_host(BEFORE, plan(), "boot-of-n1")
    refuse_own_host(BEFORE, plan(), "boot-of-n2")
    refuse_own_host(BEFORE, plan(), "")
    refuse_own_host(cluster(replace(BEFORE.nodes[0], boot_id=""), node("n2")), plan(), "")
