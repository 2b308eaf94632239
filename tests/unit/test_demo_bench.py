"""The benchmark's figures are medians of what was measured, and its page says them."""

from __future__ import annotations

import pytest

from migrator.demo.bench_report import Round, parts_ms, ratio, report, table
from migrator.demo.floor import FloorTimes, bare

PARTS = {"fenced": 10, "dumped": 300, "- dump": 200, "- send": 100, "restored": 250, "released": 20}


def measured(floor_ms: float, udp_ms: float) -> Round:
    return Round(FloorTimes(20, floor_ms / 2, floor_ms / 2 - 20), udp_ms, udp_ms + 200, round(udp_ms), PARTS)


ROUNDS = [measured(400, 900), measured(500, 1000), measured(5000, 1100)]


def test_the_ratio_is_of_medians_so_that_one_slow_round_does_not_decide() -> None:
    assert ratio(ROUNDS) == pytest.approx(1000 / 500)


def test_the_table_has_every_round_and_the_medians() -> None:
    lines = table(ROUNDS).splitlines()
    assert len(lines) == 2 + 3 + 1
    assert lines[2] == "| 1 | 400 ms | 900 ms | 1100 ms | 900 ms | 2.25 |"
    assert lines[-1] == "| **median** | 500 ms | 1000 ms | 1200 ms | 1000 ms | 2.00 |"


@pytest.mark.parametrize(("udp_ms", "says"), [(1000, "the target is met"), (1300, "the target is missed")])
def test_the_page_says_whether_the_target_is_met(udp_ms: float, says: str) -> None:
    page = report([measured(500, udp_ms)], {"kernel": "6.18", "cores": "2"}, 256)
    assert says in page
    assert "kernel 6.18, cores 2" in page
    assert "| restored | 250 ms |" in page


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
