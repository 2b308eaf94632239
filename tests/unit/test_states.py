"""The transition table, and the fold over events that obeys it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.journal.events import Event, Phase, Progress, apply, fold
from migrator.protocol.states import (
    DECISIONS,
    FINAL,
    FORWARD,
    TRANSITIONS,
    IllegalTransition,
    State,
    check_transition,
    is_decided,
)


def ended(state: State, seq: int = 0) -> Event:
    return Event(seq, 0, state, Phase.END)


def test_every_state_has_its_followers_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)


def test_final_states_are_followed_by_nothing() -> None:
    assert all(not TRANSITIONS[state] for state in FINAL)


def test_after_the_commit_nothing_aborts() -> None:
    after = FORWARD[FORWARD.index(State.COMMITTED) :]
    assert all(State.ABORTED not in TRANSITIONS[state] for state in after)


def test_before_the_decision_everything_may_abort() -> None:
    before = FORWARD[: FORWARD.index(State.COMMITTED)]
    assert all(State.ABORTED in TRANSITIONS[state] for state in before)


def test_whatever_is_not_final_can_be_settled_and_ends_then() -> None:
    assert {state for state in State if State.SETTLED not in TRANSITIONS[state]} == FINAL
    assert TRANSITIONS[State.SETTLED] == {State.SETTLED, *FINAL}


def test_released_follows_only_the_commit() -> None:
    assert [state for state in State if State.RELEASED in TRANSITIONS[state]] == [State.COMMITTED]


def test_the_source_is_removed_only_after_the_commit() -> None:
    before = FORWARD[: FORWARD.index(State.COMMITTED)]
    assert all(State.SOURCE_REMOVED not in TRANSITIONS[state] for state in before)


def test_an_illegal_event_is_refused_with_both_states_named() -> None:
    with pytest.raises(IllegalTransition, match="released may not follow sealed"):
        check_transition("m", State.SEALED, State.RELEASED)


def test_a_begun_state_is_pending_until_it_ends_or_fails() -> None:
    begun = apply(Progress("m"), Event(1, 0, State.LEASED, Phase.BEGIN))
    assert (begun.state, begun.pending) == (State.PLANNED, State.LEASED)
    assert apply(begun, ended(State.LEASED)).pending is None
    failed = apply(begun, Event(2, 0, State.LEASED, Phase.FAIL, {"error": "no"}))
    assert (failed.state, failed.pending, failed.error) == (State.PLANNED, None, "no")


def test_the_way_forward_folds_to_done_with_its_decision() -> None:
    progress = fold("m", [ended(state, seq) for seq, state in enumerate(FORWARD[1:])])
    assert progress.state is State.DONE
    assert progress.decision is State.COMMITTED


@given(st.lists(st.sampled_from([s for s in State if s is not State.PLANNED]), max_size=30))
def test_no_history_holds_two_decisions_unless_one_revokes_a_commit_or_an_operator_settles(states: list[State]) -> None:
    progress, decisions, settled = Progress("m"), [], False
    for state in states:
        try:
            progress = apply(progress, ended(state))
        except IllegalTransition:
            continue
        if state in DECISIONS:
            decisions.append(state)
    while decisions and decisions[-1] is State.SETTLED:
        settled, decisions = True, decisions[:-1]
    assert decisions in ([], [State.ABORTED], [State.COMMITTED], [State.COMMITTED, State.REVOKED])
    assert is_decided(progress.state) == bool(decisions or settled)
