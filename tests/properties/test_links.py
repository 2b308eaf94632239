"""Links that nodes share: moves go through them, share them, and keep their limits however the plan is carried out."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.inventory import snapshot
from migrator.model.facts import Cluster, Link, SharedLink
from migrator.model.links import tangled
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.model.what_if import with_nodes
from migrator.planner.drain import drain
from migrator.planner.graph import capacity_graph, speeds_of, ways_of
from migrator.planner.look import spans
from tests.properties.fleets import GIB, MIB, cluster, ct, node
from tests.properties.oracle import moments

MB = 1_000_000
POLICY = PlanPolicy(headroom_percent=0, moves_per_node_max=4)


@st.composite
def racks(draw: st.DrawFn) -> Cluster:
    """Two racks in a row of racks, and nodes elsewhere; n0 and n1 are to be emptied."""
    number, nodes = 0, []
    for index in range(draw(st.integers(5, 8))):
        held = []
        for _ in range(draw(st.integers(1, 4)) if index < 2 else 0):
            memory = draw(st.integers(4, 60)) * 8 * MIB
            held.append(
                ct(f"c{number}", 100 + number, anon_bytes=memory, files_bytes=draw(st.integers(0, 9)) * 30 * MIB)
            )
            number += 1
        nodes.append(node(f"n{index}", *held, link=Link(125 * MB, 125 * MB)))
    links = (
        SharedLink(
            "r1", ("n0", "n2"), draw(st.sampled_from([None, 50 * MB])), None, draw(st.sampled_from([None, 1, 2]))
        ),
        SharedLink(
            "r2", ("n1", "n3"), 100 * MB, draw(st.sampled_from([None, 20 * MB])), draw(st.sampled_from([None, 1]))
        ),
        SharedLink("row", ("n0", "n1", "n2", "n3"), 80 * MB, 80 * MB, draw(st.sampled_from([None, 2, 3]))),
    )
    fleet = cluster(*nodes)
    return Cluster(fleet.name, fleet.nodes, tuple(draw(st.permutations(links))))


def crossing(fleet: Cluster, plan: Plan, link: SharedLink) -> list[str]:
    return [m.container for m in plan.moves if (m.source in link.nodes) != (m.target in link.nodes)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(racks(), st.data())
def test_a_drain_keeps_the_limits_of_its_links_in_whatever_order_its_moves_end(
    fleet: Cluster, data: st.DataObject
) -> None:
    made = drain(fleet, ["n0", "n1"], "-", POLICY)
    assert isinstance(made, Plan)
    assert check(fleet, made, POLICY) == ()
    for under_way, _ in moments(made, lambda count: data.draw(st.integers(0, count - 1))):
        for link in fleet.links:
            there = set(crossing(fleet, made, link)) & {move.container for move in under_way}
            assert link.moves_max is None or len(there) <= link.moves_max


@settings(max_examples=60, deadline=None, derandomize=True)
@given(racks())
def test_no_link_carries_more_than_its_speed_and_the_bound_counts_it(fleet: Cluster) -> None:
    made = drain(fleet, ["n0", "n1"], "-", POLICY)
    assert isinstance(made, Plan)
    when = spans(fleet, made)
    sizes = {move.container: move.estimate.bytes for move in made.moves}
    for link in fleet.links:
        for nodes, speed in ((True, link.up_bytes_per_s), (False, link.down_bytes_per_s)):
            names = [
                m.container
                for m in made.moves
                if (m.source in link.nodes, m.target in link.nodes) == (nodes, not nodes)
            ]
            if not names or speed is None:
                continue
            needed_s = sum(sizes[name] for name in names) / speed
            assert made.makespan_bound_s >= needed_s - 0.001
            assert max(when[n].end_s for n in names) - min(when[n].start_s for n in names) >= needed_s - 0.001
    assert made.makespan_s >= made.makespan_bound_s


def links_of(fleet: Cluster, source: str, target: str) -> set[tuple[str, bool]]:
    """The links that a move takes, by name, and whether outwards."""
    shared = {
        (link.name, source in link.nodes) for link in fleet.links if (source in link.nodes) != (target in link.nodes)
    }
    return shared | {(source, True), (target, False)}


def overlaps(fleet: Cluster, plan: Plan) -> bool:
    """Whether any two are predicted to be paused on one link at one time."""
    return any(
        a.pause.start_s < b.pause.end_s - 0.002
        and b.pause.start_s < a.pause.end_s - 0.002
        and links_of(fleet, a.source, a.target) & links_of(fleet, b.source, b.target)
        for a, b in combinations(plan.moves, 2)
        if a.pause and b.pause
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(racks())
def test_pauses_on_one_link_are_planned_one_after_the_other_unless_asked(fleet: Cluster) -> None:
    made, asked = (drain(fleet, ["n0", "n1"], "-", replace(POLICY, overlapping_pauses=o)) for o in (False, True))
    assert isinstance(made, Plan)
    assert isinstance(asked, Plan)
    assert all(move.pause for move in (*made.moves, *asked.moves))
    assert not overlaps(fleet, made)
    assert check(fleet, made, made.policy) == check(fleet, asked, asked.policy) == ()
    found = {finding.code for finding in check(fleet, replace(asked, policy=POLICY), POLICY)}
    assert (Code.PAUSES_OVERLAP in found) == overlaps(fleet, asked)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(racks())
def test_pauses_told_for_one_time_on_an_uplink_that_nodes_share_are_found(fleet: Cluster) -> None:
    made = drain(fleet, ["n0", "n1"], "-", POLICY)
    assert isinstance(made, Plan)
    crossed = {m.container for m in made.moves if len({m.source, m.target} & {"n0", "n1", "n2", "n3"}) == 1}
    pairs = [
        (a, b) for a, b in combinations(made.moves, 2) if a.source != b.source and {a.container, b.container} <= crossed
    ]
    for a, b in pairs:
        assert a.pause
        assert b.pause
        longer = max(a, b, key=lambda m: m.pause.end_s - m.pause.start_s if m.pause else 0.0)
        moves = tuple(replace(m, pause=longer.pause) if m in (a, b) else m for m in made.moves)
        told = [f.text for f in check(fleet, replace(made, moves=moves), POLICY) if f.code is Code.PAUSES_OVERLAP]
        assert any("link row, outwards" in text for text in told)


def test_files_cross_while_another_is_paused():
    held = [ct(f"c{i}", 20 + i, anon_bytes=2 * GIB, memory=2 * GIB, files_bytes=512 * MIB) for i in range(3)]
    fleet = cluster(node("n0", *held, memory=64 * GIB), node("n1", memory=64 * GIB))
    made = drain(fleet, ["n0"], "-", POLICY)
    assert isinstance(made, Plan)
    pauses_s = sum(move.estimate.blackout_s for move in made.moves)
    alone_s = sum(move.estimate.duration_s for move in made.moves)
    assert pauses_s < made.makespan_s < alone_s - 2  # only the first's files cross before the first pause


def test_a_way_goes_up_as_far_as_it_must_and_no_further():
    links = (SharedLink("r1", ("n0", "n1"), 5, 6), SharedLink("row", ("n0", "n1", "n2"), 7, 8))
    fleet = Cluster("x", cluster(*(node(f"n{i}") for i in range(4))).nodes, links)
    graph = capacity_graph(fleet, POLICY)
    ways = ways_of(graph, [("n0", "n1"), ("n0", "n2"), ("n3", "n0")])
    assert ways["n0", "n1"] == (("n0", "*r1"), ("*r1", "n1"))
    assert ways["n0", "n2"] == (("n0", "*r1"), ("*r1", "*row"), ("*row", "n2"))
    assert ways["n3", "n0"] == (("n3", "*"), ("*", "*row"), ("*row", "*r1"), ("*r1", "n0"))
    speeds = speeds_of(graph)
    assert [speeds[edge] for edge in (("*r1", "*row"), ("*row", "*r1"), ("*row", "*"), ("*", "*row"))] == [5, 6, 7, 8]


def test_moves_out_of_a_rack_share_its_uplink_and_moves_inside_it_do_not():
    held = [ct(f"c{i}", 20 + i, anon_bytes=512 * MIB, files_bytes=0) for i in range(2)]
    fleet = cluster(node("n0", held[0]), node("n1", held[1]), node("n2", memory=2 * GIB), node("n3", memory=2 * GIB))
    slow = Cluster(fleet.name, fleet.nodes, (SharedLink("r1", ("n0", "n1"), 50 * MB, 50 * MB),))
    free, shared = (drain(f, ["n0", "n1"], "-", POLICY) for f in (fleet, slow))
    assert isinstance(free, Plan)
    assert isinstance(shared, Plan)
    assert shared.makespan_bound_s == pytest.approx(2 * 512 * MIB / (50 * MB), abs=0.001)
    assert shared.makespan_s > free.makespan_s
    inside = Cluster(fleet.name, fleet.nodes, (SharedLink("r1", ("n0", "n1", "n2", "n3"), 1, 1),))
    within = drain(inside, ["n0", "n1"], "-", POLICY)
    assert isinstance(within, Plan)
    assert within.makespan_s == free.makespan_s


def test_a_node_more_is_behind_the_links_of_the_one_that_it_is_like():
    fleet = Cluster("x", cluster(node("n0"), node("n1")).nodes, (SharedLink("r1", ("n0",)),))
    assert with_nodes(fleet, [("n7", "n0"), ("n8", "n1")]).links == (SharedLink("r1", ("n0", "n7")),)


def test_a_snapshot_keeps_its_links_and_one_without_is_as_before(tmp_path):
    fleet = cluster(node("n0"), node("n1"))
    assert "links" not in str(snapshot.to_document(fleet))
    linked = Cluster(fleet.name, fleet.nodes, (SharedLink("r1", ("n0",), 5, None, 3),))
    snapshot.save(linked, tmp_path / "s.json")
    assert snapshot.load(tmp_path / "s.json") == linked
    assert snapshot.digest(linked) != snapshot.digest(fleet)


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ([("a", "n0 n1"), ("b", "n1 n2")], "n1 is behind 'a' and behind 'b', and neither is behind the other"),
        ([("a", "n0 n1"), ("b", "n1 n0")], "'b' and 'a' are of the same nodes"),
        ([("a", "n0"), ("a", "n1")], "'a' is the name of two links"),
        ([("a", "n0 n1"), ("b", "n1"), ("c", "n2")], ""),
    ],
)
def test_links_that_are_no_tree_are_told(links: list[tuple[str, str]], said: str):
    assert tangled([SharedLink(name, tuple(nodes.split())) for name, nodes in links]) == said


@settings(max_examples=60, deadline=None, derandomize=True)
@given(racks(), st.sampled_from([15.0, 4.0, 1.5]))
def test_every_estimate_is_of_the_slowest_link_and_none_is_over_the_limit(fleet: Cluster, limit_s: float) -> None:
    made = drain(fleet, ["n0", "n1"], "-", replace(POLICY, blackout_s_max=limit_s))
    for move in made.moves if isinstance(made, Plan) else ():
        speeds = [DEFAULT_RATES["stream"].send_bytes_per_s, 125 * MB]
        for link in fleet.links:
            inside = (move.source in link.nodes, move.target in link.nodes)
            speeds += [link.up_bytes_per_s or 10**12] if inside == (True, False) else []
            speeds += [link.down_bytes_per_s or 10**12] if inside == (False, True) else []
        sent_s = move.estimate.memory_bytes / min(speeds)
        assert move.estimate.blackout_s == pytest.approx(DEFAULT_RATES["stream"].pause_s + sent_s, abs=0.001)
        assert move.estimate.blackout_s <= limit_s
    if isinstance(made, Plan):
        assert check(fleet, made, made.policy) == ()
