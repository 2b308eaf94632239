"""What a rebalance decides, case by case; and that the score's quick arithmetic is the score's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.model.facts import Link
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy, Weights
from migrator.model.ports import Port
from migrator.model.rules import Window
from migrator.model.volume import Mounted, Volume
from migrator.model.what_if import after
from migrator.planner.assemble import assemble
from migrator.planner.balance import Balance, Terms
from migrator.planner.company import Company
from migrator.planner.graph import capacity_graph, rooms
from migrator.planner.movers import free_movers
from migrator.planner.ordering import sequence
from migrator.planner.placement import Mover
from migrator.planner.rebalance import legs_of, rebalance
from migrator.planner.score import Change, Spread, amounts
from tests.properties.fleets import GIB, MIB, cluster, ct, node

POLICY = PlanPolicy(headroom_percent=0)
TERMS = Terms(iterations=1000, min_gain=0.01)


def planned(*nodes, policy=POLICY, terms=TERMS) -> Plan:
    fleet = cluster(*nodes)
    made = rebalance(fleet, "sha256:x", policy, terms)
    assert check(fleet, made, policy) == ()
    return made


def test_a_full_node_gives_to_an_empty_one_and_the_reason_says_what_that_evens_out():
    plan = planned(node("n1", ct("a", memory=2 * GIB), ct("b", memory=2 * GIB)), node("n2"))
    assert [(m.container, m.target, m.reason) for m in plan.moves] == [
        (
            "a",
            "n2",
            "n1 50% -> 25% full of memory with 2 -> 1 containers; n2 0% -> 25% full of memory with 0 -> 1 containers",
        )
    ]
    assert (plan.intent, plan.empties) == ("rebalance", ())


def test_two_containers_are_exchanged_where_no_single_move_helps():
    busy = node("n1", ct("a", memory=3 * GIB), ct("b", 5, memory=3 * GIB), ct("c", 7))
    plan = planned(busy, node("n2", ct("x", 8), ct("y", 9), ct("z", 10)))
    assert sorted((m.container, m.target) for m in plan.moves) == [("a", "n2"), ("x", "n1")]
    assert "nothing more is worth it after 1 iterations" in plan.notes


def test_what_is_weighed_is_evened_out_first_and_what_weighs_nothing_is_left_as_it_is():
    big, small = ct("big", memory=2 * GIB, cpu_milli=10), ct("small", 5, memory=64 * MIB, cpu_milli=1000)
    fleet = (node("n1", big, small, ct("z", 7, memory=2 * GIB, cpu_milli=1000)), node("n2"))
    for weights, first in [(Weights(16, 0, 0, 0), "small"), (Weights(0, 16, 0, 0), "big")]:
        plan = planned(*fleet, policy=replace(POLICY, weights=weights), terms=Terms(1, 0.01))
        assert [m.container for m in plan.moves] == [first]
    nothing = replace(POLICY, weights=Weights(0, 0, 0, 0))
    assert planned(*fleet, policy=nothing).moves == ()


def test_weights_never_change_how_full_a_reason_says_a_node_is():
    fleet = (node("n1", ct("a", memory=2 * GIB), ct("b", memory=2 * GIB)), node("n2"))
    plan = planned(*fleet, policy=replace(POLICY, weights=Weights(memory=16.0)))
    assert "n1 50% -> 25% full of memory" in plan.moves[0].reason


def test_a_search_that_is_stopped_keeps_no_move_that_is_not_worth_its_toll():
    full = [ct(f"c{n}", 100 + n, memory=(n + 1) * 100 * MIB) for n in range(8)]
    nodes = [node("n1", *full), node("n2"), node("n3")]
    fleet = cluster(*nodes)
    search = Balance(free_movers(fleet, nodes), nodes, POLICY)
    search.resume([("c0", "n2"), ("c1", "n2"), ("c2", "n2")], Terms(0, 100.0), 0)
    assert search.legs() == []


def test_an_even_fleet_is_left_alone():
    plan = planned(node("n1", ct("a")), node("n2", ct("b")))
    assert plan.moves == ()
    assert plan.notes[0].endswith("no move is worth it")


def test_what_is_cordoned_or_silent_neither_gives_nor_takes():
    full = [ct(f"c{n}", 100 + n) for n in range(6)]
    plan = planned(node("n1", *full), node("n2", cordon="operator"), node("n3", error="no route"), node("n4"))
    assert {m.target for m in plan.moves} == {"n4"}
    assert "cordoned and left as they are: n2" in plan.notes
    assert "n3 did not answer and is left out" in plan.notes
    assert planned(node("n1", *full, cordon="operator"), node("n2")).moves == ()


def test_what_does_not_run_or_is_on_the_move_stays():
    stays = [ct("old", state="stopped", alive=False), ct("b", run="r1"), ct("c", alive=False), ct("d", descriptor=None)]
    plan = planned(node("n1", *stays), node("n2"))
    assert plan.moves == ()
    assert "not running or on the move, and left as they are: 4 of 4 containers" in plan.notes


def test_what_runs_and_is_left_for_its_windows_or_its_records_is_told_with_them():
    windows = (Window("a", ("mon 01:00-02:00",)), Window("a", ("tue 01:00-02:00",)), Window("b", ("sun 03:00-04:00",)))
    policy = replace(POLICY, rules=windows, start="2026-03-02T12:00:00+00:00")
    plan = planned(node("n1", ct("a"), ct("b", 5), ct("c", 7)), node("n2", ct("c", 9)), policy=policy)
    left = [note for note in plan.notes if "left as they are" in note or "left as it is" in note]
    assert left == [
        "left as they are, for no opening of their time windows (mon 01:00-02:00 UTC and tue 01:00-02:00 UTC) is long "
        "enough for a move: a",
        "container c is left as it is: there is a record of it on n1 and n2; see: migrator ct list",
    ]


def test_a_move_that_costs_more_than_it_evens_out_is_not_made():
    cheap, dear = ct("a", files_bytes=0, anon_bytes=0), ct("b", files_bytes=10_000 * GIB, anon_bytes=0)
    plan = planned(node("n1", cheap, dear, ct("c"), disk=90_000 * GIB), node("n2", ct("d", 9), disk=90_000 * GIB))
    assert [m.container for m in plan.moves] == ["a"]


def test_no_move_is_made_that_gains_less_than_the_least_gain():
    full = [ct(f"c{n}", 100 + n, memory=(n + 1) * 100 * MIB) for n in range(8)]
    fleet = (node("n1", *full), node("n2"), node("n3"))
    assert planned(*fleet).moves
    assert planned(*fleet, terms=Terms(1000, 100.0)).moves == ()


def test_the_search_stops_after_the_iterations_it_is_given_and_says_so():
    plan = planned(node("n1", *[ct(f"c{n}", 100 + n) for n in range(8)]), node("n2"), terms=Terms(2, 0.01))
    assert len(plan.moves) == 2
    assert "stopped early; --iterations 2 (and no --seconds) repeats this exactly" in plan.notes


def test_rules_bind_a_rebalance_too():
    web = {"anti-affinity": "web"}
    grouped = [ct(f"w{n}", 100 + n, labels=web) for n in range(3)]
    plan = planned(node("n1", *grouped), node("n2"))
    assert len(plan.moves) == 1
    assert plan.moves[0].reason.startswith("no longer beside another of group anti-affinity=web; n1 ")
    assert "w0, w1, w2 of group anti-affinity=web are together on n1 already and stay so" in plan.notes
    slow = Link(up_bytes_per_s=1_000_000)
    assert planned(node("n1", *[ct(f"c{n}", 100 + n) for n in range(6)], link=slow), node("n2")).moves == ()


ALONE = {  # what no two of a node have
    "ids of files on a shared volume": {"id_index": 50, "volumes": (Volume("docs", "/srv/docs"),)},
    "port": {"published": (Port(80, 80),)},
    "group": {"labels": {"anti-affinity": "web"}},
}


def alike(*names, given):
    made = [ct(name, 50 + number) for number, name in enumerate(names)]
    return [replace(c, descriptor=replace(c.descriptor, **given)) for c in made]


@pytest.mark.parametrize("given", ALONE.values(), ids=ALONE)
def test_who_may_not_meet_another_that_leaves_waits_for_it(given):
    a, b = alike("a", "b", given=given)
    there = {"volumes": {"docs": Mounted("/srv")}}
    fleet = cluster(node("n1", a, **there), node("n2", b, **there), node("n3", **there))
    mover_b, mover_a = (Mover(c, c.descriptor, fleet.node(n)) for c, n in ((b, "n2"), (a, "n1")))
    moved = [(mover_b, fleet.node("n1")), (mover_a, fleet.node("n3"))]
    legs, blocked = sequence(legs_of(moved, POLICY, Company.of(fleet)), rooms(capacity_graph(fleet, POLICY)))
    plan = assemble(fleet, legs, {"a": "", "b": ""}, POLICY, intent="rebalance", snapshot="x")
    assert ([leg.name for leg in legs], blocked) == (["a", "b"], ())
    assert plan.move("b").waits_for == ("a",)
    assert check(fleet, plan, POLICY) == ()
    hasty = replace(plan, moves=tuple(replace(move, waits_for=()) for move in plan.moves))
    assert {f.code for f in check(fleet, hasty, POLICY)} == {
        Code.ANTI_AFFINITY if "labels" in given else Code.INCOMPATIBLE
    }


def test_a_broken_rule_is_mended_though_the_load_is_even():
    web = {"anti-affinity": "web"}
    together = node("n1", ct("a", 50, labels=web), ct("b", 51, labels=web))
    plan = planned(together, node("n2", ct("c", 52), ct("d", 53)), node("n3", ct("e", 54), ct("f", 55)))
    assert len({m.container for m in plan.moves} & {"a", "b"}) == 1


def test_two_that_wait_for_each_other_can_never_be_ordered():
    a, b = alike("a", "b", given=ALONE["port"])
    fleet = cluster(node("n1", a), node("n2", b))
    moved = [(Mover(a, a.descriptor, fleet.node("n1")), fleet.node("n2"))]
    moved.append((Mover(b, b.descriptor, fleet.node("n2")), fleet.node("n1")))
    legs, blocked = sequence(legs_of(moved, POLICY, Company.of(fleet)), rooms(capacity_graph(fleet, POLICY)))
    assert (legs, [leg.name for leg in blocked]) == ((), ["a", "b"])


def test_a_second_rebalance_proposes_nothing():
    full = [ct(f"c{n}", 100 + n, memory=(n + 1) * 100 * MIB) for n in range(8)]
    fleet = cluster(node("n1", *full), node("n2", ct("y", 20)), node("n3"))
    end = after(fleet, rebalance(fleet, "-", POLICY, TERMS))
    assert rebalance(end, "-", POLICY, TERMS).moves == ()


def test_the_quick_gains_are_the_differences_of_the_score():
    rng = np.random.default_rng(7)
    nodes = [
        node(
            f"n{n}",
            *[
                ct(f"c{n}-{k}", 100 * n + k + 16, memory=int(rng.integers(1, 9)) * 64 * MIB, cpu_milli=100 * (k + 1))
                for k in range(int(rng.integers(0, 6)))
            ],
            memory=int(rng.integers(4, 9)) * GIB,
            cpu_milli=int(rng.integers(0, 3)) * 2000,
        )
        for n in range(6)
    ]
    spread = Spread(nodes)
    for source, there in enumerate(nodes):
        for container in there.containers:
            amount = np.array(amounts(container), np.int64)
            quick = spread.gains(amount[None, :], np.array([source]))[0]
            slow = [spread.gain_of([Change(amount, source, t)]) if t != source else 0.0 for t in range(len(nodes))]
            assert quick == pytest.approx(slow, abs=1e-9)
            assert spread.gains_of_one(amount, source) == pytest.approx(quick, abs=1e-9)
            there_and_back = np.arange(len(nodes))
            pairs = spread.pair_gains(np.tile(amount, (len(nodes), 1)), np.full(len(nodes), source), there_and_back)
            assert np.delete(pairs, source) == pytest.approx(np.delete(slow, source), abs=1e-9)
    assert spread.score == Spread(nodes).score


def test_the_score_is_lower_the_more_even_a_fleet_is():
    even = Spread([node("n1", ct("a"), ct("b")), node("n2", ct("c"), ct("d"))]).score
    uneven = Spread([node("n1", ct("a"), ct("b"), ct("c")), node("n2", ct("d"))]).score
    worst = Spread([node("n1", ct("a"), ct("b"), ct("c"), ct("d")), node("n2")]).score
    assert even < uneven < worst
    assert Spread([]).score == 0.0


def test_the_end_state_of_a_plan_has_what_came_and_not_what_went():
    fleet = cluster(node("n1", ct("a"), ct("b")), node("n2"))
    end = after(fleet, rebalance(fleet, "-", POLICY, TERMS))
    assert [c.name for n in end.nodes for c in n.containers] == ["b", "a"]
    assert end.node("n2").container("a") == replace(ct("a"), generation=3)
    assert end.node("n2").memory_available_bytes == 8 * GIB - 100 * MIB
    assert end.node("n1").disk_available_bytes == 100 * GIB + 50 * MIB
