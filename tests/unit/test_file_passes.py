"""What passes over files that are written are expected to take, and where that counts: estimates, plans, facts."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator.checker.check import check
from migrator.executor.watch import watched, watched_in
from migrator.inventory.plan_file import load, save
from migrator.model.estimate import Manner, estimate_move, passes_of_move
from migrator.model.facts import ContainerFacts, Link
from migrator.model.file_passes import AT_MOST, LITTLE_BYTES, PASSES_MAX, passes_of
from migrator.model.modes import Mode
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.drain import drain
from migrator.planner.look import spans
from migrator.protocol.passes import Pass, left_s
from migrator.runtime import bundle
from migrator.transport.base import Answer, NodeFailed
from tests.properties.fleets import cluster, ct, node

KIT = Path(bundle.__file__).parent / "kit"
MB = 1_000_000
RATES = DEFAULT_RATES["stream"]
QUIET = ct("log", files_bytes=1100 * MB)
LARGE = replace(QUIET, changing_bytes=1000 * MB, files_written_bytes_per_s=5 * MB)
ALL_MODES = pytest.mark.parametrize("mode", list(Mode))


def holding(tmpfs_bytes: int) -> ContainerFacts:
    """What a node tells of files in memory is in both numbers."""
    return replace(QUIET, anon_bytes=QUIET.anon_bytes + tmpfs_bytes, tmpfs_bytes=tmpfs_bytes)


def estimate(container: ContainerFacts, mode: Mode = Mode.STOP_AND_COPY, target_s: float | None = None) -> Any:
    return estimate_move(container, Link(), Link(), RATES, (), Manner(mode, target_blackout_s=target_s))


class TestPasses:
    def test_a_large_file_is_looked_at_whole_by_each_pass_and_in_the_pause(self) -> None:
        found = passes_of(LARGE, 150e6)
        assert found.count == PASSES_MAX
        assert 4 < found.last_s < 9
        assert found.ahead_s > 1.5 * found.last_s

    def test_a_file_that_grows_is_looked_at_as_large_as_it_is_by_then(self) -> None:
        grown = passes_of(replace(LARGE, files_growing_bytes_per_s=5 * MB), 150e6)
        assert grown.last_s > passes_of(LARGE, 150e6).last_s + 0.3

    def test_what_does_not_change_is_not_looked_at_again(self) -> None:
        assert passes_of(QUIET, 150e6).last_s == 0.0
        assert passes_of(replace(QUIET, changing_bytes=LITTLE_BYTES), 150e6).last_s == 0.0

    def test_more_is_left_of_what_is_written_faster_but_never_more_than_there_is(self) -> None:
        lasts_s = [
            passes_of(replace(LARGE, files_written_bytes_per_s=rate * MB), 150e6).last_s
            for rate in (1, 5, 50, 500, 5000)
        ]
        assert lasts_s == sorted(lasts_s)
        assert lasts_s[0] < lasts_s[1] < lasts_s[2]
        assert lasts_s[3] == lasts_s[4]

    def test_passes_are_fewer_where_a_longer_pause_is_wanted_and_say_why_one_is_longer_than_that(self) -> None:
        longer = passes_of(LARGE, 150e6, wanted_s=20.0)
        assert (longer.count, longer.why_not) == (2, "")
        assert "of it for files that it writes or maps, 0.20 s wanted" in passes_of(LARGE, 150e6).why_not

    def test_more_than_three_are_made_only_as_long_as_they_shrink_the_last(self) -> None:
        assert passes_of(LARGE, 150e6, 0.2, 8).count == PASSES_MAX
        slow = replace(LARGE, files_bytes=90_000 * MB, changing_bytes=30 * MB)
        assert passes_of(slow, 150e6, 0.18, 8).count <= 8

    def test_a_file_that_was_not_seen_to_be_written_may_need_nothing(self) -> None:
        unseen = passes_of(replace(LARGE, files_written_bytes_per_s=None), 150e6)
        assert unseen.last_s_range == (0.0, unseen.last_s * AT_MOST)
        low_s, high_s = passes_of(LARGE, 150e6).last_s_range
        assert 0 < low_s < passes_of(LARGE, 150e6).last_s < high_s

    def test_what_is_written_may_be_what_was_there_before(self) -> None:
        """As in a file that is written over with the same: then nothing is new, and all is compared."""
        fast = passes_of(replace(LARGE, files_written_bytes_per_s=500 * MB), 2.5e6)
        assert fast.last_s > 400
        assert fast.last_s_range[0] < 10

    def test_what_passes_show_while_they_run_predicts_the_same(self) -> None:
        """A container that is as the model has it, passed over, and asked what is left."""
        expected = passes_of(LARGE, 150e6)
        before = Pass(1000 * MB, 35 * MB, 7.3, 6.5)
        seen = left_s([before, Pass(1000 * MB, 33 * MB, 13.8, 6.4)], 0.6)
        assert seen == pytest.approx(expected.last_s, rel=0.2)


class TestEstimates:
    @ALL_MODES
    def test_the_pause_of_each_mode_has_the_last_pass_in_it(self, mode: Mode) -> None:
        quiet, told = estimate(QUIET, mode), estimate(LARGE, mode)
        assert told.files_pause_s > 4
        assert told.blackout_s == pytest.approx(quiet.blackout_s + told.files_pause_s, abs=0.002)
        added_s = told.files_pause_s + told.files_again_s
        assert told.duration_s == pytest.approx(quiet.duration_s + added_s, abs=0.002)
        assert told.files_bytes > quiet.files_bytes

    def test_a_file_that_is_mapped_shared_and_writable_is_compared_whatever_its_times_say(self) -> None:
        mapped = estimate(replace(QUIET, mapped_bytes=1000 * MB))
        assert mapped.files_pause_s > 4
        assert mapped.files_bytes == QUIET.files_bytes

    def test_the_target_blackout_counts_the_rest_of_the_pause(self) -> None:
        ways = (Link(), Link(), RATES, ())
        told = estimate(LARGE, target_s=20.0)
        assert told.files_again_s < estimate(LARGE).files_again_s
        assert passes_of_move(LARGE, *ways, Manner(target_blackout_s=20.0)).why_not == ""
        assert passes_of_move(LARGE, *ways, Manner(target_blackout_s=1.0)).why_not

    @ALL_MODES
    def test_files_in_memory_are_packed_in_a_pause_in_which_it_is_dumped(self, mode: Mode) -> None:
        quiet, held = estimate(QUIET, mode), holding(350 * MB)
        told = estimate(held, mode)
        dumped = mode is not Mode.RESTART
        assert told.files_pause_s == (10.0 if dumped else 0.0)
        assert told.memory_bytes - quiet.memory_bytes == (350 * MB if dumped else 0)
        assert told.blackout_s - quiet.blackout_s >= told.files_pause_s
        assert estimate(holding(LITTLE_BYTES), mode).files_pause_s == 0.0

    def test_the_target_blackout_counts_files_in_memory(self) -> None:
        held, manner = replace(LARGE, tmpfs_bytes=350 * MB), Manner(target_blackout_s=15.0)
        assert passes_of_move(held, Link(), Link(), RATES, (), manner).why_not
        assert not passes_of_move(LARGE, Link(), Link(), RATES, (), manner).why_not
        assert estimate(held, target_s=15.0).files_again_s > estimate(LARGE, target_s=15.0).files_again_s


class TestPlans:
    CLUSTER = cluster(node("n1", LARGE, ct("web")), node("n2"), node("n3"))

    def plan(self) -> Plan:
        made = drain(self.CLUSTER, ("n1",), "-", PlanPolicy())
        assert isinstance(made, Plan)
        return made

    def test_a_plan_counts_them_and_its_checker_agrees(self, tmp_path: Path) -> None:
        plan = self.plan()
        (move,) = (move for move in plan.moves if move.container == "log")
        assert move.estimate.files_pause_s > 4
        assert any("predicted to pause for up to" in note and note.endswith(": log") for note in plan.notes)
        assert move.pause is not None
        assert move.pause.end_s - move.pause.start_s >= move.estimate.blackout_s - 0.003
        assert check(self.CLUSTER, plan, plan.policy) == ()
        assert check(cluster(node("n1", QUIET, ct("web")), node("n2"), node("n3")), plan, plan.policy) != ()
        save(plan, tmp_path / "p.json")
        assert load(tmp_path / "p.json") == plan
        assert spans(self.CLUSTER, plan)


class Asked:
    """A node that answers one verb."""

    name = "n1"

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, 0

    async def call(self, verb: str, *words: object, **more: object) -> Answer:
        self.asked += 1
        return Answer("n1", verb, self.text)


async def test_a_node_is_asked_how_fast_only_where_much_has_changed() -> None:
    there: Any = Asked("grown_bytes 800000\nwritten_bytes 2000000\nms 400\nend writing\n")
    quiet, busy = node("n1", QUIET), node("n1", replace(LARGE, files_written_bytes_per_s=None))
    assert await watched(there, quiet, "log") == quiet
    assert there.asked == 0
    (seen,) = (await watched(there, busy, "log")).containers
    assert (seen.files_written_bytes_per_s, seen.files_growing_bytes_per_s) == (5 * MB, 2 * MB)
    fleet: Any = type("Fleet", (), {"node": lambda self, name: there})()
    found = await watched_in(fleet, cluster(busy, node("n2")), "log")
    assert found.node("n1").containers == (seen,)


async def test_an_answer_that_is_cut_short_is_not_believed() -> None:
    there: Any = Asked("written_bytes 2000000\n")
    with pytest.raises(NodeFailed, match="cut short"):
        await watched(there, node("n1", LARGE), "log")


def kit(tmp_path: Path, script: str) -> list[str]:
    """What functions of the kit say, of a node whose containers are below `tmp_path`."""
    setting = f"set -eu; export LC_ALL=C; KIT={KIT}; CONTAINERS={tmp_path}; RUN={tmp_path}; TREE={tmp_path}/none"
    words = 'any_is_there() { [ -e "$1" ]; }; pids_of() { echo $$; }; now_ms() { date +%s%3N; }'
    text = f"{setting}; {words}; . $KIT/files.sh; . $KIT/disks.sh; . $KIT/survey.sh; {script}"
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


class TestKit:
    def test_one_walk_tells_all_files_and_those_that_have_changed_lately(self, tmp_path: Path) -> None:
        upper = tmp_path / "web" / "upper"
        (upper / "d\nd").mkdir(parents=True)
        (upper / "d\nd" / "a b").write_bytes(b"x" * 300_000)
        (upper / "link").hardlink_to(upper / "d\nd" / "a b")
        (tmp_path / "kv" / "upper").mkdir(parents=True)
        told = dict(line.rsplit(" ", 1) for line in kit(tmp_path, "tell_files"))
        assert told["changing web"] == "300000"
        assert "changing kv" not in told
        assert 300_000 <= int(told["files web"]) < 400_000  # by its blocks, and once

    def test_two_looks_tell_how_fast_files_grow(self, tmp_path: Path) -> None:
        (tmp_path / "web" / "upper").mkdir(parents=True)
        log = tmp_path / "web" / "upper" / "log"
        log.write_bytes(b"x" * 100)
        # It grows between the looks: what waits between them is what writes here.
        words = f"sleep() {{ head -c 50000 /dev/zero >> {log}; }}; verb_writing web"
        told = dict(line.split(" ") for line in kit(tmp_path, words))
        assert (told["written_bytes"], told["grown_bytes"], told["end"]) == ("50000", "50000", "writing")
        assert int(told["ms"]) >= 0

    def test_what_the_last_pass_has_sent_is_not_compared_again(self, tmp_path: Path) -> None:
        (tmp_path / "list").write_bytes(b"./a\0./b\nc\0./d_e\0./log\0")
        (tmp_path / "stats").write_text(
            "<f.st......_log\n<f+++++++++_d_e\n.f...p....._a\n<f.st......_b\\#012c\nTotal: 9\n"
        )
        kit(tmp_path, f"not_yet_equal {tmp_path}/list {tmp_path}/stats; not_yet_equal {tmp_path}/none {tmp_path}/stats")
        assert (tmp_path / "list").read_bytes() == b"./a\0./b\nc\0"
