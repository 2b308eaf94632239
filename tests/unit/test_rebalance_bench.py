"""The benchmark of rebalancing: what it reads from hbal and from fleets, and how it tells of it."""

from __future__ import annotations

from dataclasses import replace

from migrator.demo.cost import Cost
from migrator.demo.rebalance_bench import least_moves, steps, unmarked
from migrator.demo.rebalance_report import Balanced, Peer, line, section, table

FLEET = """g1|u1|preferred||

n1|8192|1024|3072|102400|81920|16|Y|u1|1
n2|8192|1024|7168|102400|102400|16|N|u1|1

a|1024|10240|2|running|Y|n1||rbd|svc:1|1
b|1024|10240|2|running|Y|n1||rbd|svc:1|1
c|1024|10240|2|running|Y|n1||rbd|svc:2|1
d|1024|10240|2|running|Y|n1||rbd|svc:3|1
e|1024|10240|2|running|Y|n2||rbd|svc:4|1

htools:iextags:svc
"""
SAID = """Trying to minimize the CV...
    1. i000291 n00074        => n00000         69.79034002 a=fa:n00000
   12. i000126 n00012        => n00071          7.65364110 a=fa:n00071
   13. i000164 n00017        => n0"""
PEER = Peer(Cost(1.0, 1.5, 30_000_000, 0), 43, 0.1423)
FOUND = Balanced(20, 200, True, 43, 67.7459, Cost(0.8, 0.9, 70_000_000, 0), 43, 0.1213, PEER, 43)


def test_a_fleet_is_opened_and_nothing_else_of_it_changes() -> None:
    assert unmarked(FLEET) == FLEET.replace("|Y|u1|", "|N|u1|")


def test_no_plan_can_have_fewer_moves_than_are_too_many_on_a_node_or_beside_their_like() -> None:
    assert least_moves(FLEET) == 1
    assert least_moves(FLEET.replace("svc:2", "svc:1").replace("svc:3", "svc:1")) == 3


def test_steps_that_hbal_has_not_written_to_their_end_do_not_count() -> None:
    assert steps(SAID) == [69.79034002, 7.65364110]
    assert steps("") == []


def test_a_result_tells_both_scores_and_both_numbers_of_moves() -> None:
    assert "67.7459 -> 0.1213 with 0.8 CPU-s, 70 MB, 43 moves; hbal: 0.1423 with 43 moves in 1.0 CPU-s" in line(FOUND)
    assert "| 0.1423 with 43 moves in 1.0 CPU-s | reached after 43 moves |" in table([FOUND])


def test_a_peer_that_made_no_step_or_was_ended_is_said_to() -> None:
    late = Cost(600.0, 600.4, 30_000_000, -9, ended=False)
    assert "| no step in 600 s | nothing to reach |" in table([replace(FOUND, peer=Peer(late, 0, 67.7459), as_good=0)])
    ended = table([replace(FOUND, peer=Peer(late, 4, 61.0), as_good=None)])
    assert "| 61.0000 with 4 moves in 600.0 CPU-s, not at its end | not reached |" in ended


def test_the_section_says_how_it_was_made() -> None:
    text = section([FOUND], 30, 600)
    assert text.startswith("## Evening out a fleet\n")
    assert "--seconds 30 --min-gain 120" in text
    assert "ended after 600 s" in text
    assert max(len(row) for row in text.splitlines() if not row.startswith("|")) <= 120 + 60
