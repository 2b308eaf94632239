"""What is learnt from ended migrations: medians of each pair, rates from large ones, and nothing from broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from migrator.journal.base import Migration
from migrator.journal.events import Event, Phase
from migrator.journal.learnt import LATEST, History, learn, pauses_seen, spread, writing
from migrator.journal.samples import sample
from migrator.model.estimate import estimate_move
from migrator.model.facts import ContainerFacts, Link, Resources
from migrator.model.modes import Mode
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
    connecting_ms = 100 if by_images else 50
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
    nothing = {"pause_s": 0.0, "setup_s": 0.0, "runs": 0, "follow_pause_s": 0.0, "begin_pause_s": 0.0}
    assert replace(rates, **nothing) == replace(DEFAULT_RATES["images"], **nothing)  # type: ignore[arg-type]
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
    assert len(pauses_seen(both, "n1", "n2", fast, Mode.STOP_AND_COPY, plain=True)) == 1


def test_what_went_the_other_way_says_nothing_of_the_next_migration() -> None:
    both = [ended(GB, way="stream", mb_per_s=400), ended(GB), ended(GB), ended(GB)]
    assert learn(both, stream) == learn(both[:1], stream)
    assert learn(both, images) == learn(both[1:], images)
    assert learn(both[1:], stream) == {}
    policy = PlanPolicy(learnt=learn(both[1:], images))
    assert policy.rates("n1", "n2", "stream") == DEFAULT_RATES["stream"]
    assert policy.rates("n1", "n2", "images").runs == 3
    assert len(pauses_seen(both, "n1", "n2", learn(both, stream)["n1"]["n2"], Mode.STOP_AND_COPY)) == 1


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
    words = ("n1", "n2", rates, Mode.STOP_AND_COPY)
    assert pauses_seen(histories, *words) == [pytest.approx(1.0), pytest.approx(2.0, abs=0.05)]
    assert len(pauses_seen([ended()] * (LATEST + 5), *words)) == LATEST


def streamed(mode: Mode, memory_bytes: int = 4 * MB, slower: int = 1, **checked: int) -> History:
    """A migration by this mode, of which everything took so many times longer than by default."""
    migration, events = ended(memory_bytes, mb_per_s=900, way="stream")
    events = [replace(event, at_ms=event.at_ms * slower) for event in events]
    data = {event.state: dict(event.data) for event in events if event.phase is Phase.END}
    data[State.CHECKED] |= checked
    data[State.DUMPED]["send_ms"] *= slower
    if mode is Mode.POST_COPY:
        data[State.FILLED] = {"image_bytes": memory_bytes, "send_ms": memory_bytes // (900 * 1000) * slower}
        events = [event for event in events if event.state is not State.FILLED]
        at_ms = next(e.at_ms for e in events if e.state is State.SOURCE_REMOVED)
        at = next(i for i, e in enumerate(events) if e.state is State.SOURCE_REMOVED)
        filled = [Event(98, at_ms, State.FILLED, Phase.BEGIN), Event(99, at_ms, State.FILLED, Phase.END)]
        events = [*events[:at], *filled, *events[at:]]
        data[State.DUMPED].pop("send_ms")
    if mode is Mode.RESTART:
        data[State.CHECKED].pop("memory")
        data[State.DUMPED].clear()
        data[State.FENCED] = {"stop_ms": 25}
    if mode is Mode.PRE_COPY:
        data[State.SEEDED] |= {"rounds": [{"sent": memory_bytes, "ms": 100}], "dirty_bytes_per_s": 7 * MB}
    events = [replace(e, data=data.get(e.state, {})) if e.phase is Phase.END else e for e in events]
    return replace(migration, document={"mode": mode}), events


class TestModes:
    def test_each_has_a_constant_of_its_own(self) -> None:
        rates = learn([streamed(Mode.POST_COPY), streamed(Mode.STOP_AND_COPY, slower=3)], stream)["n1"]["n2"]
        assert rates.constant_s(Mode.POST_COPY) == pytest.approx(0.55, abs=0.01)
        assert rates.constant_s(Mode.STOP_AND_COPY) == pytest.approx(3 * 0.55, abs=0.03)
        assert rates.runs == 2

    @pytest.mark.parametrize("seen", list(Mode))
    def test_of_one_that_was_not_seen_it_is_as_much_longer_as_that_of_those_that_were(self, seen: Mode) -> None:
        usual = DEFAULT_RATES["stream"]
        rates = learn([streamed(seen)], stream)["n1"]["n2"]
        slower = rates.constant_s(seen) / usual.constant_s(seen)
        assert slower > 1.4
        for mode in Mode:
            assert rates.constant_s(mode) == pytest.approx(slower * usual.constant_s(mode), abs=0.01)

    def test_a_restart_tells_of_both_ways_and_its_stop_is_not_learnt(self) -> None:
        assert learn([streamed(Mode.RESTART)], images)["n1"]["n2"].begin_pause_s == pytest.approx(
            0.55 - 0.025, abs=0.01
        )
        assert learn([streamed(Mode.RESTART)], stream)["n1"]["n2"].begin_pause_s == pytest.approx(
            0.55 - 0.025, abs=0.01
        )

    def test_memory_that_follows_and_rounds_are_no_part_of_what_is_around_a_pause(self) -> None:
        plain, follows, rounds = (
            sample(*streamed(mode)) for mode in (Mode.STOP_AND_COPY, Mode.POST_COPY, Mode.PRE_COPY)
        )
        assert plain is not None
        assert follows is not None
        assert rounds is not None
        assert follows.around_s == pytest.approx(plain.around_s)
        assert rounds.around_s == pytest.approx(plain.around_s - 0.4)

    def test_nor_is_what_was_waited_for_while_memory_was_gathered(self) -> None:
        migration, events = streamed(Mode.POST_COPY)
        at_once, waited = (
            sample(
                migration,
                [
                    replace(e, data=dict(e.data) | {"gather_ms": gather_ms})
                    if (e.state, e.phase) == (State.SEEDED, Phase.END)
                    else e
                    for e in events
                ],
            )
            for gather_ms in (0, 20)
        )
        assert at_once is not None
        assert waited is not None
        assert waited.around_s == pytest.approx(at_once.around_s - 0.02)
        assert waited.files_s == pytest.approx(at_once.files_s - 0.02)

    def test_how_fast_a_container_writes_is_what_its_latest_rounds_found(self) -> None:
        assert writing([streamed(Mode.STOP_AND_COPY), streamed(Mode.PRE_COPY)]) == {"web": 7 * MB}
        assert writing([streamed(Mode.STOP_AND_COPY)]) == {}

    def test_an_older_plan_that_tells_one_constant_has_the_others_by_it(self) -> None:
        usual = DEFAULT_RATES["stream"]
        older = replace(usual, pause_s=2 * usual.pause_s, follow_pause_s=0.0, begin_pause_s=0.0, runs=3)
        assert older.constant_s(Mode.POST_COPY) == pytest.approx(2 * usual.follow_pause_s)


def test_a_link_that_was_full_says_nothing_of_a_faster_one() -> None:
    full = streamed(Mode.STOP_AND_COPY, GB, link_bytes_per_s=910 * MB)
    half = streamed(Mode.STOP_AND_COPY, GB, link_bytes_per_s=2000 * MB)
    seen = learn([half], stream)["n1"]["n2"].send_bytes_per_s
    assert seen == pytest.approx(900 * MB, rel=0.02)
    slow = streamed(Mode.STOP_AND_COPY, GB, slower=9, link_bytes_per_s=101 * MB)
    assert learn([slow, half, slow], stream)["n1"]["n2"].send_bytes_per_s == seen
    assert learn([slow, slow], stream)["n1"]["n2"].send_bytes_per_s < 101 * MB
    assert learn([slow, full, slow], stream)["n1"]["n2"].send_bytes_per_s == pytest.approx(900 * MB, rel=0.02)


class TestRange:
    def test_nothing_seen_is_the_widest_and_each_makes_it_narrower(self) -> None:
        widths = [high / low for low, high in (spread([1.0] * count) for count in (0, 1, 5, 12))]
        assert widths == sorted(widths, reverse=True)
        assert widths[0] > 5
        assert widths[-1] < 1.6

    def test_pauses_that_were_far_off_make_it_wider_on_their_side(self) -> None:
        low, high = spread([1.0] * 10)
        below, above = spread([1.0] * 7 + [1.8, 1.9, 2.0])
        assert above > 1.2 * high
        assert below < 1 < above
        assert below / low == pytest.approx(1, abs=0.05)

    def test_one_that_was_held_up_by_something_of_its_own_does_not_spoil_it(self) -> None:
        assert spread([1.0] * 19 + [1e6]) == spread([1.0] * 19 + [5.0])
        assert spread([1.0] * 19 + [1e6])[1] < 2


def test_a_pause_that_was_made_by_files_teaches_nothing_of_others() -> None:
    migration, events = ended()
    looked = {"sent_bytes": MB, "sync_ms": 26_000}
    for looked_bytes, counts in ((MB, True), (GB, False)):
        synced = [
            replace(event, data=looked | {"looked_bytes": looked_bytes})
            if (event.state, event.phase) == (State.SYNCED, Phase.END)
            else event
            for event in events
        ]
        assert (sample(migration, synced) is not None) is counts
        packed = [
            replace(event, data=event.data | {"tmpfs_bytes": looked_bytes})
            if (event.state, event.phase) == (State.CHECKED, Phase.END)
            else event
            for event in events
        ]
        assert (sample(migration, packed) is not None) is counts
