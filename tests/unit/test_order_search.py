"""Orders of moves: never later than largest first, everything moved once, and links shared by tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from migrator.demo.fleets import fleet_text
from migrator.inventory import ganeti
from migrator.model.facts import Cluster, Link, SharedLink
from migrator.model.plan import PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Way
from migrator.planner import order_search
from migrator.planner.graph import SWITCH, capacity_graph, rooms, speeds_of, ways_of
from migrator.planner.order_search import Track, order_of
from migrator.planner.ordering import Leg, sequence, waits
from migrator.planner.placement import Mover
from migrator.planner.schedule import timeline
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


@pytest.mark.parametrize("sizes", [1, 60], ids=["equal", "different"])
def test_a_dense_source_is_looked_at_in_few_orders(sizes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [ct(f"a{n}", 100 + n, memory=GIB, anon_bytes=GIB // 8 + 2**20 * (n * 7 % sizes)) for n in range(60)]
    targets = [f"n{n}" for n in range(1, 5)]
    empty = [node(name, memory=256 * GIB, cpu_milli=640_000, link=GBIT) for name in targets]
    fleet = cluster(node("n0", *many, memory=256 * GIB, cpu_milli=640_000, link=GBIT), *empty)
    made, played = list[int](), list[int]()

    def counted(legs: Sequence[Leg], *more: Any, **named: Any) -> Any:
        made.append(len(legs))
        return sequence(legs, *more, **named)

    def timed(moves: Sequence[PlannedMove], *more: Any) -> Any:
        played.append(len(moves))
        return timeline(moves, *more)

    monkeypatch.setattr(order_search, "sequence", counted)
    monkeypatch.setattr(order_search, "timeline", timed)
    legs = legs_of(fleet, "n0", targets)
    assert order_of(legs, track(fleet, legs))[1] == ()
    assert len(made) <= order_search.LOOKS_MIN + order_search.LOOKS_PER_TRY * order_search.TRIES_MIN
    assert len(played) <= order_search.PLAYS_PER_MOVE + 4  # some by rule, and the whole once more


def test_a_move_waits_for_no_more_than_makes_every_moment_fit() -> None:
    """Four that leave a node which has room for the images of one at first, in the order in which they end."""
    large = [ct(f"a{n}", 100 + n, memory=GIB, anon_bytes=GIB) for n in range(4)]
    full = replace(node("n0", *large, memory=256 * GIB, link=GBIT), memory_available_bytes=int(1.5 * GIB))
    fleet = cluster(full, node("n1", memory=256 * GIB, link=GBIT))
    legs = legs_of(fleet, "n0", ["n1"], "images")
    assert waits(legs, rooms(capacity_graph(fleet, POLICY)), 4) == {
        "a0": (),
        "a1": ("a0",),
        "a2": ("a0",),
        "a3": ("a1", "a2"),
    }
