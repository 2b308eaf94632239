"""What a move by restart decides without a node: when it is taken, what it asks, and who is whole in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.inventory.plan_file import policy_document
from migrator.inventory.policy_file import PolicySection
from migrator.model.container import Descriptor
from migrator.model.estimate import Manner, estimate_move, manner_of
from migrator.model.facts import ContainerFacts, Link, NodeFacts, Resources
from migrator.model.memory_way import MemoryWay
from migrator.model.modes import Mode, Rounds, choose, instead
from migrator.model.observation import Observation
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.way_notes import way_notes
from migrator.protocol.checks import Answered, Neighbour, findings
from migrator.protocol.recovery import Action, decide, of_a_silent_source
from migrator.protocol.settlement import word_needed
from migrator.protocol.states import State

STREAM = MemoryWay("stream")
PAUSES_S = {Mode.STOP_AND_COPY: 0.5, Mode.PRE_COPY: 0.3, Mode.POST_COPY: 0.3}
NO_ROUNDS = Rounds(not_worth="its memory is sent in no time")
STOPPED = Observation("fenced", 3, 1, "r", cold=True)
ENDING = replace(STOPPED, processes="running")
SEALED = replace(STOPPED, state="sealed")
REBOOTED = replace(SEALED, same_boot=False)
HELD = Observation("held", 3, 0, "r", processes="running", held=True, cold=True)
LOST = replace(HELD, processes="none", held=False, same_boot=False)


class TestModes:
    def test_auto_restarts_only_what_it_is_allowed_to_and_what_cannot_be_dumped(self) -> None:
        taken = choose("auto", ("restart",), STREAM, NO_ROUNDS, PAUSES_S)
        assert taken.mode is Mode.STOP_AND_COPY
        assert instead(taken, "auto", ("restart",), []) is taken
        assert instead(taken, "auto", ("post-copy",), ["process 1 (x) uses io_uring"]) is taken
        assert instead(taken, "stop-and-copy", ("restart",), ["process 1 (x) uses io_uring"]) is taken
        choice = instead(taken, "auto", ("restart",), ["process 1 (x) uses io_uring"])
        assert choice.mode is Mode.RESTART
        assert "cannot be dumped: process 1 (x) uses io_uring; its processes begin anew" in choice.why

    def test_one_that_was_named_is_taken_whatever_the_nodes_can_do_with_memory(self) -> None:
        assert choose("restart", (), MemoryWay("images", "n2: no Python"), NO_ROUNDS, PAUSES_S).mode is Mode.RESTART

    def test_its_pause_is_bounded_by_how_long_it_may_take_to_end(self) -> None:
        rates = DEFAULT_RATES["stream"]
        large = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), anon_bytes=1 << 40)
        told = estimate_move(large, Link(), Link(), rates, (), Manner(Mode.RESTART, stop_timeout_s=30.0))
        assert told.blackout_s == 30 + rates.begin_pause_s
        assert (told.memory_bytes, told.following_s) == (0, 0)

    def test_a_plan_says_that_processes_begin_anew_and_how_long_a_pause_may_be(self) -> None:
        (note,) = way_notes([], PlanPolicy(mode="restart", stop_timeout_s=20.0))
        assert "processes begin anew" in note
        assert "20.4 s" in note  # and 0.35 s to begin
        allow = PolicySection.model_validate({"allow": [{"containers": "web", "modes": ["restart"]}]}).value().allow
        (note,) = way_notes([], PlanPolicy(allow=allow or ()))
        assert note.startswith("mode: restart for those that the policy allows it and that cannot be dumped")

    def test_a_plan_file_says_how_long_only_where_it_is_not_the_usual(self) -> None:
        assert "stop_timeout_s" not in policy_document(PlanPolicy())
        assert policy_document(PlanPolicy(stop_timeout_s=3.0))["stop_timeout_s"] == 3.0


class TestRecovery:
    @pytest.mark.parametrize("source", [STOPPED, ENDING, replace(STOPPED, same_boot=False)])
    @pytest.mark.parametrize("target", [Observation(), HELD, LOST, None])
    def test_what_was_stopped_and_not_sealed_is_given_back_whatever_the_target_has(
        self, source: Observation, target: Observation | None
    ) -> None:
        assert decide(None, True, source, target).action is Action.ABORT

    @pytest.mark.parametrize("source", [SEALED, REBOOTED])
    def test_sealed_it_goes_to_a_verified_copy_that_is_held_and_else_back(self, source: Observation) -> None:
        assert decide(None, True, source, HELD).action is Action.COMMIT
        assert decide(None, False, source, HELD).action is Action.ABORT
        assert decide(None, True, source, LOST).action is Action.ABORT
        assert decide(None, True, source, None).action is Action.STUCK

    @pytest.mark.parametrize("source", [STOPPED, SEALED, REBOOTED])
    def test_a_reboot_of_a_stopped_source_loses_nothing_and_is_no_cold_start(self, source: Observation) -> None:
        assert decide(State.ABORTED, True, source, LOST).action is Action.ROLL_BACK

    @pytest.mark.parametrize("source", [SEALED, REBOOTED])
    def test_committed_and_the_target_rebooted_unreleased_brings_the_source_back(self, source: Observation) -> None:
        assert decide(State.COMMITTED, True, source, LOST).action is Action.REVOKE
        assert decide(State.COMMITTED, True, source, HELD).action is Action.FINISH
        assert decide(State.COMMITTED, True, source, replace(LOST, state="released")).action is Action.FINISH

    def test_a_source_without_processes_that_was_not_stopped_has_lost_its_memory(self) -> None:
        assert decide(None, False, replace(STOPPED, cold=False), Observation()).action is Action.COLD_START

    def test_what_is_said_of_a_silent_one_is_that_it_stops_and_starts(self) -> None:
        begun = frozenset({State.FENCED})
        assert "its own watchdog starts it again there, at most 15 s" in of_a_silent_source(begun, 15, Mode.RESTART)
        sealed = of_a_silent_source(begun | {State.SEALED}, 15, Mode.RESTART)
        assert "stays stopped there, whole in its files" in sealed

    def test_an_operator_who_keeps_the_stopped_source_gives_nothing_up(self) -> None:
        assert word_needed("web", "n2", SEALED, HELD, True) == ""
        assert word_needed("web", "n2", replace(SEALED, cold=False), HELD, True) == "web on n2 is given up"


class TestCheck:
    CT = Descriptor("web", "debian", "digest", ("sleep",), "10.0.0.9/8", 16, 1 << 30, 1000, 1 << 30)
    SOURCE = NodeFacts(
        "n1",
        arch="x86_64",
        cpu_flags=("avx", "avx512"),
        criu="4.2",
        runc="1.3",
        rsync="3",
        bridge="br0",
        bridges=("br0",),
        inodes_available=10**6,
        features=("timens",),
        containers=(
            ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), anon_bytes=1 << 30, needs=("io_uring",)),
        ),
    )
    TARGET = replace(
        SOURCE,
        name="n2",
        cpu_flags=("avx",),
        criu="",
        features=(),
        containers=(),
        memory_available_bytes=1 << 30,
        disk_available_bytes=1 << 40,
    )

    def found(self, target: NodeFacts, mode: Mode, policy: Policy) -> list[str]:
        answered = Neighbour({"10.0.0.9": Answered((self.CT.mac,))}, criu_works=False)
        return findings(
            self.CT, self.SOURCE, target, answered, policy, DEFAULT_RATES["stream"], manner=manner_of(mode, policy)
        )

    def test_nothing_that_only_criu_needs_stands_in_its_way(self) -> None:
        assert self.found(self.TARGET, Mode.RESTART, Policy()) == []
        assert len(self.found(self.TARGET, Mode.STOP_AND_COPY, Policy())) >= 4

    def test_what_any_container_needs_does(self) -> None:
        bare = replace(self.TARGET, arch="arm64", runc="", bridges=(), memory_available_bytes=0, disk_available_bytes=0)
        said = "; ".join(self.found(bare, Mode.RESTART, Policy()))
        for reason in ("architecture arm64", "runc is not installed", "bridge br0", "memory for as much", "disk:"):
            assert reason in said

    def test_a_time_to_end_that_is_over_the_longest_pause_is_refused(self) -> None:
        (reason,) = self.found(self.TARGET, Mode.RESTART, Policy(stop_timeout_s=20.0))
        assert "its pause is predicted at 20.4 s, over the limit of 15.0 s" in reason
