"""What each mode is estimated at: its pause, what goes before and after it; and plans and checker count it alike."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from migrator.checker.check import check
from migrator.inventory.plan_file import load, save
from migrator.model.estimate import ROUNDS_READ_BYTES_PER_S, Estimate, Manner, estimate_move, expected_rounds
from migrator.model.facts import Cluster, ContainerFacts, Link, Resources
from migrator.model.modes import AT_HAND_S, READY_S, ROUNDS_REST_S, Allowed, Mode
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.model.rounds import ROUND_S, rounds_of
from migrator.planner.drain import drain
from migrator.planner.look import spans
from migrator.planner.schedule import makespan_s
from tests.properties.fleets import GIB, MIB, cluster, ct, node

RATES = DEFAULT_RATES["stream"]
GBIT = Link(125_000_000, 125_000_000)
MB = 1_000_000
ALL_MODES = pytest.mark.parametrize("mode", list(Mode))


def estimate(mode: Mode, memory_bytes: int, link: Link = GBIT, written: int | None = None) -> Estimate:
    container = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), anon_bytes=memory_bytes)
    return estimate_move(container, link, link, RATES, (), Manner(mode, written_bytes_per_s=written))


class TestEachMode:
    def test_stop_and_copy_is_paused_for_all_of_its_bytes(self) -> None:
        told = estimate(Mode.STOP_AND_COPY, GIB)
        assert told.blackout_s == pytest.approx(RATES.pause_s + GIB / (125 * MB), abs=0.001)
        assert told.duration_s == pytest.approx(RATES.setup_s + told.blackout_s, abs=0.001)

    def test_a_pause_is_predicted_over_what_is_learnt_or_declared_whichever_is_slower(self) -> None:
        assert estimate(Mode.STOP_AND_COPY, GIB, Link()).blackout_s == pytest.approx(0.2 + GIB / 900e6, abs=0.001)

    def test_pre_copy_leaves_to_the_pause_what_is_written_in_the_last_round(self) -> None:
        told = estimate(Mode.PRE_COPY, GIB, written=5 * MB)
        first_s = ROUND_S + GIB / (125 * MB)
        second_s = ROUND_S + 5 * MB * first_s / (125 * MB)
        late = 5 * MB * (second_s + READY_S)
        assert told.rounds == 4
        assert told.ahead_bytes == pytest.approx(GIB + 5 * MB * first_s + late, rel=0.001)
        assert told.paused_bytes == pytest.approx(5 * MB * (late / (125 * MB) + AT_HAND_S), rel=0.01)
        assert told.blackout_s == pytest.approx(RATES.pause_s + told.paused_bytes / (125 * MB), abs=0.002)
        assert told.following_s == pytest.approx(told.ahead_bytes / ROUNDS_READ_BYTES_PER_S, abs=0.002)
        assert told.following_bytes == 0
        late_s = ROUND_S + late / (125 * MB)
        assert told.ready_s == pytest.approx(RATES.setup_s + first_s + second_s + late_s, abs=0.01)

    def test_pre_copy_that_writes_faster_than_is_sent_has_the_whole_pause_left(self) -> None:
        told, plain = estimate(Mode.PRE_COPY, GIB, written=500 * MB), estimate(Mode.STOP_AND_COPY, GIB)
        assert told.paused_bytes == GIB
        assert told.blackout_s == plain.blackout_s


class TestRounds:
    def test_they_shrink_as_the_rate_of_writing_is_to_that_of_sending(self) -> None:
        found = rounds_of(16 * GIB, 125e6, 60 * MB, None, 0.2, 8)
        sizes = found.sizes_bytes
        assert len(sizes) > 3
        for before, after in pairwise(sizes[:-1]):
            assert after == pytest.approx(60 * MB * (ROUND_S + before / 125e6), rel=0.001)
        ready = 60 * MB * (ROUND_S + sizes[-2] / 125e6 + READY_S)
        assert sizes[-1] == pytest.approx(ready, rel=0.001), "what is written until all stands ready"
        assert found.rest_bytes == pytest.approx(60 * MB * (sizes[-1] / 125e6 + AT_HAND_S), rel=0.001)

    def test_what_goes_in_no_time_is_left_to_the_pause(self) -> None:
        found = rounds_of(GIB, 125e6, MB // 10, None, 0.2, 8)
        assert len(found.sizes_bytes) == 2
        assert found.rest_bytes == pytest.approx(
            MB // 10 * (ROUND_S + found.sizes_bytes[-1] / 125e6 + READY_S), rel=0.001
        )

    def test_they_end_when_little_is_left(self) -> None:
        found = rounds_of(GIB, 125e6, MB, None, 0.2, 8)
        assert (len(found.sizes_bytes), found.why_not) == (2, "")
        assert found.rest_bytes / 125e6 <= ROUNDS_REST_S

    @pytest.mark.parametrize(
        ("written", "most", "why"), [(500 * MB, 8, "rounds do not shrink"), (90 * MB, 3, "3 rounds")]
    )
    def test_they_say_why_they_end_before_that(self, written: int, most: int, why: str) -> None:
        assert rounds_of(16 * GIB, 125e6, written, None, 0.2, most).why_not.startswith(why)

    def test_how_much_memory_there_is_does_not_keep_a_pause_from_its_target(self) -> None:
        def why_not(memory: int) -> str:
            of = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), anon_bytes=memory)
            manner = Manner(Mode.PRE_COPY, target_blackout_s=1.0, written_bytes_per_s=MB)
            return expected_rounds(of, GBIT, GBIT, RATES, (), manner).why_not

        assert (why_not(GIB // 2), why_not(64 * GIB)) == ("", "")

    @pytest.mark.parametrize(("memory", "guess"), [(100 * MB, 2 * MB), (64 * GIB, 20 * MB)])
    def test_of_one_that_nobody_has_watched_a_share_of_its_memory_is_taken(self, memory: int, guess: int) -> None:
        assert rounds_of(memory, 125e6, None, None, 0.2, 8) == rounds_of(memory, 125e6, guess, None, 0.2, 8)


def fleet(*, target_mib: int = 16 * 1024, streams: str = "yes", memory: int = 4 * GIB) -> Cluster:
    leaving = [
        ct(f"a{n}", 100 + n, memory=memory, anon_bytes=(3 - n) * GIB // 2, files_bytes=200 * MB) for n in range(3)
    ]
    told = {"stream_in": streams, "stream_out": streams, "link": GBIT}
    return cluster(
        node("n0", *leaving, memory=64 * GIB, **told),
        node("n1", memory=target_mib * MIB, **told),
        node("n2", memory=target_mib * MIB, **told),
    )


class TestPlans:
    @ALL_MODES
    @pytest.mark.parametrize("overlapping", [False, True])
    def test_what_is_planned_by_a_mode_passes_the_checker(self, mode: Mode, overlapping: bool) -> None:
        policy = PlanPolicy(
            mode=mode, blackout_s_max=60, overlapping_pauses=overlapping, written_bytes_per_s={"a0": 20 * MB}
        )
        made = drain(fleet(), ["n0"], "-", policy)
        assert isinstance(made, Plan)
        assert {move.mode for move in made.moves} == {mode}
        assert check(fleet(), made, made.policy) == ()

    def test_memory_that_follows_makes_the_plan_longer_and_no_pause(self) -> None:
        by = {
            mode: drain(fleet(), ["n0"], "-", PlanPolicy(mode=mode, blackout_s_max=60))
            for mode in (Mode.POST_COPY, Mode.STOP_AND_COPY)
        }
        follows, plain = by[Mode.POST_COPY], by[Mode.STOP_AND_COPY]
        assert isinstance(follows, Plan)
        assert isinstance(plain, Plan)
        for move in follows.moves:
            assert move.pause is not None
            assert move.pause.end_s - move.pause.start_s < 0.5
            assert move.follows_s >= move.estimate.following_s - 0.002
        assert follows.makespan_s >= follows.makespan_bound_s
        assert makespan_s(spans(fleet(), follows)) == pytest.approx(follows.makespan_s, abs=0.01)
        assert follows.makespan_s < plain.makespan_s + 1
        moves = (replace(move, estimate=replace(move.estimate, gather_s=2.0)) for move in follows.moves)
        gathered = spans(fleet(), replace(follows, moves=tuple(moves)))
        assert makespan_s(gathered) >= follows.makespan_s + 1.9

    def test_only_those_that_the_policy_lets_follow_do(self) -> None:
        policy = PlanPolicy(allow=(Allowed("a1", ("post-copy",)),), blackout_s_max=60)
        made = drain(fleet(), ["n0"], "-", policy)
        assert isinstance(made, Plan)
        assert {m.container: m.mode for m in made.moves} == {
            "a0": Mode.STOP_AND_COPY,
            "a1": Mode.POST_COPY,
            "a2": Mode.STOP_AND_COPY,
        }
        assert check(fleet(), made, made.policy) == ()

    def test_a_pause_that_is_too_long_otherwise_is_no_reason_where_memory_may_follow(self) -> None:
        assert isinstance(drain(fleet(), ["n0"], "-", PlanPolicy(blackout_s_max=5)), Refusal)
        policy = PlanPolicy(blackout_s_max=5, mode=Mode.POST_COPY)
        assert isinstance(drain(fleet(), ["n0"], "-", policy), Plan)

    def test_what_rounds_keep_on_targets_is_counted(self) -> None:
        tight = fleet(target_mib=5 * 1024, memory=2 * GIB)
        assert isinstance(drain(tight, ["n0"], "-", PlanPolicy(blackout_s_max=60)), Plan)
        assert isinstance(drain(tight, ["n0"], "-", PlanPolicy(mode=Mode.PRE_COPY, blackout_s_max=60)), Refusal)

    @ALL_MODES
    def test_a_plan_file_tells_all_of_it(self, mode: Mode, tmp_path: Path) -> None:
        path = tmp_path / "plan.json"
        policy = PlanPolicy(mode=mode, blackout_s_max=60, written_bytes_per_s={"a0": 20 * MB, "other": MB})
        made = drain(fleet(), ["n0"], "-", policy)
        assert isinstance(made, Plan)
        save(made, path)
        assert load(path) == made
        assert made.policy.written_bytes_per_s == ({"a0": 20 * MB} if mode is Mode.PRE_COPY else {})
        assert ('"mode": "stop-and-copy"' in path.read_text()) == (mode is Mode.STOP_AND_COPY)  # the policy's alone


def test_a_plan_that_counts_another_mode_than_the_policy_is_found() -> None:
    made = drain(fleet(), ["n0"], "-", PlanPolicy(blackout_s_max=60))
    assert isinstance(made, Plan)
    other = replace(made, policy=replace(made.policy, mode=Mode.POST_COPY))
    assert any("would go by post-copy" in finding.text for finding in check(fleet(), other, other.policy))
    assert {str(finding.code) for finding in check(fleet(), other, other.policy)} >= {"estimate-unlikely"}
