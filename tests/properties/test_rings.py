"""Rings of full nodes are turned if they can be, with at most one move more than the fewest, and nothing overfull."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.inventory import plan_file
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, PlannedMove, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Crowd, Fence, Lonely, Rule, Spread
from migrator.model.what_if import after
from migrator.planner.company import Company
from migrator.planner.graph import capacity_graph, rooms
from migrator.planner.more_room import Ask, what_would_do
from migrator.planner.moves import move, way_back
from migrator.planner.ordering import Leg
from migrator.planner.placement import Mover
from migrator.planner.rings import untangle
from migrator.planner.stop_overs import Ground
from tests.properties.fleets import GIB, MIB, UNIT, cluster, ct, named, node
from tests.properties.oracle import carry_out, least_moves

some = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
POLICY = PlanPolicy(headroom_percent=0)
FULL = 450 * MIB  # room for one container of 256 MiB and its images, and for no second one
Wishes = dict[str, str]


def ring(size: int, name: str = "r", first: int = 0, **facts: Any) -> tuple[list[Any], Wishes]:
    """Full nodes, each with one container that is wished on the next node."""
    nodes = [node(f"{name}{i}", ct(f"{name}-{i}", 100 + first + i, **facts), memory=FULL) for i in range(size)]
    return nodes, {f"{name}-{i}": f"{name}{(i + 1) % size}" for i in range(size)}


def planned(fleet: Cluster, wishes: Wishes, policy: PlanPolicy = POLICY) -> Plan:
    made = move(fleet, wishes, "-", policy, named(wishes))
    assert isinstance(made, Plan), made
    assert check(fleet, made, policy) == ()
    end = after(fleet, made)
    assert all(end.node(goal).container(name) for name, goal in wishes.items())
    return made


@pytest.mark.parametrize("size", range(2, 21))
def test_a_ring_of_full_nodes_with_one_free_takes_one_move_more_than_it_has_containers(size: int) -> None:
    nodes, wishes = ring(size)
    made = planned(cluster(*nodes, node("free", memory=FULL)), wishes)
    assert len(made.moves) == size + 1


def test_several_rings_take_turns_on_one_free_node_with_one_move_more_each() -> None:
    nodes: list[Any] = []
    wishes: Wishes = {}
    for number, size in enumerate((2, 3, 5, 8)):
        more, wished = ring(size, "abcd"[number], 20 * number)
        nodes, wishes = nodes + more, wishes | wished
    made = planned(cluster(*nodes, node("free", memory=FULL)), wishes)
    assert len(made.moves) == 2 + 3 + 5 + 8 + 4
    assert {m.target for m in made.moves if m.container + "#2" in {o.name for o in made.moves} and m.leg == 1} == {
        "free"
    }


def test_rings_that_could_be_turned_at_one_time_are_put_aside_on_different_nodes() -> None:
    nodes, wishes = ring(2, "a")
    more, wished = ring(2, "b", 20)
    fleet = cluster(*nodes, *more, node("f1", memory=FULL), node("f2", memory=FULL))
    made = planned(fleet, wishes | wished)
    assert {m.target for m in made.moves if m.target.startswith("f")} == {"f1", "f2"}
    assert made.makespan_s < 2 * planned(cluster(*nodes, node("f1", memory=FULL)), wishes).makespan_s


def test_the_cheapest_of_a_ring_is_put_aside() -> None:
    nodes, wishes = ring(3)
    small = ct("r-1", 101, anon_bytes=10 * MIB)
    fleet = cluster(nodes[0], node("r1", small, memory=FULL), nodes[2], node("free", memory=FULL))
    assert [m.name for m in planned(fleet, wishes).moves if m.target == "free"] == ["r-1"]


def test_where_all_that_is_to_come_never_fits_no_stop_over_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*_: object) -> None:
        raise AssertionError("a search")

    monkeypatch.setattr("migrator.planner.rings._search", looked)
    monkeypatch.setattr("migrator.planner.rings._by_steps", looked)
    full = [node(f"n{n}", ct(f"c{n}", 100 + n, memory=(2 + n) * GIB), memory=(2 + n) * GIB) for n in range(2)]
    made = move(cluster(*full, node("n2", memory=64 * GIB)), {"c0": "n1", "c1": "n0"}, "-", POLICY, "move")
    assert isinstance(made, Refusal)


def test_no_room_anywhere_is_refused_with_the_room_that_would_do() -> None:
    nodes, wishes = ring(3)
    made = move(cluster(*nodes, node("small", memory=300 * MIB)), wishes, "-", POLICY, named(wishes))
    assert isinstance(made, Refusal)
    assert [str(reason) for reason in made.reasons] == [
        "r-0, r-1, r-2 wait for each other's room, and no node has room to put one of them aside"
    ]
    assert made.change == "with 120.0 MiB more memory on small"


def test_nobody_is_put_aside_where_a_rule_a_group_or_its_machine_forbids_it() -> None:
    nodes, wishes = ring(2, labels={"app": "db"})
    free = node("free", memory=FULL, labels={"rack": "x"})
    for rules in ((Ban("app=db", ("free",)),), (Fence("app=db", ("r0", "r1")),), (Crowd(0, ("rack=x",)),)):
        assert not isinstance(move(cluster(*nodes, free), wishes, "-", replace(POLICY, rules=rules), "move"), Plan)
    racked = [replace(n, labels={"rack": "y"}) for n in nodes]
    one = replace(POLICY, rules=(Ban("r-0", ("free",)), Spread("app", "rack", 2)))
    made = planned(cluster(*racked, free), wishes, one)
    assert [m.name for m in made.moves if m.target == "free"] == ["r-1"]
    for closed in ({"cordon": "operator"}, {"error": "no answer"}, {"criu": "3.19"}):
        fleet = cluster(*nodes, node("free", memory=FULL, **closed))
        assert not isinstance(move(fleet, wishes, "-", POLICY, named(wishes)), Plan)


@pytest.mark.parametrize(
    ("rule", "size"),
    [
        *(
            (rule, size)
            for rule in (Spread("app", "rack", 1), Spread("app", "name", 1), Crowd(1))
            for size in (2, 3, 6)
        ),
        (Lonely("r-0"), 2),
        (Crowd(1, ("r0", "r1")), 2),
    ],
)
def test_a_ring_that_a_rule_makes_is_turned_over_a_third_node(rule: Rule, size: int) -> None:
    nodes = [node(f"r{i}", ct(f"r-{i}", 100 + i, labels={"app": "web"}), labels={"rack": f"k{i}"}) for i in range(size)]
    wishes = {f"r-{i}": f"r{(i + 1) % size}" for i in range(size)}
    policy = replace(POLICY, rules=(rule,))
    made = planned(cluster(*nodes, node("free", labels={"rack": "x"})), wishes, policy)
    assert len(made.moves) == size + 1
    refused = move(cluster(*nodes), wishes, "-", policy, named(wishes))
    assert isinstance(refused, Refusal)
    assert {f"rule {rule.rule}: others have to leave first" in str(s.reasons[0]) for s in refused.containers} >= {True}


def test_who_leaves_gives_up_its_seat_to_one_that_waits_for_it() -> None:
    web = {"labels": {"app": "web"}}
    fleet = cluster(
        node("a1", ct("w1", 20, **web), labels={"rack": "A"}),
        node("b1", ct("w2", 21, **web), labels={"rack": "B"}),
        node("c1", labels={"rack": "C"}),
    )
    made = planned(fleet, {"w1": "b1", "w2": "c1"}, replace(POLICY, rules=(Spread("app", "rack", 1),)))
    assert {m.container: m.waits_for for m in made.moves} == {"w1": ("w2",), "w2": ()}
    free = planned(fleet, {"w1": "b1", "w2": "c1"}, replace(POLICY, rules=(Spread("app", "rack", 2),)))
    assert [m.waits_for for m in free.moves] == [(), ()]


@st.composite
def ruled(draw: st.DrawFn) -> tuple[Cluster, Wishes, PlanPolicy]:
    """A few nodes in three racks, any containers on them, any of them wished elsewhere."""
    count, wishes = draw(st.integers(3, 5)), Wishes()
    nodes = []
    for i in range(count):
        held = []
        for k in range(draw(st.integers(0, 3))):
            held.append(ct(f"c{i}-{k}", 20 + 10 * i + k, {"app": draw(st.sampled_from(["web", "db"]))}))
            if draw(st.booleans()):
                wishes[held[-1].name] = f"n{draw(st.integers(0, count - 1))}"
        nodes.append(node(f"n{i}", *held, labels={"rack": f"r{i % 3}"}))
    kinds = st.sampled_from(
        [Spread("app", "rack", 1), Spread("app", "rack", 2), Crowd(2), Crowd(3), Lonely("c0-0"), Lonely("app=db")]
    )
    rules = draw(st.lists(kinds, min_size=1, max_size=2, unique=True))
    return cluster(*nodes), wishes, replace(POLICY, rules=tuple(rules), moves_per_node_max=draw(st.integers(1, 3)))


@some
@given(ruled())
def test_moves_by_name_hold_the_rules_at_every_moment(drawn: tuple[Cluster, Wishes, PlanPolicy]) -> None:
    fleet, wishes, policy = drawn
    made = move(fleet, wishes, "-", policy, named(wishes))
    event(f"{type(made).__name__}, waits: {isinstance(made, Plan) and any(m.waits_for for m in made.moves)}")
    if isinstance(made, Plan):
        assert check(fleet, made, policy) == ()


def test_a_group_is_kept_apart_at_a_stop_over_too() -> None:
    apart = {"labels": {"anti-affinity": "g"}}
    nodes = [node("r0", ct("r-0", 100, **apart), memory=FULL), node("r1", ct("r-1", 101), memory=FULL)]
    free = node("free", ct("x", 300, **apart), memory=2 * FULL)
    made = planned(cluster(*nodes, free), {"r-0": "r1", "r-1": "r0"})
    assert [m.name for m in made.moves if m.target == "free"] == ["r-1"]


def test_a_large_one_and_two_small_ones_change_places_though_only_the_small_ones_can_be_put_aside() -> None:
    large = node("n1", ct("a", 100, memory=512 * MIB, anon_bytes=0), memory=512 * MIB + UNIT)
    small = [ct(f"b{i}", 101 + i, memory=256 * MIB, anon_bytes=0) for i in range(2)]
    fleet = cluster(
        large, node("n2", *small, memory=512 * MIB + UNIT), node("n3", memory=400 * MIB), node("n4", memory=400 * MIB)
    )
    made = planned(fleet, {"a": "n2", "b0": "n1", "b1": "n1"})
    assert len(made.moves) == 5


@st.composite
def tight(draw: st.DrawFn) -> tuple[Cluster, Wishes, PlanPolicy]:
    """Two to four nodes with hardly any room, up to five containers that are wished elsewhere, perhaps a rule."""
    made = []
    count = draw(st.integers(2, 4))
    number = 0
    held: list[list[ContainerFacts]] = []
    for _ in range(count):
        here = []
        for _ in range(draw(st.integers(0, 2))):
            group = draw(st.sampled_from(["", "", "", "a"]))
            labels = {"anti-affinity": group} if group else {}
            size = draw(st.integers(1, 3)) * UNIT
            here.append(ct(f"c{number}", 100 + number, labels=labels, memory=size, anon_bytes=0))
            number += 1
        held.append(here)
    for index, here in enumerate(held):
        used = sum(c.reserved.memory_bytes for c in here)
        room = draw(st.integers(0, 3)) * UNIT
        made.append(node(f"n{index}", *here, memory=max(used, UNIT) + room))
    names = [c.name for here in held for c in here]
    wishes = {}
    for name in names[:5]:
        if draw(st.integers(0, 3)):
            wishes[name] = f"n{draw(st.integers(0, count - 1))}"
    rules = (Ban(draw(st.sampled_from(names)), ("n0",)),) if names and draw(st.booleans()) else ()
    return cluster(*made), wishes, replace(POLICY, rules=rules, moves_per_node_max=draw(st.integers(1, 3)))


@st.composite
def full_rings(draw: st.DrawFn) -> tuple[Cluster, Wishes, PlanPolicy]:
    """Two or three nodes that give all they have to the next one, with hardly the room for that, and one beside."""
    count = draw(st.integers(2, 3))
    most = 2 if count == 2 else 1
    held = [
        [
            ct(f"c{i}-{j}", 100 + 10 * i + j, memory=draw(st.integers(1, 3)) * UNIT, anon_bytes=0)
            for j in range(draw(st.integers(1, most)))
        ]
        for i in range(count)
    ]
    sizes = [sum(c.reserved.memory_bytes for c in here) for here in held]
    made = [
        node(f"n{i}", *here, memory=max(sizes[i], sizes[i - 1]) + draw(st.integers(1, 2)) * UNIT)
        for i, here in enumerate(held)
    ]
    aside = [node(f"x{i}", memory=draw(st.integers(1, 5)) * UNIT) for i in range(draw(st.integers(1, 2)))]
    wishes = {c.name: f"n{(i + 1) % count}" for i, here in enumerate(held) for c in here if draw(st.integers(0, 9))}
    return cluster(*made, *aside), wishes, replace(POLICY, moves_per_node_max=draw(st.integers(1, 3)))


crowded = st.one_of(tight(), full_rings(), full_rings())


@settings(some, max_examples=600)
@given(crowded)
def test_on_small_fleets_a_plan_is_found_exactly_if_there_is_one_and_has_at_most_one_move_more_than_the_fewest(
    drawn: tuple[Cluster, Wishes, PlanPolicy],
) -> None:
    fleet, wishes, policy = drawn
    least = least_moves(fleet, wishes, policy)
    made = move(fleet, wishes, "-", policy, named(wishes))
    moved = sum(not fleet.node(goal).container(name) for name, goal in wishes.items())
    event(f"{type(made).__name__}, more moves than containers: {(least or 0) - moved if least is not None else '-'}")
    assert isinstance(made, Plan) == (least is not None)
    if isinstance(made, Plan) and least is not None:
        assert least <= len(made.moves) <= least + 1
        assert check(fleet, made, policy) == ()


@some
@given(crowded, st.data())
def test_however_a_plan_with_stop_overs_is_run_everything_fits_and_it_can_be_planned_back(
    drawn: tuple[Cluster, Wishes, PlanPolicy], data: st.DataObject
) -> None:
    fleet, wishes, policy = drawn
    made = move(fleet, wishes, "-", policy, named(wishes))
    if not isinstance(made, Plan):
        return
    event(f"stop-overs: {max((m.leg for m in made.moves), default=1)}")
    end = carry_out(fleet, made, lambda count: data.draw(st.integers(0, count - 1)))
    assert isinstance(end, Cluster), end
    assert all(end.node(goal).container(name) for name, goal in wishes.items())
    assert plan_file.parse(plan_file.dump(made), "x.json") == made
    back, notes = way_back(after(fleet, made), [(m.container, m.source, m.target) for m in made.moves])
    assert notes == ()
    assert back == {name: way[0].source for name, way in made.ways().items()}


def asked(fleet: Cluster, wishes: Wishes, policy: PlanPolicy) -> tuple[list[Leg], Ground]:
    homes = {c.name: Mover(c, c.descriptor, n) for n in fleet.nodes for c in n.containers if c.descriptor}
    away = [homes[name] for name, goal in sorted(wishes.items()) if homes[name].source.name != goal]
    nodes = {n.name: n for n in fleet.nodes}
    ways = {m.name: policy.way(m.source, nodes[wishes[m.name]]) for m in away}
    legs = [
        Leg(m, wishes[m.name], ways[m.name], Company().apart(m, policy)) for m in sorted(away, key=lambda m: m.turn)
    ]
    return legs, Ground(fleet, policy, rooms(capacity_graph(fleet, policy)), legs)


def grow(here: NodeFacts, ask: Ask, policy: PlanPolicy) -> NodeFacts:
    return replace(
        here,
        capacity=here.capacity + ask.capacity(policy),
        memory_available_bytes=here.memory_available_bytes + ask.more.measured.memory_bytes,
        disk_available_bytes=here.disk_available_bytes + ask.more.measured.disk_bytes,
    )


@settings(some, max_examples=300)
@given(crowded)
def test_the_room_that_would_do_does(drawn: tuple[Cluster, Wishes, PlanPolicy]) -> None:
    fleet, wishes, policy = drawn
    policy = replace(policy, headroom_percent=7)
    made = move(fleet, wishes, "-", policy, named(wishes))
    if isinstance(made, Plan) or not made.reasons:
        return
    event(f"told: {made.change != ''}")
    legs, ground = asked(fleet, wishes, policy)
    ask = what_would_do(*untangle(legs, ground), ground)
    if ask is not None:
        grown = [grow(n, ask, policy) if n.name == ask.node else n for n in fleet.nodes]
        assert isinstance(move(Cluster("test", tuple(grown)), wishes, "-", policy, named(wishes)), Plan)


@st.composite
def turned(draw: st.DrawFn) -> tuple[Cluster, Plan]:
    """A ring with room for one aside, and its plan."""
    nodes, wishes = ring(draw(st.integers(2, 5)), anon_bytes=draw(st.integers(0, 100)) * MIB)
    fleet = cluster(*nodes, node("free", memory=FULL))
    return fleet, planned(fleet, wishes)


def _of_the_stop(plan: Plan) -> tuple[PlannedMove, PlannedMove]:
    second = next(m for m in plan.moves if m.leg == 2)
    return plan.move(second.container), second


@some
@given(turned(), st.data())
def test_a_ring_with_a_planted_fault_is_found(drawn: tuple[Cluster, Plan], data: st.DataObject) -> None:
    fleet, plan = drawn
    first, second = _of_the_stop(plan)
    other = next(m for m in plan.moves if m.container != first.container)
    others = [m for m in plan.moves if m.name not in (first.name, second.name)]

    def with_second(**fields: Any) -> tuple[PlannedMove, ...]:
        return (first, *others, replace(second, **fields))

    broken, code = data.draw(
        st.sampled_from(
            [
                (with_second(waits_for=()), Code.BROKEN_WAY),
                (with_second(source=first.source), Code.BROKEN_WAY),
                (with_second(leg=3), Code.BROKEN_WAY),
                ((*others, second), Code.WAITS_UNKNOWN),
                ((first, second, *others, second), Code.DUPLICATE_MOVE),
                (with_second(waits_for=(first.name,)), Code.IMAGES_DO_NOT_FIT),
                (with_second(generation=first.generation + 1), Code.GENERATION_CHANGED),
                (
                    (first, *(replace(m, waits_for=(second.name,)) if m is other else m for m in others), second),
                    Code.WAITS_CYCLE,
                ),
            ]
        )
    )
    found = {finding.code for finding in check(fleet, replace(plan, moves=broken), POLICY)}
    assert code in found or (code is Code.IMAGES_DO_NOT_FIT and Code.OVER_LIMITS in found)
    full = tuple(
        replace(n, containers=(*n.containers, ct("guest", 900))) if n.name == "free" else n for n in fleet.nodes
    )
    assert {f.code for f in check(Cluster(fleet.name, full), plan, POLICY)} & {Code.OVER_LIMITS, Code.IMAGES_DO_NOT_FIT}


def test_one_that_was_named_to_stay_steps_aside_and_comes_back_where_nothing_else_does() -> None:
    def of(name: str, index: int, memory: int) -> ContainerFacts:
        return ct(name, index, memory=memory * 1024 * MIB, anon_bytes=MIB, cpu_milli=1, disk=MIB, files_bytes=0)

    fleet = cluster(
        node("n0", of("c0", 20, 1), of("c1", 21, 1), of("c2", 22, 2), memory=6 * 1024 * MIB + 400 * MIB),
        node("n1", of("c3", 23, 3), memory=4 * 1024 * MIB + 400 * MIB),
    )
    policy = PlanPolicy(headroom_percent=0)
    wishes = {"c0": "n0", "c1": "n0", "c2": "n1", "c3": "n0"}
    made = move(fleet, wishes, "-", policy, named(wishes))
    assert isinstance(made, Plan)
    assert check(fleet, made, policy) == ()
    assert [(m.name, m.target) for m in made.moves] == [("c0", "n1"), ("c3", "n0"), ("c2", "n1"), ("c0#2", "n0")]
