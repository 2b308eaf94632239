"""When pre-copy has copied enough, and when it is offered at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.model.estimate import Estimate
from migrator.model.facts import NodeFacts
from migrator.model.memory_way import MemoryWay
from migrator.model.modes import AT_HAND_S, TRACKS_MEMORY, WAYS_OUT, Mode, Rounds, choose, rounds_between
from migrator.model.rates import DEFAULT_RATES
from migrator.protocol.precopy import (
    THROTTLE_PERCENT,
    Bounds,
    GiveUp,
    NextRound,
    Pause,
    Round,
    Slower,
    Verdict,
    decide,
    dirty_rate_bytes_per_s,
    predicted_pause_s,
    wants_one_more,
)

MIB = 1 << 20
BOUNDS = Bounds(pause_s=0.5, ready_s=0.3, room_bytes=10_000 * MIB)


class Program:
    """A program that writes `written` bytes a second, over a link of `sent` bytes a second."""

    def __init__(self, memory: int, written: int, sent: int) -> None:
        self.memory, self.written, self.sent = memory, written, sent
        self.rounds: list[Round] = []
        self.throttled = 0

    def copy(self) -> None:
        """One more round, of what was written since the last one began."""
        if not self.rounds:
            size, began_ms = self.memory, 0
        else:
            last = self.rounds[-1]
            speed = self.written * (THROTTLE_PERCENT[self.throttled - 1] if self.throttled else 100) // 100
            size = min(self.memory, speed * last.send_ms // 1000)
            began_ms = last.began_ms + last.send_ms
        self.rounds.append(Round(size, began_ms, 10, max(1, size * 1000 // self.sent)))

    def run(self, bounds: Bounds) -> Verdict:
        """Rounds until something else is decided."""
        while True:
            self.copy()
            verdict = decide(self.rounds, bounds, self.throttled)
            if isinstance(verdict, Slower):
                self.throttled += 1
            elif not isinstance(verdict, NextRound):
                return verdict


class TestRounds:
    def test_one_round_tells_nothing_of_what_is_written(self) -> None:
        assert predicted_pause_s([Round(256 * MIB, 0, 10, 300)], BOUNDS) is None
        assert decide([Round(256 * MIB, 0, 10, 300)], BOUNDS) == NextRound()

    def test_the_dirty_rate_is_what_a_round_found_over_the_time_in_which_it_was_written(self) -> None:
        rounds = [Round(256 * MIB, 1000, 10, 300), Round(20 * MIB, 3000, 10, 30)]
        assert dirty_rate_bytes_per_s(rounds) == 10 * MIB

    def test_the_pause_is_predicted_from_what_is_written_until_the_freeze(self) -> None:
        rounds = [Round(1000 * MIB, 0, 30, 1000), Round(100 * MIB, 1000, 30, 100)]
        assert predicted_pause_s(rounds, BOUNDS) == pytest.approx(0.5 + 0.4 * 100 / 1000)

    def test_the_pause_is_predicted_with_one_more_round_where_that_holds_up_for_less_than_it_saves(self) -> None:
        rounds = [Round(1000 * MIB, 0, 10, 1000), Round(100 * MIB, 1000, 10, 100)]
        written_s = 0.4 * 100 / 1000
        assert predicted_pause_s(rounds, BOUNDS) == pytest.approx(0.5 + (written_s + AT_HAND_S) * 100 / 1000)
        full = replace(BOUNDS, room_bytes=1101 * MIB)
        assert predicted_pause_s(rounds, full) == pytest.approx(0.5 + written_s), "no room"

    def test_a_quiet_program_is_paused_after_two_rounds(self) -> None:
        program = Program(1024 * MIB, written=0, sent=900 * MIB)
        verdict = program.run(BOUNDS)
        assert isinstance(verdict, Pause)
        assert len(program.rounds) == 2
        assert verdict.predicted_s == 0.5

    def test_a_target_that_is_asked_for_is_the_one_that_counts(self) -> None:
        strict, loose = (Program(1024 * MIB, 600 * MIB, 1000 * MIB) for _ in range(2))
        first, second = strict.run(replace(BOUNDS, target_s=0.75)), loose.run(replace(BOUNDS, target_s=1.5))
        assert isinstance(first, Pause)
        assert isinstance(second, Pause)
        assert first.predicted_s <= 0.75 < second.predicted_s <= 1.5
        assert len(strict.rounds) > len(loose.rounds)


class TestWhenAllStandsReady:
    ROUNDS = (Round(300 * MIB, 0, 20, 3000), Round(30 * MIB, 3000, 20, 30))

    @pytest.mark.parametrize(("since_s", "wanted"), [(0.3, False), (0.6, True), (30.0, True)])
    def test_one_more_round_goes_where_much_was_written_since_the_last(self, since_s: float, wanted: bool) -> None:
        assert wants_one_more(self.ROUNDS, BOUNDS, since_s, 0) is wanted

    def test_none_goes_that_holds_the_container_up_for_longer_than_it_saves(self) -> None:
        rounds = [self.ROUNDS[0], Round(30 * MIB, 3000, 900, 30)]
        assert not wants_one_more(rounds, BOUNDS, 3.0, 0)
        assert wants_one_more(rounds, BOUNDS, 30.0, 0)

    def test_none_goes_that_the_target_has_no_room_for(self) -> None:
        assert not wants_one_more(self.ROUNDS, replace(BOUNDS, room_bytes=340 * MIB), 30.0, 0)

    def test_they_end_when_they_shrink_no_more_and_after_three(self) -> None:
        first, before = Round(300 * MIB, 0, 1, 3000), Round(30 * MIB, 3000, 1, 300)
        shrinks, grows = Round(20 * MIB, 4000, 1, 200), Round(29 * MIB, 4000, 1, 290)
        last = Round(19 * MIB, 5000, 1, 190)
        assert wants_one_more([first, before, shrinks], BOUNDS, 1.0, 1)
        assert wants_one_more([first, before, grows, last], BOUNDS, 1.0, 2)
        assert not wants_one_more([first, before, shrinks, last], BOUNDS, 1.0, 2), "19 of 20"
        assert not wants_one_more([first, before, grows, last], BOUNDS, 1.0, 3)

    def test_nothing_is_known_after_one_round_or_none(self) -> None:
        assert not wants_one_more([], BOUNDS, 60.0, 0)
        assert not wants_one_more(self.ROUNDS[:1], BOUNDS, 60.0, 0)


class TestWhatDoesNotConverge:
    def test_is_given_up_with_the_numbers(self) -> None:
        verdict = Program(100 * MIB, written=500 * MIB, sent=100 * MIB).run(BOUNDS)
        assert verdict == GiveUp(
            "rounds no longer shrink: rounds of 100.0 MiB, 100.0 MiB, 100.0 MiB, memory is written at 100.0 MiB/s and "
            "sent at 100.0 MiB/s, the pause would be 1.80 s, 0.70 s wanted"
        )

    def test_goes_on_with_a_longer_pause_where_that_is_allowed(self) -> None:
        verdict = Program(100 * MIB, 500 * MIB, 100 * MIB).run(replace(BOUNDS, way_out="go-on"))
        assert isinstance(verdict, Pause)
        assert verdict.predicted_s == pytest.approx(1.8)
        assert verdict.why.startswith("it goes on with a longer pause, for rounds no longer shrink: ")

    def test_is_held_back_step_by_step_where_that_is_allowed(self) -> None:
        program = Program(100 * MIB, 200 * MIB, 100 * MIB)
        verdict = program.run(replace(BOUNDS, way_out="throttle", rounds_max=20))
        assert isinstance(verdict, Pause)
        assert program.throttled >= 1
        assert verdict.predicted_s <= BOUNDS.wanted_s

    @pytest.mark.parametrize("way_out", ["give-up", "throttle"])
    def test_never_fills_the_target_with_rounds(self, way_out: str) -> None:
        program = Program(100 * MIB, 90 * MIB, 100 * MIB)
        verdict = program.run(replace(BOUNDS, room_bytes=250 * MIB, way_out=way_out))
        assert isinstance(verdict, GiveUp)
        assert verdict.why.startswith("the target has no room for another round: ")
        assert sum(each.sent_bytes for each in program.rounds) <= 250 * MIB

    def test_counts_what_is_written_until_the_next_round_takes_hold_where_that_takes_long(self) -> None:
        rounds = [Round(24 * MIB, 0, 10, 500), Round(24 * MIB, 4000, 10, 500)]
        verdict = decide(rounds, replace(BOUNDS, room_bytes=70 * MIB, target_s=0.52))
        assert isinstance(verdict, GiveUp)
        assert verdict.why.startswith("the target has no room for another round: ")
        assert decide(rounds, replace(BOUNDS, room_bytes=72 * MIB, target_s=0.52)) == NextRound()

    @given(
        memory=st.integers(1, 4096).map(lambda mib: mib * MIB),
        written=st.integers(0, 4096).map(lambda mib: mib * MIB),
        sent=st.integers(1, 2048).map(lambda mib: mib * MIB),
        way_out=st.sampled_from(WAYS_OUT),
        rounds_max=st.integers(1, 12),
    )
    def test_every_program_comes_to_a_decision_in_its_rounds(
        self, memory: int, written: int, sent: int, way_out: str, rounds_max: int
    ) -> None:
        program = Program(memory, written, sent)
        bounds = replace(BOUNDS, way_out=way_out, rounds_max=rounds_max)
        verdict = program.run(bounds)
        assert len(program.rounds) <= rounds_max
        if way_out == "go-on":
            assert isinstance(verdict, Pause)
        elif isinstance(verdict, Pause):
            assert verdict.predicted_s <= bounds.wanted_s
        if rounds_max == 12 and 4 * written <= sent:
            assert isinstance(verdict, Pause)


PAUSES_S = {Mode.STOP_AND_COPY: 1.6, Mode.PRE_COPY: 0.4, Mode.POST_COPY: 0.3}


class TestWhereItIsOffered:
    SOURCE = NodeFacts("n1", kernel="6.12", features=(TRACKS_MEMORY,), stream_out="yes")
    TARGET = NodeFacts("n2", stream_in="yes", memory_available_bytes=8192 * MIB)
    STREAM, IMAGES = MemoryWay("stream"), MemoryWay("images", "n2: no Python")
    BIG = Estimate(1024 * MIB, 0, 1.6, 4.0)

    def rounds(self, **changes: object) -> Rounds:
        given = {"source": self.SOURCE, "target": self.TARGET, "way": self.STREAM, "estimate": self.BIG} | changes
        return rounds_between(**given, rates=DEFAULT_RATES["stream"])  # type: ignore[arg-type]

    def test_auto_takes_it_where_the_kernel_tracks_what_is_written(self) -> None:
        choice = choose("auto", (), self.STREAM, self.rounds(), PAUSES_S)
        why = "auto: the shortest predicted pause, 0.40 s (stop-and-copy 1.60 s)"
        assert (choice.mode, choice.why) == (Mode.PRE_COPY, why)

    def test_files_that_are_written_make_no_round_of_memory_worth_more(self) -> None:
        little = replace(self.BIG, blackout_s=8.3, files_pause_s=8.0)
        assert self.rounds(estimate=little) == Rounds(not_worth="its memory is sent in no time")

    def test_files_in_memory_make_no_round_worth_more(self) -> None:
        nearly_all = self.BIG.memory_bytes - 10 * MIB
        assert self.rounds(tmpfs_bytes=nearly_all) == Rounds(not_worth="its memory is sent in no time")
        assert self.rounds(tmpfs_bytes=10 * MIB) == Rounds()

    def test_auto_says_why_it_does_not_offer_it(self) -> None:
        choice = choose(
            "auto", (), self.STREAM, self.rounds(source=replace(self.SOURCE, kernel="6.18", features=())), PAUSES_S
        )
        assert choice.mode is Mode.STOP_AND_COPY
        assert choice.why.endswith(
            "pre-copy is not offered: the kernel of n1 (6.18) does not track which memory is written"
        )

    @pytest.mark.parametrize(
        "changes",
        [
            {"estimate": Estimate(MIB, 0, 0.201, 2.0)},
            {"target": replace(TARGET, memory_available_bytes=3000 * MIB)},
        ],
    )
    def test_auto_does_not_take_it_for_little_memory_nor_where_memory_is_short(
        self, changes: dict[str, object]
    ) -> None:
        choice = choose("auto", (), self.STREAM, self.rounds(**changes), PAUSES_S)
        assert (choice.mode, choice.refused) == (Mode.STOP_AND_COPY, "")
        assert choose("pre-copy", (), self.STREAM, self.rounds(**changes), PAUSES_S).refused == ""

    def test_what_was_named_and_is_not_possible_is_refused(self) -> None:
        choice = choose("pre-copy", (), self.IMAGES, self.rounds(way=self.IMAGES), PAUSES_S)
        assert choice.mode is Mode.PRE_COPY
        assert choice.refused == (
            "pre-copy is not possible: memory cannot be streamed: n2: no Python; name another --mode"
        )

    def test_what_the_policy_allows_beyond_it_has_the_shorter_pause(self) -> None:
        assert choose("auto", ("post-copy",), self.STREAM, self.rounds(), PAUSES_S).mode is Mode.POST_COPY
