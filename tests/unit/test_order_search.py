"""Orders of moves: never later than largest first, everything moved once, and links shared by tree."""

from __future__ import annotations

from dataclasses import replace

from migrator.demo.fleets import fleet_text
from migrator.inventory import ganeti
from migrator.model.facts import Cluster, Link, SharedLink
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Way
from migrator.planner.graph import SWITCH, capacity_graph, rooms, speeds_of, ways_of
from migrator.planner.order_search import Track, order_of
from migrator.planner.ordering import Leg, sequence
from migrator.planner.placement import Mover
from tests.properties.fleets import GIB, cluster, ct, node

POLICY = PlanPolicy(blackout_s_max=86_400)
GBIT = Link(125_000_000, 125_000_000)


def legs_of(fleet: Cluster, source: str, targets: list[str], way: Way = "stream") -> list[Leg]:
    home = fleet.node(source)
    movers = [Mover(c, c.descriptor, home) for c in home.containers if c.descriptor]
    return [Leg(mover, targets[number % len(targets)], way) for number, mover in enumerate(movers)]


def track(fleet: Cluster, legs: list[Leg]) -> Track:
    graph = capacity_graph(fleet, POLICY)
    ways = ways_of(graph, ((leg.source, leg.target) for leg in legs))
    return Track({n.name: n for n in fleet.nodes}, rooms(graph), ways, speeds_of(graph), POLICY)


def pairs() -> Cluster:
    """Four large containers of one size on one node: two at a time dump together, and then nobody sends."""
    large = [ct(f"a{n}", 100 + n, memory=8 * GIB, anon_bytes=8 * GIB) for n in range(4)]
    small = [ct(f"b{n}", 200 + n, memory=GIB, anon_bytes=GIB) for n in range(2)]
    empty = [node(f"n{n}", memory=256 * GIB, cpu_milli=64_000, link=GBIT) for n in range(1, 5)]
    return cluster(node("n0", *large, *small, memory=256 * GIB, cpu_milli=64_000, link=GBIT), *empty)


def test_an_order_moves_everything_once() -> None:
    fleet = pairs()
    legs = legs_of(fleet, "n0", ["n1", "n2", "n3", "n4"])
    order, blocked = order_of(legs, track(fleet, legs))
    assert (sorted(leg.name for leg in order), blocked) == (sorted(leg.name for leg in legs), ())


def test_moves_that_would_dump_together_are_set_apart() -> None:
    fleet = pairs()
    legs = legs_of(fleet, "n0", ["n1", "n2", "n3", "n4"], "images")
    on = track(fleet, legs)
    largest_first, _ = sequence(legs, on.rooms)
    order, _ = order_of(legs, on)
    assert on.ends_s(order)["n0"] < on.ends_s(largest_first)["n0"]


def test_an_order_is_never_later_than_largest_first() -> None:
    for seed in range(1, 6):
        fleet = ganeti.parse(fleet_text(20, 200, 1, seed), "made", GBIT)
        legs = legs_of(fleet, "n00000", [f"n{n:05d}" for n in range(1, 20)])
        on = track(fleet, legs)
        largest_first, blocked = sequence(legs, on.rooms)
        order, still_blocked = order_of(legs, on)
        assert blocked == still_blocked
        if not blocked:
            assert max(on.ends_s(order).values()) <= max(on.ends_s(largest_first).values())


def test_a_way_over_a_shared_link_turns_at_the_first_vertex_that_leads_down() -> None:
    fleet = cluster(node("n1"), node("n2"), node("n3"))
    graph = capacity_graph(replace(fleet, links=(SharedLink("rack", ("n1", "n2")),)), POLICY)
    ways = ways_of(graph, [("n1", "n2"), ("n1", "n3")])
    assert ways["n1", "n2"] == (("n1", "*rack"), ("*rack", "n2"))
    assert ways["n1", "n3"] == (("n1", "*rack"), ("*rack", SWITCH), (SWITCH, "n3"))
