"""The benchmark's figures are medians of what was measured, and its page says them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast
from xml.etree import ElementTree

import pytest

from migrator.demo.bench_bars import bars
from migrator.demo.bench_report import (
    PODMAN,
    POST,
    STOP,
    TRUSTED,
    Load,
    Measured,
    Round,
    Seen,
    parts_ms,
    reaches,
    report,
    sent_bytes,
    table,
)
from migrator.demo.floor import FloorTimes, bare
from migrator.demo.podman import Podman, PodmanTimes
from migrator.demo.services import counter
from migrator.demo.stage import Cli, Done, Stage

PARTS = {"fenced": 10, "dumped": 300, "- dump": 200, "- send": 100, "restored": 250, "released": 20}


def seen(udp_ms: float) -> Seen:
    return Seen(udp_ms, udp_ms + 200, round(udp_ms), PARTS, sent_bytes=250_000_000)


def turn(floor_ms: float, stop_ms: float, post_ms: float) -> Round:
    floor = FloorTimes(20, floor_ms / 2, floor_ms / 2 - 20)
    return Round(floor, {STOP: seen(stop_ms), TRUSTED: seen(stop_ms - 50), POST: seen(post_ms)})


SMALL = Measured(Load(16, False), [turn(300, 330, 310)])
LARGE = Measured(Load(256, False), [turn(400, 900, 330), turn(500, 1000, 340), turn(5000, 1100, 360)])


def test_one_slow_round_does_not_decide() -> None:
    assert (LARGE.floor_ms, LARGE.blackout_ms("stop-and-copy")) == (500, 1000)


def test_the_table_has_the_medians_of_every_load_and_mode() -> None:
    lines = table([SMALL, LARGE]).splitlines()
    assert len(lines) == 2 + 6
    assert lines[5] == "| 256 MiB | quiet | stop-and-copy | 500 ms | 1000 ms | 1200 ms | 1000 ms | 2.00 |"


@pytest.mark.parametrize(("stop_ms", "met"), [(620, True), (700, False)])
def test_what_is_wanted_is_said_with_what_was_seen(stop_ms: float, met: bool) -> None:
    large = Measured(Load(256, False), [turn(500, stop_ms, 340)])
    found = reaches([SMALL, large])
    assert [reach.met for reach in found] == [met, met, True, True]
    page = report([SMALL, large], {"kernel": "6.18", "cores": "2"})
    assert "kernel 6.18, cores 2" in page
    assert f"{stop_ms / 500:.2f} (wanted: at most 1.30, {'met' if met else 'missed'})" in page
    assert "| restored | 250 ms | 250 ms | 250 ms | |" in page


def test_a_load_that_writes_is_measured_and_nothing_is_wanted_of_it() -> None:
    assert reaches([Measured(Load(256, True), LARGE.rounds)]) == []


@pytest.mark.parametrize(("stop_ms", "ratio", "met"), [(2640, "1.06", True), (2800, "1.12", False)])
def test_over_a_shaped_link_the_time_of_the_bytes_is_added_to_the_floor(stop_ms: float, ratio: str, met: bool) -> None:
    shaped = Measured(Load(256, False, 1000), [turn(500, stop_ms, 340)])
    assert [reach.met for reach in reaches([shaped])] == [met]  # and not held against the floor alone
    page = report([LARGE, shaped], {})
    assert f"| 256 MiB | quiet, 1 Gb/s | 250 MB | 2000 ms | 2500 ms | {stop_ms} ms | {ratio} |" in page
    assert f"over floor and bytes over link speed: {ratio} (wanted: at most 1.10" in page
    assert "Where the time goes, at 256 MiB, quiet:" in page


def test_of_another_link_or_size_the_figures_are_said_and_nothing_is_wanted() -> None:
    others = [Measured(load, LARGE.rounds) for load in (Load(256, False, 100), Load(64, False, 1000))]
    assert reaches(others) == []
    assert "| 64 MiB | quiet, 1 Gb/s |" in report([SMALL, *others], {})


def test_without_shaped_links_the_page_says_nothing_of_them() -> None:
    assert "sent in the pause" not in report([SMALL, LARGE], {})


def test_what_crosses_the_link_in_a_pause_is_the_dump_and_the_last_files() -> None:
    events = [
        {"state": "seeded", "phase": "end", "data": {"sent_bytes": 1_000_000}},
        {"state": "dumped", "phase": "begin", "data": {}},
        {"state": "dumped", "phase": "end", "data": {"image_bytes": 200}},
        {"state": "synced", "phase": "end", "data": {"sent_bytes": 30}},
    ]
    assert sent_bytes({"events": events}) == 230


def test_the_plot_has_a_bar_for_the_floor_and_for_every_mode() -> None:
    drawn = ElementTree.fromstring(bars([SMALL, LARGE]))
    filled = [rect for rect in drawn.iter("{http://www.w3.org/2000/svg}rect") if rect.get("height") == "14"]
    widths = [float(rect.get("width", 0)) for rect in filled]
    assert len(widths) == 8
    assert max(widths) == widths[5]  # stop-and-copy of the large one


def with_podman(m: Measured, *totals_ms: float | None) -> Measured:
    times = [None if total_ms is None else PodmanTimes(total_ms - 200, 200) for total_ms in totals_ms]
    return Measured(m.load, [replace(r, podman=each) for r, each in zip(m.rounds, times, strict=True)])


def test_podmans_time_is_a_lower_bound_beside_the_modes() -> None:
    beside = with_podman(LARGE, 1500, 1700, 9000)
    lines = table([SMALL, beside]).splitlines()
    assert lines[-1] == f"| 256 MiB | quiet | {PODMAN} | 500 ms | over 1700 ms | | | over 3.40 |"
    assert len(lines) == 2 + 7
    page = report([SMALL, beside], {})
    assert "At 256 MiB, quiet: 1500 ms for the checkpoint, 200 ms for\nthe copy." in page
    assert "rows are missing" not in page
    assert reaches([SMALL, beside]) == reaches([SMALL, LARGE])


def test_without_podman_its_rows_are_missing_and_the_page_says_so() -> None:
    stopped = with_podman(LARGE, 1500, 1700, None)  # it did not work to the end
    for measured in (LARGE, stopped):
        assert table([SMALL, measured]) == table([SMALL, LARGE])
        assert "its rows are missing" in report([SMALL, measured], {})
        assert bars([SMALL, measured]) == bars([SMALL, LARGE])


class Failing:
    """A command line of which every command fails from one of them on."""

    def __init__(self, good: int) -> None:
        self.good, self.asked = good, 0

    async def run(self, *words: str, timeout_s: float = 0) -> Done:
        self.asked += 1
        return Done(0, "podman 5.4.2", "") if self.asked <= self.good else Done(4, "", "a long step\nno mirror")


@pytest.mark.parametrize("good", [0, 2, 4, 5])
def test_a_podman_that_does_not_work_is_said_once_and_left_alone(good: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrator.lab.podman.offer", lambda lab, node: "/there")
    stage, said = Stage("bench"), list[str]()
    failing = Failing(good)
    stage.cli, stage.node_addresses = cast("Cli", failing), {"n1": "10.0.0.1"}
    podman = Podman(stage, "n3", "n1", said.append)

    async def play() -> list[PodmanTimes | None]:
        await podman.prepare()
        return [await podman.measure(counter("bench", 16)) for _ in range(3)]

    assert asyncio.run(play()) == [None, None, None]
    assert len(said) == 1
    assert "rows are left out" in said[0]
    assert failing.asked == good + 1


def test_the_plot_has_a_bar_and_a_name_for_podman_where_it_is_there() -> None:
    drawn = bars([SMALL, with_podman(LARGE, 1500, 1700, 9000)])
    assert drawn.count(PODMAN) == 1
    assert ">1700 ms<" in drawn
    ElementTree.fromstring(drawn)


def test_the_plot_is_of_links_that_are_not_shaped() -> None:
    shaped = Measured(Load(256, False, 1000), [turn(500, 9000, 340)])
    assert bars([SMALL, LARGE, shaped]) == bars([SMALL, LARGE])


def test_the_parts_of_a_pause_come_from_the_journal() -> None:
    events = [
        {"state": "dumped", "phase": "begin", "data": {}},
        {"state": "dumped", "phase": "end", "data": {"dump_ms": 200, "send_ms": 100}},
    ]
    assert parts_ms({"phases_ms": {"fenced": 10}, "events": events}) == {"fenced": 10, "- dump": 200, "- send": 100}


def test_the_floor_runs_without_what_only_a_move_needs() -> None:
    config = {"root": {"path": "/x"}, "hooks": {"createRuntime": []}, "annotations": {"org.criu.config": "/y"}}
    plain = bare(config)
    assert plain["root"] == config["root"]
    assert "hooks" not in plain
    assert plain["annotations"]["org.criu.config"] != "/y"
