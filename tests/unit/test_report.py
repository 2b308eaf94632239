"""A run's report holds what the plan expected against what happened."""

from __future__ import annotations

from typing import Any

import pytest

from migrator.cli.phases import Part, pause_parts
from migrator.cli.report import blackout_ms, makespan_json, makespan_line, predicted_json, predicted_line, waited_ms
from migrator.journal.events import Event, Phase
from migrator.journal.store import Run
from migrator.protocol.states import State

MOVE = {
    "container": "web",
    "estimate": {"blackout_s": 0.48, "duration_s": 1.99, "memory_bytes": 10 << 20, "files_bytes": 1 << 20},
}
DONE: dict[str, Any] = {
    "state": "done",
    "blackout_ms": 930,
    "duration_ms": 2290,
    "waited_ms": 0,
    "memory_bytes": 10 << 20,
    "files_bytes": 2 << 20,
}


def run_of(document: dict[str, Any]) -> Run:
    return Run(id="r1", kind="drain n1", created_ms=0, document=document, outcome="done")


def test_the_plans_estimates_are_told_in_the_units_of_what_happened():
    (expected,) = predicted_json(run_of({"plan": {"moves": [MOVE]}})).values()
    assert expected == {
        "blackout_ms": 480,
        "duration_ms": 1990,
        "memory_bytes": 10 << 20,
        "files_bytes": 1 << 20,
        "bytes": 11 << 20,
        "rounds": 1,
        "learnt_from": 0,
    }


def test_it_is_told_how_many_migrations_an_estimate_was_learnt_from():
    learnt = {"n1": {"n2": {"runs": 7}}}
    moves = [MOVE | {"source": "n1", "target": "n2"}, MOVE | {"container": "db", "source": "n2", "target": "n1"}]
    expected = predicted_json(run_of({"plan": {"moves": moves, "policy": {"learnt": learnt}}}))
    assert {name: move["learnt_from"] for name, move in expected.items()} == {"web": 7, "db": 0}


def test_both_stand_side_by_side():
    expected = predicted_json(run_of({"plan": {"moves": [MOVE]}}))["web"]
    assert predicted_line(DONE | {"predicted": expected}) == (
        "blackout 0.93 s (predicted 0.48 s), duration 2.29 s (predicted 1.99 s), "
        "memory 10.0 MiB (predicted 10.0 MiB), files 2.0 MiB (predicted 1.0 MiB)"
    )


def test_the_time_that_a_move_waited_for_the_pauses_of_others_is_told():
    expected = predicted_json(run_of({"plan": {"moves": [MOVE]}}))["web"]
    said = predicted_line(DONE | {"predicted": expected, "waited_ms": 1200})
    assert "duration 2.29 s (predicted 1.99 s), 1.20 s of it ready and waiting for the pauses of others, mem" in said
    at = {State.SEEDED: 1000, State.FENCED: 2200}
    history = [Event(1, at[s], s, p, {}) for s, p in ((State.SEEDED, Phase.END), (State.FENCED, Phase.BEGIN))]
    assert (waited_ms(history), waited_ms(history[:1]), waited_ms([])) == (1200, 0, 0)


def test_the_makespan_of_a_run_stands_beside_its_plans():
    plan = {"moves": [MOVE], "makespan_s": 2.5, "makespan_bound_s": 0.25}
    document: dict[str, Any] = {
        "predicted": makespan_json(run_of({"plan": plan})),
        "makespan_ms": 3100,
        "migrations": [DONE],
    }
    assert makespan_line(document) == "makespan 3.10 s (predicted 2.50 s; the busiest link alone needs 0.25 s)"
    assert makespan_line(document | {"migrations": [DONE, DONE | {"state": "rolled-back"}]}) == ""
    assert makespan_line(document | {"predicted": makespan_json(run_of({}))}) == ""


@pytest.mark.parametrize("document", [{}, {"plan": None}, {"plan": {"moves": []}}])
def test_a_run_without_a_plan_has_nothing_to_compare(document: dict[str, Any]):
    assert predicted_json(run_of(document)) == {}
    assert predicted_line(DONE | {"predicted": None}) == ""


def test_a_move_that_did_not_arrive_is_not_compared():
    expected = predicted_json(run_of({"plan": {"moves": [MOVE]}}))["web"]
    assert predicted_line(DONE | {"state": "rolled-back", "predicted": expected}) == ""


def test_the_pause_that_a_watchdog_ended_is_the_one_that_its_node_tells() -> None:
    def history(**data: int | None) -> list[Event]:
        return [
            Event(1, 1000, State.FENCED, Phase.BEGIN, {}),
            Event(2, 1100, State.FENCED, Phase.END, {"frozen_at_ms": 5}),
            Event(3, 90_000, State.ROLLED_BACK, Phase.END, data),
        ]

    assert blackout_ms(history(thawed_at_ms=4000, paused_ms=None)) == 3000
    assert blackout_ms(history(thawed_at_ms=None, paused_ms=15_010)) == 15_010
    assert blackout_ms(history(thawed_at_ms=None, paused_ms=None)) is None
    assert blackout_ms(history()) is None


def test_what_the_container_took_to_come_to_rest_is_no_part_of_its_pause() -> None:
    history = [
        Event(1, 1000, State.FENCED, Phase.BEGIN, {}),
        Event(2, 1300, State.FENCED, Phase.END, {"frozen_at_ms": 5, "quiet_ms": 280}),
        Event(3, 1900, State.RELEASED, Phase.END, {}),
    ]
    assert blackout_ms(history) == 1900 - 1280


def test_what_it_stood_ready_and_waited_for_its_turn_is_waiting_and_no_part_of_its_pause() -> None:
    history = [
        Event(1, 200, State.SEEDED, Phase.END, {}),
        Event(2, 1000, State.FENCED, Phase.BEGIN, {}),
        Event(3, 4300, State.FENCED, Phase.END, {"quiet_ms": 280, "turn_ms": 3000}),
        Event(4, 4900, State.RELEASED, Phase.END, {}),
    ]
    assert blackout_ms(history) == 620
    assert waited_ms(history) == 800 + 3000
    assert pause_parts(history)[0] == Part("freeze, gate", 20)


def test_so_it_is_where_the_fence_failed_after_that() -> None:
    history = [
        Event(1, 1000, State.FENCED, Phase.BEGIN, {}),
        Event(2, 4300, State.FENCED, Phase.FAIL, {"error": "no answer", "turn_ms": 3000}),
        Event(3, 4900, State.ROLLED_BACK, Phase.END, {"thawed_at_ms": 4800}),
    ]
    assert blackout_ms(history) == 800


def test_the_parts_of_a_pause_add_up_to_it() -> None:
    history = [
        Event(1, 1000, State.FENCED, Phase.BEGIN, {}),
        Event(2, 1030, State.FENCED, Phase.END, {"quiet_ms": 20}),
        Event(3, 1031, State.DUMPED, Phase.BEGIN, {}),
        Event(4, 1331, State.DUMPED, Phase.END, {"dump_ms": 100, "send_ms": 190}),
        Event(5, 1331, State.SYNCED, Phase.BEGIN, {}),
        Event(6, 1333, State.SYNCED, Phase.END, {"sync_ms": 280}),
        Event(7, 1333, State.RESTORED, Phase.BEGIN, {}),
        Event(8, 1533, State.RESTORED, Phase.END, {}),
        Event(9, 1540, State.RELEASED, Phase.BEGIN, {}),
        Event(10, 1560, State.RELEASED, Phase.END, {}),
    ]
    parts = {part.name: (part.ms, part.clock) for part in pause_parts(history)}
    assert parts == {
        "freeze, gate": (10, "orchestrator"),
        "dump, send": (300, "orchestrator"),
        "dump": (100, "source"),
        "send": (190, "source"),
        "last files, beside": (280, "source"),
        "last files": (2, "orchestrator"),
        "restore": (200, "orchestrator"),
        "release": (20, "orchestrator"),
        "journal and decision, in between": (8, "orchestrator"),
    }
    assert sum(part.ms for part in pause_parts(history) if not part.within) == blackout_ms(history) == 540


def test_a_pause_that_was_taken_back_says_how_long_that_took() -> None:
    history = [
        Event(1, 1000, State.FENCED, Phase.BEGIN, {}),
        Event(2, 1030, State.FENCED, Phase.END, {}),
        Event(3, 1031, State.DUMPED, Phase.BEGIN, {}),
        Event(4, 1500, State.ROLLED_BACK, Phase.END, {"thawed_at_ms": 1400}),
    ]
    assert [(part.name, part.ms) for part in pause_parts(history)] == [
        ("freeze, gate", 30),
        ("the failed step, and taking it back", 370),
    ]
    assert pause_parts(history[:3]) == []
