"""What is learnt from ended migrations: medians of each pair, rates from large ones, and nothing from broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from migrator.journal.base import Migration
from migrator.journal.events import Event, Phase
from migrator.journal.learnt import LATEST, History, learn, pauses_seen, sample
from migrator.model.estimate import estimate_move
from migrator.model.facts import ContainerFacts, Link, Resources
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES, Way
from migrator.protocol.states import FORWARD, State

MB = 1_000_000
GB = 1000 * MB


def ended(
    memory_bytes: int = 4 * MB,
    source: str = "n1",
    target: str = "n2",
    mb_per_s: int = 100,
    waited_ms: int = 0,
    way: str = "images",
    turn_ms: int = 0,
) -> History:
    """A migration that went straight to its end: each step has its overhead, and its bytes at this rate."""
    sending_ms = memory_bytes * 1000 // (mb_per_s * MB)
    by_images = way != "stream"
    connecting_ms = 100 if by_images else 150
    takes_ms = {
        State.SEEDED: 600,
        State.DUMPED: 200 + (1 + by_images) * sending_ms,
        State.RESTORED: 200 + by_images * sending_ms,
        State.FENCED: 50 + turn_ms,
        State.RELEASED: 100,
        State.SOURCE_REMOVED: 400,
    }
    data = {
        State.CHECKED: {"memory": way} if way else {},
        State.LEASED: {"token": 2},
        State.SEEDED: {"sent_bytes": 1000},
        State.FENCED: {"turn_ms": turn_ms} if turn_ms else {},
        State.DUMPED: {
            "image_bytes": memory_bytes,
            "dump_ms": 100 + by_images * sending_ms,
            "send_ms": connecting_ms + sending_ms,
        },
    }
    events, now_ms = list[Event](), 0
    for state in FORWARD[1:]:
        if state is State.FENCED:
            now_ms += waited_ms
        if state is not State.COMMITTED:
            events.append(Event(len(events), now_ms, state, Phase.BEGIN))
            now_ms += takes_ms.get(state, 0)
        events.append(Event(len(events), now_ms, state, Phase.END, data.get(state, {})))
    return Migration("r/web/1", "r", "web", source, target, 2, 1, State.COMMITTED, {}), events


def images(source: str, target: str) -> Way:
    return "images"


def stream(source: str, target: str) -> Way:
    return "stream"


def test_a_large_migration_tells_the_rates_and_the_constants_of_its_pair_alone() -> None:
    learnt = learn([ended(GB)], images)
    assert list(learnt) == ["n1"]
    assert list(learnt["n1"]) == ["n2"]
    rates = learnt["n1"]["n2"]
    assert (rates.dump_bytes_per_s, rates.send_bytes_per_s, rates.restore_bytes_per_s) == (100 * MB,) * 3
    assert (rates.pause_s, rates.setup_s, rates.runs) == (pytest.approx(0.55), pytest.approx(1.0), 1)


def test_a_small_one_tells_the_constants_and_no_rate() -> None:
    rates = learn([ended(MB)], images)["n1"]["n2"]
    assert replace(rates, pause_s=0, setup_s=0, runs=0) == replace(DEFAULT_RATES["images"], pause_s=0, setup_s=0)
    assert rates.pause_s == pytest.approx(0.58, abs=0.01)


def test_of_streamed_memory_the_sending_alone_is_a_rate() -> None:
    rates = learn([ended(GB, way="stream")], stream)["n1"]["n2"]
    assert (rates.way, rates.send_bytes_per_s, rates.dump_bytes_per_s, rates.restore_bytes_per_s) == (
        "stream",
        100 * MB,
        0,
        0,
    )
    container = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), anon_bytes=GB)
    assert estimate_move(container, Link(), Link(), rates).blackout_s == pytest.approx(0.55 + 10.0)


def test_memory_that_went_beside_ssh_says_nothing_of_what_goes_through_it_nor_the_other_way_round() -> None:
    migration, events = ended(GB, way="stream", mb_per_s=400)
    beside = [replace(e, data={**e.data, "channel": "plain"}) if "dump_ms" in e.data else e for e in events]
    both = [(migration, beside), ended(GB, way="stream")]
    assert learn(both, stream) == learn(both[1:], stream)
    fast = learn(both, stream, lambda source, target: True)["n1"]["n2"]
    assert (fast.send_bytes_per_s, fast.runs) == (400 * MB, 1)
    assert len(pauses_seen(both, "n1", "n2", fast, plain=True)) == 1


def test_what_went_the_other_way_says_nothing_of_the_next_migration() -> None:
    both = [ended(GB, way="stream", mb_per_s=400), ended(GB), ended(GB), ended(GB)]
    assert learn(both, stream) == learn(both[:1], stream)
    assert learn(both, images) == learn(both[1:], images)
    assert learn(both[1:], stream) == {}
    policy = PlanPolicy(learnt=learn(both[1:], images))
    assert policy.rates("n1", "n2", "stream") == DEFAULT_RATES["stream"]
    assert policy.rates("n1", "n2", "images").runs == 3
    assert len(pauses_seen(both, "n1", "n2", learn(both, stream)["n1"]["n2"])) == 1


def test_a_journal_that_does_not_tell_the_way_is_of_a_time_of_images() -> None:
    assert learn([ended(GB, way="")], images) == learn([ended(GB)], images)
    assert learn([ended(GB, way="")], stream) == {}


def test_an_estimate_by_what_was_learnt_is_what_happened() -> None:
    rates = learn([ended(GB)], images)["n1"]["n2"]
    container = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), anon_bytes=2 * GB)
    assert estimate_move(container, Link(), Link(), rates).blackout_s == pytest.approx(0.55 + 3 * 20.0)
    slow = Link(up_bytes_per_s=50 * MB)  # what is declared is not exceeded
    assert estimate_move(container, slow, Link(), rates).blackout_s == pytest.approx(0.55 + 2 * 20.0 + 40.0)


def test_one_on_a_busy_machine_changes_nothing_among_others() -> None:
    busy = ended(GB, mb_per_s=3)
    assert learn([ended(GB), busy, ended(GB)], images)["n1"]["n2"] == replace(
        learn([ended(GB)], images)["n1"]["n2"], runs=3
    )


def test_waiting_for_the_pauses_of_others_is_not_learnt() -> None:
    assert learn([ended(GB, waited_ms=60_000)], images) == learn([ended(GB)], images)
    assert learn([ended(GB, waited_ms=2000, turn_ms=60_000)], images) == learn([ended(GB)], images)


def test_only_the_latest_of_a_pair_count() -> None:
    many = [ended(GB, mb_per_s=200)] * LATEST + [ended(GB, mb_per_s=10)] * 100
    rates = learn(many, images)["n1"]["n2"]
    assert (rates.send_bytes_per_s, rates.runs) == (200 * MB, LATEST)


def test_each_direction_of_each_pair_is_learnt_for_itself_and_sorted() -> None:
    learnt = learn([ended(source="n2", target="n1"), ended(target="n3"), ended(target="n2")], images)
    assert {source: list(targets) for source, targets in learnt.items()} == {"n1": ["n2", "n3"], "n2": ["n1"]}
    assert list(learnt) == ["n1", "n2"]


def without(state: State, phase: Phase) -> Callable[[Migration, list[Event]], History]:
    return lambda m, events: (m, [e for e in events if (e.state, e.phase) != (state, phase)])


def more(state: State, phase: Phase, **data: Any) -> Callable[[Migration, list[Event]], History]:
    return lambda m, events: (m, [*events, Event(99, events[-1].at_ms, state, phase, data)])


@pytest.mark.parametrize(
    "otherwise",
    [
        without(State.DONE, Phase.END),  # not ended
        without(State.SEALED, Phase.BEGIN),  # found by recovery
        more(State.RELEASED, Phase.BEGIN),  # tried twice
        more(State.RESTORED, Phase.FAIL, error="no"),
        lambda m, events: (replace(m, token=3), events),  # taken over
        lambda m, events: (m, [replace(e, data={}) if e.state is State.DUMPED else e for e in events]),
        lambda m, events: (m, []),
    ],
)
def test_nothing_is_learnt_from_one_that_did_not_go_straight_to_its_end(
    otherwise: Callable[[Migration, list[Event]], History],
) -> None:
    migration, events = ended()
    assert sample(*otherwise(migration, list(events))) is None
    assert learn([otherwise(migration, list(events))], images) == {}


def test_pauses_are_told_beside_what_the_rates_say_of_each_and_of_this_pair_alone() -> None:
    histories = [ended(GB), ended(GB, mb_per_s=50), ended(GB, source="n2", target="n1", mb_per_s=1)]
    rates = learn(histories[:1], images)["n1"]["n2"]
    assert pauses_seen(histories, "n1", "n2", rates) == [pytest.approx(1.0), pytest.approx(2.0, abs=0.05)]
    assert len(pauses_seen([ended()] * (LATEST + 5), "n1", "n2", rates)) == LATEST
