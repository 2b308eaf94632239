"""Good plans, and for each thing that the checker can find a way to break one in just that way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.model.estimate import estimate_move
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources, SharedLink
from migrator.model.modes import Mode
from migrator.model.plan import Plan, PlannedMove, Span
from migrator.model.plan_policy import Headroom
from migrator.model.rates import DEFAULT_RATES
from migrator.model.rules import (
    Affinity,
    Ban,
    Budget,
    Crowd,
    DomainsMin,
    Fence,
    Lonely,
    Pin,
    Priority,
    Rule,
    Spread,
    SurviveLoss,
    Window,
)
from migrator.model.volume import Mounted, Volume
from migrator.planner.drain import drain
from tests.properties.fleets import GIB, MIB, cluster, ct, node, policies

Broken = tuple[Cluster, Plan]


@st.composite
def good(draw: st.DrawFn) -> tuple[Cluster, Plan, PlannedMove]:
    """A fleet with room for all, the plan that drains n0, and one of its moves."""
    leaving = [
        ct(
            f"c{i}",
            100 + i,
            labels={"anti-affinity": "a"} if i == 0 else {},
            memory=draw(st.integers(1, 8)) * 64 * MIB,
            anon_bytes=draw(st.integers(0, 60)) * MIB,
        )
        for i in range(draw(st.integers(2, 6)))
    ]
    others = [
        node(f"n{i}", ct(f"d{i}", 200 + i), memory=draw(st.integers(16, 64)) * GIB, cpu_milli=8000)
        for i in range(1, draw(st.integers(3, 5)))
    ]
    fleet = cluster(node("n0", *leaving), *others)
    policy = replace(draw(policies), blackout_s_max=15.0, headroom=Headroom())
    plan = drain(fleet, ["n0"], "-", policy)
    assert isinstance(plan, Plan)
    assert check(fleet, plan, policy) == ()
    return fleet, plan, draw(st.sampled_from(plan.moves))


def with_node(fleet: Cluster, name: str, **facts: Any) -> Cluster:
    return replace(fleet, nodes=tuple(replace(n, **facts) if n.name == name else n for n in fleet.nodes))


def with_container(fleet: Cluster, move: PlannedMove, **facts: Any) -> Cluster:
    """The fleet with other facts of the container that the move is of."""
    containers = fleet.node(move.source).containers
    changed = tuple(replace(c, **facts) if c.name == move.container else c for c in containers)
    return with_node(fleet, move.source, containers=changed)


def with_move(plan: Plan, move: PlannedMove, **fields: Any) -> Plan:
    return replace(plan, moves=tuple(replace(m, **fields) if m is move else m for m in plan.moves))


def with_guest(fleet: Cluster, name: str, guest: ContainerFacts) -> Cluster:
    return with_node(fleet, name, containers=(*fleet.node(name).containers, guest))


def source_of(fleet: Cluster, move: PlannedMove) -> ContainerFacts:
    found = fleet.node(move.source).container(move.container)
    assert found is not None
    return found


def target_of(fleet: Cluster, move: PlannedMove) -> NodeFacts:
    return fleet.node(move.target)


def another(plan: Plan, move: PlannedMove) -> PlannedMove:
    return next(other for other in plan.moves if other is not move)


def circle(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    other = another(plan, move)
    plan = with_move(plan, move, waits_for=(other.container,))
    return fleet, with_move(plan, other, waits_for=(move.container,))


def moved_meanwhile(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    found = source_of(fleet, move)
    rest = tuple(c for c in fleet.node(move.source).containers if c is not found)
    return with_guest(with_node(fleet, move.source, containers=rest), move.target, found), plan


def gone(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    rest = tuple(c for c in fleet.node(move.source).containers if c.name != move.container)
    return with_node(fleet, move.source, containers=rest), plan


def rival(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    first = plan.move("c0")
    return with_guest(fleet, first.target, ct("rival", 900, labels={"anti-affinity": "a"})), plan


def just_fits_without_images(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    target = target_of(fleet, move)
    coming = sum(m.demand.memory_bytes for m in plan.moves if m.target == move.target)
    whole = (target.reserved.memory_bytes + coming) * 100 // (100 - plan.policy.headroom_percent) + MIB
    return with_node(fleet, target.name, capacity=replace(target.capacity, memory_bytes=whole)), plan


def full(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    target = target_of(fleet, move)
    return with_guest(fleet, target.name, ct("big", 900, memory=target.room.memory_bytes)), plan


def under(*rules: Rule) -> Callable[[Cluster, Plan, PlannedMove], Broken]:
    """The plan as it is, under rules that it was not made for."""
    return lambda fleet, plan, move: (fleet, replace(plan, policy=replace(plan.policy, rules=rules)))


def on_another_storage(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """The container has a volume whose storage is not mounted where it goes."""
    descriptor = source_of(fleet, move).descriptor
    assert descriptor is not None
    fleet = with_container(fleet, move, descriptor=replace(descriptor, volumes=(Volume("data", "/srv/data"),)))
    return with_node(fleet, move.target, volumes={"data": Mounted("/mnt/data", "nothing is mounted there")}), plan


def without_its_device(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """The container has a device that the node does not have to which it goes."""
    descriptor = source_of(fleet, move).descriptor
    assert descriptor is not None
    fleet = with_container(fleet, move, descriptor=replace(descriptor, devices=("fuse",)))
    return with_node(fleet, move.target, devices=("tun",)), plan


def crowded_domain(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """One more of the first container's group is in the failure domain that it goes to."""
    first = plan.move("c0")
    other = next(n.name for n in fleet.nodes if n.name not in (first.source, first.target))
    for name in (first.target, other):
        fleet = with_node(fleet, name, labels={"rack": "r1"})
    fleet = with_guest(fleet, other, ct("rival", 900, labels={"anti-affinity": "a"}))
    return under(Spread("anti-affinity", "rack", 1))(fleet, plan, move)


def with_labels(fleet: Cluster, moves: tuple[PlannedMove, ...], labels: dict[str, str]) -> Cluster:
    """The fleet with these labels on the containers of these moves."""
    for move in moves:
        descriptor = source_of(fleet, move).descriptor
        assert descriptor is not None
        fleet = with_container(fleet, move, descriptor=replace(descriptor, labels=labels))
    return fleet


def parted(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """Two containers of one group, together on n0, that the plan takes to different nodes."""
    other = another(plan, move)
    fleet = with_labels(fleet, (move, other), {"pair": "p"})
    elsewhere = next(n.name for n in fleet.nodes if n.name not in (move.source, other.target))
    return under(Affinity("pair"))(fleet, with_move(plan, move, target=elsewhere), move)


def out_of_the_rack(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """A whole group that goes to one node, outside the rack that it may not leave at any moment."""
    fleet = with_labels(with_node(fleet, move.source, labels={"rack": "r0"}), (move,), {"pair": "p"})
    return under(Affinity("pair", "rack", continuous=True))(fleet, plan, move)


def crowded_at_the_end(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    return under(Crowd(1, continuous=False))(fleet, plan, move)


def crowded_domain_at_the_end(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    fleet, plan = crowded_domain(fleet, plan, move)
    return under(Spread("anti-affinity", "rack", 1, continuous=False))(fleet, plan, move)


def in_one_rack_only(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """Two of a service, in two racks at first, that come to one."""
    other = another(plan, move)
    elsewhere = next(n.name for n in fleet.nodes if n.name not in (move.source, move.target))
    found, racks = source_of(fleet, other), {move.source: "r0", elsewhere: "r1", move.target: "r2"}
    rest = tuple(c for c in fleet.node(move.source).containers if c is not found)
    fleet = with_guest(with_node(fleet, move.source, containers=rest), elsewhere, found)
    for name, rack in racks.items():
        fleet = with_node(fleet, name, labels={"rack": rack})
    plan = with_move(plan, other, source=elsewhere, target=move.target)
    pair = [m for m in plan.moves if m.container in (move.container, other.container)]
    return with_labels(fleet, tuple(pair), {"app": "web"}), plan


def too_few_racks_at_the_end(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    fleet, plan = in_one_rack_only(fleet, plan, move)
    return under(DomainsMin("app", "rack", 2, continuous=False))(fleet, plan, move)


def too_few_racks_on_the_way(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """One of a service comes to the rack of another before that one has left it: in between both are in one."""
    fleet, plan = in_one_rack_only(fleet, plan, move)
    other = next(m for m in plan.moves if m.target == move.target and m.source != move.source)
    plan = with_move(plan, other, target=move.source, waits_for=())
    return under(DomainsMin("app", "rack", 2))(fleet, replace(plan, empties=()), move)


def silence(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """A soft rule that is broken, in a plan that does not say so."""
    return under(Ban(move.container, (move.target,), soft=True))(fleet, plan, move)


def hardly_room(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """All but n0, which is emptied, have just the room for what the plan brings; so a loss is survived before only."""
    for n in fleet.nodes:
        coming = sum(m.demand.memory_bytes for m in plan.moves if m.target == n.name)
        whole = n.reserved.memory_bytes + coming + MIB if n.name != move.source else 1024 * GIB
        fleet = with_node(fleet, n.name, capacity=replace(n.capacity, memory_bytes=whole, cpu_milli=90_000))
    return under(SurviveLoss())(fleet, plan, move)


def useless_refuge(why: str) -> Callable[[Cluster, Plan, PlannedMove], Broken]:
    """The same beside an empty node with room for everything, on which no container may be."""

    def break_it(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
        fleet, plan = hardly_room(fleet, plan, move)
        facts: dict[str, Any] = {"memory": 4096 * GIB, "cpu_milli": 900_000, "disk": 90_000 * GIB}
        rules = plan.policy.rules
        containers = [c.name for n in fleet.nodes for c in n.containers]
        match why:
            case "machine":
                facts["arch"] = "aarch64"
            case "ban":
                rules += tuple(Ban(name, ("huge",)) for name in containers)
            case "fence":
                rules += tuple(Fence(name, tuple(n.name for n in fleet.nodes)) for name in containers)
            case "pin":
                rules += tuple(Pin(name) for name in containers if all(m.container != name for m in plan.moves))
                rules += tuple(Ban(m.container, ("huge",)) for m in plan.moves)
            case "cordon":
                facts["cordon"] = "operator"
        huge = node("huge", **facts)
        return replace(fleet, nodes=(*fleet.nodes, huge)), replace(plan, policy=replace(plan.policy, rules=rules))

    return break_it


def all_at_once(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """Two of a service, of which one may be in motion at a time, and neither waits."""
    other = another(plan, move)
    fleet = with_labels(fleet, (move, other), {"app": "web"})
    plan = replace(plan, moves=tuple(replace(m, waits_for=()) for m in plan.moves))
    return under(Budget("app", 1))(fleet, plan, move)


def full_but_for_a_headroom(resource: str) -> Callable[[Cluster, Plan, PlannedMove], Broken]:
    """A target that has room for what comes, and not for the headroom of one resource beside it."""

    def break_it(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
        target = target_of(fleet, move)
        held = target.reserved
        for other in plan.moves:
            if other.target == move.target:
                held = held + other.demand
        exact = {"cpu": "cpu_milli", "memory": "memory_bytes", "disk": "disk_bytes"}[resource]
        whole = replace(target.capacity, **{exact: getattr(held, exact)})
        free = replace(plan.policy, headroom_percent=0, headroom=Headroom(**{resource: 1}))
        return with_node(fleet, target.name, capacity=whole), replace(plan, policy=free)

    return break_it


def overtaken(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """The last of the moves is of a higher level, and waits for nobody."""
    moves = tuple(replace(m, waits_for=()) for m in plan.moves)
    return under(Priority(moves[-1].container, 5))(fleet, replace(plan, moves=moves), move)


def all_over_one_link(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """Two moves out of a rack over whose uplink one may go at a time, and neither waits."""
    plan = replace(plan, moves=tuple(replace(m, waits_for=()) for m in plan.moves))
    return replace(fleet, links=(SharedLink("r1", (move.source,), moves_max=1),)), plan


def paused_together(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """Two moves over the source's one link whose pauses are told for one time."""
    other, policy = another(plan, move), replace(plan.policy, overlapping_pauses=False)
    longer = max((move, other), key=lambda m: m.estimate.blackout_s)
    plan = with_move(with_move(plan, move, pause=longer.pause), other, pause=longer.pause)
    return fleet, replace(plan, policy=policy)


def too_short_a_pause(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    assert move.pause is not None
    start_s = move.pause.start_s
    return fleet, with_move(plan, move, pause=Span(start_s, start_s + move.estimate.blackout_s - 0.01))


def pause_after_the_end(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    return fleet, with_move(plan, move, pause=Span(plan.makespan_s, plan.makespan_s + move.estimate.blackout_s))


def paused_before_what_it_waits_for(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    other = another(plan, move)
    return fleet, with_move(plan, move, waits_for=(other.name,), pause=other.pause)


def at_noon(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """A container that may be moved at night, in a plan that starts at noon and does not wait."""
    fleet, plan = under(Window(move.container, ("22:00-04:00",)))(fleet, with_move(plan, move, start_s=0.0), move)
    return fleet, replace(plan, policy=replace(plan.policy, start="2026-03-02T12:00:00+00:00"))


def in_time_by_its_own_words_alone(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """A window of a minute, and a container whose memory alone takes longer, whatever the plan tells of it."""
    policy = replace(plan.policy, rules=(Window(move.container, ("mon 12:00-12:01",)),), start="2026-03-02T12:00:00Z")
    estimate = replace(move.estimate, duration_s=1.0, blackout_s=0.5)
    plan = with_move(replace(plan, policy=policy), move, start_s=0.0, pause=Span(0.5, 1.0), estimate=estimate)
    return with_container(fleet, move, anon_bytes=80 << 30), plan


def told(**estimate: float) -> Callable[[Cluster, Plan, PlannedMove], Broken]:
    """A move that is estimated at other than the facts let expect."""
    return lambda f, p, m: (f, with_move(p, m, estimate=replace(m.estimate, **estimate)))


def all_by(mode: Mode) -> Callable[[Cluster, Plan, PlannedMove], Broken]:
    """A plan that was made for stop-and-copy, under a policy that asks for another mode."""

    def broken(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
        plan = replace(plan, policy=replace(plan.policy, mode=mode))
        return with_container(fleet, move, anon_bytes=4 * GIB), plan

    return broken


def hardly_any_memory(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    return with_container(fleet, move, anon_bytes=16 * MIB), with_move(
        plan, move, estimate=replace(move.estimate, memory_bytes=1)
    )


def the_other_way(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """A move that counts images although its memory is streamed."""
    assert move.memory_way == "stream"
    return fleet, with_move(plan, move, memory_way="images")


def by_images(fleet: Cluster, move: PlannedMove) -> Cluster:
    """The move's target cannot take streamed memory, whatever the plan has counted."""
    return with_node(fleet, move.target, stream_in="userfaultfd is for root alone")


def no_room_for_images_at_home(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """The source has room to stream a container from, and not for the images that it has to make."""
    fleet = with_container(by_images(fleet, move), move, anon_bytes=100 * MIB)
    return with_node(fleet, move.source, memory_available_bytes=(64 + 99) * MIB), plan


def no_room_for_images_to_come(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """The target has room for what streams keep, whatever comes with it, and not for all of a container once more."""
    coming = sum(m.demand.memory_bytes for m in plan.moves if m.target == move.target)
    target = fleet.node(move.target)
    beside = (64 + 256) * MIB * plan.policy.moves_per_node_max
    whole = (target.reserved.memory_bytes + coming + beside) * 100 // (100 - plan.policy.headroom_percent) + MIB
    fleet = with_node(fleet, move.target, capacity=replace(target.capacity, memory_bytes=whole))
    return with_container(by_images(fleet, move), move, anon_bytes=8 * GIB), plan


def no_room_for_rounds(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """The target has room for what streams keep, and the policy asks for pre-copy, whose rounds lie there as well."""
    fleet, plan = no_room_for_images_to_come(fleet, plan, move)
    nodes = {name: replace(fleet.node(name), stream_out="yes", stream_in="yes") for name in (move.source, move.target)}
    fleet = replace(fleet, nodes=tuple(nodes.get(node.name, node) for node in fleet.nodes))
    return fleet, replace(plan, policy=replace(plan.policy, mode=Mode.PRE_COPY))


def planned_for_images(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """A pause as long as that of images, of a container with much memory that is streamed."""
    fleet = with_container(fleet, move, anon_bytes=4 * GIB)
    found, source = source_of(fleet, move), fleet.node(move.source)
    wrong = estimate_move(found, source.link, target_of(fleet, move).link, DEFAULT_RATES["images"])
    return fleet, with_move(plan, move, estimate=wrong)


def allowing(plan: Plan, leave_stopped: bool = True) -> Plan:
    return replace(plan, policy=replace(plan.policy, leave_stopped=leave_stopped))


def without(plan: Plan, move: PlannedMove) -> Plan:
    return replace(plan, moves=tuple(other for other in plan.moves if other.name != move.name))


def named(plan: Plan, *moves: PlannedMove) -> Plan:
    """The plan as one that was asked for by name, of these of its moves."""
    words = " ".join(f"{move.container}={move.target}" for move in moves)
    return replace(plan, intent=f"move {words}", empties=())


def by_name(fleet: Cluster, plan: Plan, target: str, of: PlannedMove) -> Broken:
    """A plan whose moves were asked for by name, one of them to another node than it goes to, if it goes at all."""
    others = [move for move in plan.moves if move.container != of.container]
    return fleet, named(plan, *others, replace(of, target=target))


def twice_in_a_rebalance(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    back = replace(move, source=move.target, target=move.source, leg=2, waits_for=(move.name,))
    return fleet, replace(plan, intent="rebalance", empties=(), moves=(*plan.moves, back))


VARIANTS: list[tuple[Code, Callable[[Cluster, Plan, PlannedMove], Broken]]] = [
    (Code.VOLUME_MISSING, lambda f, p, m: (with_node(on_another_storage(f, p, m)[0], m.target, volumes={}), p)),
    (Code.APART, out_of_the_rack),
    (Code.NOT_ALONE, lambda f, p, m: under(Lonely(f"d{m.target[1:]}", continuous=False))(f, p, m)),
    *((Code.OVER_LIMITS, full_but_for_a_headroom(resource)) for resource in ("cpu", "memory", "disk")),
    (Code.CROWDED, crowded_at_the_end),
    (Code.SPREAD, crowded_domain_at_the_end),
    (Code.SPREAD, too_few_racks_at_the_end),
    (Code.SPREAD, too_few_racks_on_the_way),
    (Code.PAUSE_UNLIKELY, pause_after_the_end),
    (Code.PAUSE_UNLIKELY, paused_before_what_it_waits_for),
    (Code.PAUSE_UNLIKELY, lambda f, p, m: (f, with_move(p, m, pause=None))),
    (Code.PAUSE_UNLIKELY, lambda f, p, m: (f, replace(p, moves=tuple(replace(o, pause=None) for o in p.moves)))),
    (Code.MEMORY_NOT_FREE, no_room_for_images_at_home),
    (Code.IMAGES_DO_NOT_FIT, no_room_for_images_to_come),
    (Code.ESTIMATE, the_other_way),
    (Code.ESTIMATE, lambda f, p, m: (by_images(f, m), p)),
    (Code.ESTIMATE, planned_for_images),
    (Code.ESTIMATE, hardly_any_memory),
    (Code.ESTIMATE, told(files_bytes=1 << 40)),
    (Code.ESTIMATE, told(duration_s=0.1)),
    (Code.ESTIMATE, told(blackout_s=0.05)),
    (Code.ESTIMATE, told(blackout_s=1e300)),
    (Code.ESTIMATE, told(rounds=7)),
    (Code.ESTIMATE, told(ahead_bytes=1 << 30)),
    (Code.ESTIMATE, told(following_bytes=1 << 30)),
    (Code.ESTIMATE, all_by(Mode.POST_COPY)),
    (Code.ESTIMATE, all_by(Mode.RESTART)),
    (Code.MAKESPAN, lambda f, p, m: (f, with_move(p, m, follows_s=1e6))),
    (Code.IMAGES_DO_NOT_FIT, no_room_for_rounds),
    (Code.MAKESPAN, lambda f, p, m: (f, replace(p, makespan_s=0.0))),
    (Code.MAKESPAN, lambda f, p, m: (f, replace(p, makespan_bound_s=1e6))),
    (Code.MAKESPAN, lambda f, p, m: (f, replace(p, makespan_bound_s=1e6, makespan_s=1e6))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="drain n0 n1"))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="evacuate rack=none"))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="rebalance"))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="reboot all, group 1 of 2", empties=()))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="reboot rack=r1, group 1 of 2"))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="xyz"))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent=""))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="move"))),
    (Code.INTENT, lambda f, p, m: by_name(f, p, target="elsewhere", of=m)),
    (Code.INTENT, lambda f, p, m: by_name(f, without(p, m), target=m.target, of=m)),
    (Code.INTENT, lambda f, p, m: by_name(f, replace(p, moves=()), target=m.target, of=m)),
    (Code.INTENT, lambda f, p, m: (f, named(p, *(other for other in p.moves if other is not m)))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="drain n1", empties=("n1",)))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="consolidate", empties=("n1",)))),
    (Code.INTENT, twice_in_a_rebalance),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="return drain n0", empties=()))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="return evacuate rack=r1", empties=()))),
    (Code.INTENT, lambda f, p, m: (f, replace(p, intent="return move another=n1", empties=()))),
    (Code.INTENT, lambda f, p, m: (f, replace(named(p, *p.moves), intent="return " + named(p, *p.moves).intent))),
    (Code.STAYS, lambda f, p, m: (f, replace(allowing(p, False), stays=("c0",)))),
    *((Code.NOT_SURVIVED, useless_refuge(why)) for why in ("machine", "ban", "fence", "pin", "cordon")),
    (Code.STAYS_ELSEWHERE, lambda f, p, m: (f, allowing(replace(without(p, m), stays=(m.container,))))),
]


def onward(fleet: Cluster, plan: Plan, move: PlannedMove) -> Broken:
    """The container goes on from its target, without waiting to have come there."""
    other = next(n.name for n in fleet.nodes if n.name not in (move.source, move.target))
    return fleet, replace(plan, moves=(*plan.moves, replace(move, source=move.target, target=other, leg=2)))


BREAKS: dict[Code, Callable[[Cluster, Plan, PlannedMove], Broken]] = {
    Code.WRONG_CLUSTER: lambda f, p, m: (replace(f, name="other"), p),
    Code.UNKNOWN_NODE: lambda f, p, m: (f, with_move(p, m, target="n77")),
    Code.UNKNOWN_CONTAINER: gone,
    Code.DUPLICATE_MOVE: lambda f, p, m: (f, replace(p, moves=(*p.moves, m))),
    Code.BROKEN_WAY: onward,
    Code.NO_MOVE: lambda f, p, m: (f, with_move(p, m, target=m.source)),
    Code.MOVED: moved_meanwhile,
    Code.ON_THE_MOVE: lambda f, p, m: (with_container(f, m, run="r1"), p),
    Code.NOT_RUNNING: lambda f, p, m: (with_container(f, m, alive=False), p),
    Code.GENERATION_CHANGED: lambda f, p, m: (with_container(f, m, generation=m.generation + 1), p),
    Code.LIMITS_CHANGED: lambda f, p, m: (with_container(f, m, reserved=m.demand + Resources(cpu_milli=1)), p),
    Code.SOURCE_SILENT: lambda f, p, m: (with_node(f, m.source, error="no answer"), p),
    Code.TARGET_SILENT: lambda f, p, m: (with_node(f, m.target, error="no answer"), p),
    Code.TARGET_CORDONED: lambda f, p, m: (with_node(f, m.target, cordon="operator"), p),
    Code.TARGET_EMPTIED: lambda f, p, m: (f, replace(p, empties=(*p.empties, m.target))),
    Code.INCOMPATIBLE: lambda f, p, m: (with_node(f, m.target, criu="3.19"), p),
    Code.VOLUME_MISSING: on_another_storage,
    Code.DEVICE_MISSING: without_its_device,
    Code.ANTI_AFFINITY: rival,
    Code.BANNED: lambda f, p, m: under(Ban(m.container, (m.target,)))(f, p, m),
    Code.FENCED: lambda f, p, m: under(Fence(m.container, (m.source,)))(f, p, m),
    Code.PINNED: lambda f, p, m: under(Pin(m.container))(f, p, m),
    Code.SPREAD: crowded_domain,
    Code.CROWDED: under(Crowd(1)),
    Code.APART: parted,
    Code.NOT_ALONE: lambda f, p, m: under(Lonely(m.container))(f, p, m),
    Code.NOT_SURVIVED: hardly_room,
    Code.BUDGET: all_at_once,
    Code.OUT_OF_TURN: overtaken,
    Code.LINK_BUSY: all_over_one_link,
    Code.WINDOW: at_noon,
    Code.SOFT_UNSAID: silence,
    Code.WAITS_UNKNOWN: lambda f, p, m: (f, with_move(p, m, waits_for=("nobody",))),
    Code.WAITS_CYCLE: circle,
    Code.OVER_LIMITS: full,
    Code.NOT_EMPTY: lambda f, p, m: (f, replace(p, moves=tuple(o for o in p.moves if o is not m))),
    Code.IMAGES_DO_NOT_FIT: just_fits_without_images,
    Code.MEMORY_NOT_FREE: lambda f, p, m: (with_node(f, m.target, memory_available_bytes=MIB), p),
    Code.DISK_NOT_FREE: lambda f, p, m: (with_node(f, m.target, disk_available_bytes=MIB), p),
    Code.PAUSE_TOO_LONG: lambda f, p, m: (f, replace(p, policy=replace(p.policy, blackout_s_max=0.1))),
    Code.PAUSE_UNLIKELY: too_short_a_pause,
    Code.PAUSES_OVERLAP: paused_together,
    Code.WINDOW_UNLIKELY: in_time_by_its_own_words_alone,
    Code.ESTIMATE: told(memory_bytes=1 << 40),
    Code.MAKESPAN: lambda f, p, m: (f, replace(p, makespan_s=1e9)),
    Code.INTENT: lambda f, p, m: (f, replace(p, empties=())),
    Code.STAYS: lambda f, p, m: (f, allowing(replace(p, stays=(m.container,)))),
    Code.STAYS_ELSEWHERE: lambda f, p, m: (f, allowing(replace(p, stays=("nobody",)))),
}
