"""What people read of a prediction: the lines of a dry run, and the benchmark's section."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.cli.dry_run import Forecast, _lines
from migrator.demo.bench_report import Load
from migrator.demo.page import with_section
from migrator.demo.prediction_report import Judged, report, summary
from migrator.model.memory_way import CHANNELS, ENCRYPTED
from migrator.model.modes import Mode

TOLD = Forecast(
    container="web",
    source="n1",
    target="n2",
    mode="stop-and-copy",
    mode_why="asked for",
    memory_way="stream",
    channel=ENCRYPTED,
    bandwidth_bytes_per_s=None,
    memory_bytes=64 << 20,
    memory_rounds=1,
    files_bytes=1024,
    file_passes_max=4,
    files_changing_bytes=0,
    files_mapped_bytes=0,
    files_written_bytes_per_s=None,
    files_pause_s=0.0,
    tmpfs_bytes=0,
    tmpfs_pause_s=0.0,
    blackout_s=0.3,
    blackout_s_range=(0.2, 0.5),
    duration_s=1.6,
    learnt_from=0,
    written_bytes_per_s=None,
    caution="",
    findings=[],
    refusal="",
)


def line(told: Forecast, start: str) -> str:
    return next(each for each in _lines(told) if each.startswith(start))


class TestDryRun:
    def test_a_range_says_what_it_rests_on(self) -> None:
        assert line(TOLD, "pause") == (
            "pause: 0.30 s (0.20 s to 0.50 s, by rates of an idle lab: none was seen from n1 to n2 yet)"
        )
        seen = replace(TOLD, learnt_from=1)
        assert line(seen, "pause").endswith("(0.20 s to 0.50 s, nine of ten, by 1 migration of this pair)")

    def test_rounds_say_how_fast_it_was_seen_to_write(self) -> None:
        rounds = replace(TOLD, mode="pre-copy", memory_rounds=3)
        told = "in about 3 rounds, the last while it is paused, if it writes little of it, "
        assert line(rounds, "memory").endswith(told + CHANNELS[ENCRYPTED])
        watched = replace(rounds, written_bytes_per_s=2 << 20, caution="rounds do not shrink: it would be given up")
        assert ", as it was seen to write 2.0 MiB/s, " in line(watched, "memory")
        assert line(watched, "caution") == "caution: rounds do not shrink: it would be given up"

    def test_files_that_are_written_say_what_of_the_pause_is_for_them(self) -> None:
        assert line(TOLD, "files") == "files: 1.0 KiB, in up to 4 passes, the last while it is paused"
        written = replace(TOLD, files_changing_bytes=1 << 30, files_pause_s=6.2)
        told = "the last while it is paused, which takes 6.20 s for 1.0 GiB that "
        assert line(written, "files").endswith(f"{told}has changed in the last ten seconds")
        seen = replace(written, files_written_bytes_per_s=5 << 20, files_mapped_bytes=1 << 20)
        assert line(seen, "files").endswith(f"{told}it writes at 5.0 MiB/s and 1.0 MiB mapped shared and writable")

    def test_files_in_memory_have_a_line_of_their_own(self) -> None:
        assert not any(each.startswith("files in memory") for each in _lines(TOLD))
        held = replace(TOLD, memory_bytes=264 << 20, tmpfs_bytes=200 << 20, files_pause_s=5.99, tmpfs_pause_s=5.99)
        assert line(held, "memory").startswith("memory: 64.0 MiB, ")
        told = "files in memory (tmpfs: /tmp, /run and the like): 200.0 MiB"
        assert line(held, "files in") == f"{told}, packed while it is paused, which takes 5.99 s"
        assert line(held, "files: ").endswith("the last while it is paused")
        both = replace(held, files_pause_s=7.99, files_changing_bytes=1 << 30)
        assert "which takes 2.00 s for 1.0 GiB" in line(both, "files: ")
        anew = replace(held, mode="restart", files_pause_s=0.0, tmpfs_pause_s=0.0)
        assert line(anew, "files in") == f"{told}, which end with it"

    def test_a_restart_tells_the_longest(self) -> None:
        anew = replace(TOLD, mode="restart", memory_bytes=0, blackout_s=10.35, blackout_s_range=(0.35, 10.35))
        assert line(anew, "pause") == (
            "pause: up to 10.3 s (0.35 s and as long as it takes to end, which --stop-timeout bounds)"
        )


def judged(told_s: float, took_s: float) -> Judged:
    return Judged(500, Load(64, writing=False), Mode.POST_COPY, (told_s, 2.0), (0.2, 0.4), (took_s, 2.0))


class TestBenchmark:
    @pytest.mark.parametrize(
        ("told_s", "took_s", "near", "within"),
        [(0.3, 0.3, True, True), (0.3, 0.25, True, True), (0.3, 0.41, False, False), (0.3, 0.23, False, True)],
    )
    def test_a_prediction_is_near_within_a_quarter_of_what_was_measured(
        self, told_s: float, took_s: float, near: bool, within: bool
    ) -> None:
        each = judged(told_s, took_s)
        assert (each.near, each.within) == (near, within)

    def test_the_share_is_held_against_what_is_wanted(self) -> None:
        assert "9 of 10 (90%) (wanted: 90%, met)" in summary([judged(0.3, 0.3)] * 9 + [judged(0.3, 1.0)])[0]
        assert "1 of 2 (50%) (wanted: 90%, missed)" in summary([judged(0.3, 0.3), judged(0.3, 1.0)])[0]

    def test_its_section_takes_the_place_of_the_one_before(self) -> None:
        first = with_section("# Benchmarks\n", report([judged(0.3, 0.3)], {"cores": "2"}, 1))
        assert (
            "| 500 Mb/s | 64 MiB | quiet | post-copy | 0.30 s | 0.20 to 0.40 s | 0.30 s | +0% | 2.00 s | 2.00 s | +0% |"
            in first
        )
        second = with_section(first, report([judged(0.3, 0.5)], {"cores": "2"}, 2))
        assert second.count("## Prediction") == 1
        assert "2 times in each mode" in second
