"""The planner's benchmark: figures of children, tables side by side, a plot, and a page whose rest stays."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from migrator.demo.cost import Cost, cost_of
from migrator.demo.curve import plot
from migrator.demo.page import with_section
from migrator.demo.planner_bench import times
from migrator.demo.planner_report import (
    CASES,
    Peer,
    Result,
    Ring,
    Scaled,
    Times,
    cost_table,
    curve,
    growth,
    makespan_table,
    rings_line,
    section,
)

MB = 1_000_000
PEER = Peer(Cost(20.0, 21.0, 30 * MB, 0), 57, 29)


def result(peer: Peer | None = PEER) -> Result:
    in_turn, together = Times(57, 300.0, 200.0, 290.0, 20.0), Times(57, 220.0, 200.0, 290.0, 80.0)
    return Result(CASES[0], True, Cost(0.5, 0.6, 72 * MB, 0), in_turn, together, peer)


def ring(size: int, moves: int | None) -> Ring:
    return Ring(size, moves, Cost(0.6, 0.6, 60 * MB, 0))


def test_rings_are_counted_with_their_moves_over_the_least_possible() -> None:
    said = rings_line([ring(2, 3), ring(3, 5), ring(4, None)])
    assert said.startswith("swap rings of 2 to 4 full nodes with one free: 2 of 3 planned, at most 1 moves over")


def points(*costs_s: float) -> list[Scaled]:
    return [Scaled(10_000 * 10**n, 500 * 10**n, Cost(s, s, 99 * MB, 0)) for n, s in enumerate(costs_s)]


def test_the_cost_of_a_command_is_its_own_and_its_output_is_kept(tmp_path: Path) -> None:
    cost = cost_of(
        [sys.executable, "-c", "b = bytearray(200 << 20); b[::4096] = b'x' * (len(b) >> 12); print(len(b)); exit(3)"],
        tmp_path / "out",
        60,
    )
    assert (cost.code, cost.ended) == (3, True)
    assert cost.memory_bytes > 200 << 20
    assert (tmp_path / "out").read_text() == f"{200 << 20}\n"


def test_a_command_that_takes_too_long_is_ended_and_that_is_said(tmp_path: Path) -> None:
    cost = cost_of([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "out", 0.2)
    assert not cost.ended


def test_a_peer_stands_beside_our_figures_with_the_ratio() -> None:
    row = cost_table([result()]).splitlines()[2]
    assert "| 0.50 s | 1 s |" in row
    assert "| 20.0 CPU-s, 30 MB, 57 moves in 29 job sets | 40 |" in row


def test_a_peer_that_gave_no_answer_is_said_to_have_given_none() -> None:
    late = Peer(Cost(150.0, 150.2, 30 * MB, -9, ended=False), 0, 0)
    assert "| nothing in 150 s | over 300 |" in cost_table([result(late)])


def test_the_tables_do_without_a_peer() -> None:
    assert "| not installed | - |" in cost_table([result(None)])


def test_the_makespan_stands_beside_its_bound() -> None:
    row = "| 200.0 s | 290.0 s | 300.0 s | 50.0% | 20 s | 220.0 s | 10.0% | 80 s |"
    assert row in makespan_table([result()])


def test_pauses_in_turn_need_their_sum_on_the_busiest_link_after_the_first_set_up() -> None:
    def move(source: str, target: str, blackout_s: float, ready_s: float) -> dict[str, Any]:
        estimate = {"blackout_s": blackout_s, "duration_s": ready_s + blackout_s}
        pause = {"start_s": ready_s, "end_s": ready_s + 2 * blackout_s}
        return {"source": source, "target": target, "estimate": estimate, "pause": pause}

    moves = [move("a", "c", 4.0, 2.0), move("b", "c", 5.0, 3.0), move("a", "d", 3.0, 1.5)]
    told = times({"moves": moves, "makespan_s": 12.0, "makespan_bound_s": 6.0})
    assert told == Times(3, 12.0, 6.0, 11.0, 10.0)
    assert times({"moves": [], "makespan_s": 0.0, "makespan_bound_s": 0.0}).pauses_s == 0.0


@pytest.mark.parametrize(("last_s", "says"), [(12.0, "no faster than"), (13.0, "faster than")])
def test_growth_is_held_against_n_log_n(last_s: float, says: str) -> None:
    assert f"{last_s:.1f} times, {says} n log n (12.5 times)" in growth(points(1.0, last_s))


def test_a_curve_that_ends_early_is_not_judged() -> None:
    assert "too early" in growth(points(1.0))


def test_the_plot_is_svg_and_the_same_for_the_same_figures() -> None:
    drawn = curve(points(1.0, 12.0))
    assert drawn == curve(points(1.0, 12.0))
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert drawn.count("<circle") == 2


def test_a_name_in_a_plot_is_text_and_no_markup() -> None:
    assert ET.fromstring(plot("a <b> & c", "x", "y", [(1, 1)], [(1, 2)], "r")) is not None


def test_a_section_takes_the_place_of_the_old_one_and_the_rest_stays() -> None:
    page = "# Page\n\nIntro.\n\n## One\n\nold\n\n### Part\n\nold\n\n## Two\n\nkept\n"
    assert with_section(page, "## One\n\nnew\n") == "# Page\n\nIntro.\n\n## One\n\nnew\n\n## Two\n\nkept\n"


def test_a_section_that_is_new_comes_last_and_twice_is_once() -> None:
    once = with_section("# Page\n\n## One\n\nkept\n", "## Two\n\nnew\n")
    assert once == "# Page\n\n## One\n\nkept\n\n## Two\n\nnew\n"
    assert with_section(once, "## Two\n\nnew\n") == once


def test_the_section_names_the_command_that_repeats_it() -> None:
    text = section([result()], [ring(2, 3)], points(1.0, 12.0), "x.svg")
    assert text.startswith("## Planning for a fleet\n")
    assert "`make bench-planner`" in text
    assert "(x.svg)" in text
