"""N+1 on small tight fleets: what is called safe is safe by trying every arrangement, and the checker agrees."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.model import what_if
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Fence, Pin, SurviveLoss
from migrator.model.volume import Mounted, Volume
from migrator.planner.balance import Terms
from migrator.planner.drain import drain
from migrator.planner.moves import move
from migrator.planner.rebalance import rebalance
from migrator.planner.reboot import reboot
from migrator.planner.refuges import Refuges
from migrator.planner.survival import homeless, state
from tests.properties.fleets import GIB, MIB, cluster, ct, named, node

RULE = SurviveLoss()
POLICY = PlanPolicy(headroom_percent=0, rules=(RULE,))
FREE = PlanPolicy(headroom_percent=0)
some = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tight(draw: st.DrawFn) -> Cluster:
    """A few nodes, filled to about a half: often any may be lost, often not once one is empty."""
    number, nodes = 0, []
    for index in range(draw(st.integers(3, 5))):
        held = []
        for _ in range(draw(st.integers(0, 3))):
            size = draw(st.integers(1, 4))
            held.append(ct(f"c{number}", 100 + number, memory=size * GIB, cpu_milli=100 * size, anon_bytes=MIB))
            number += 1
        nodes.append(
            node(
                f"n{index}",
                *held,
                memory=draw(st.sampled_from([8, 10, 14])) * GIB,
                cpu_milli=draw(st.sampled_from([900, 4000])),
                memory_available_bytes=100 * GIB,
            )
        )
    return cluster(*nodes)


def fits(containers: Sequence[ContainerFacts], rooms: Sequence[Resources]) -> bool:
    """Whether some arrangement of all has room, by trying every one."""
    if not containers:
        return True
    first, rest = containers[0], containers[1:]
    return any(
        first.reserved.fits_in(room) and fits(rest, [*rooms[:i], room - first.reserved, *rooms[i + 1 :]])
        for i, room in enumerate(rooms)
    )


def holds(fleet: Cluster, name: str, wishes: dict[str, str]) -> bool:
    """Whether a node has room for those that are to come, with the images of one of them."""
    coming = [c for c in fleet.nodes[0].containers if wishes[c.name] == name]
    need = Resources(memory_bytes=65 * MIB if coming else 0)
    for container in coming:
        need = need + container.reserved
    return need.fits_in(fleet.node(name).room)


@st.composite
def mixed(draw: st.DrawFn) -> tuple[Cluster, PlanPolicy]:
    """The same with an empty node more, where nodes differ and rules say where some containers may be."""
    fleet = draw(tight())
    nodes = [*fleet.nodes, node("z", memory=64 * GIB, cpu_milli=64_000)]
    nodes = [replace(n, arch=draw(st.sampled_from(["x86_64", "x86_64", "arm"]))) for n in nodes]
    names = [c.name for n in nodes for c in n.containers]
    rules: list[Fence | Ban | Pin] = []
    for _ in range(draw(st.integers(0, 3)) if names else 0):
        name, soft = draw(st.sampled_from(names)), draw(st.sampled_from([False, False, True]))
        where = tuple(draw(st.lists(st.sampled_from([n.name for n in nodes]), min_size=1, max_size=3)))
        kind = draw(st.sampled_from(["fence", "ban", "pin"]))
        rules.append(
            Pin(name, soft=soft) if kind == "pin" else (Fence if kind == "fence" else Ban)(name, where, soft=soft)
        )
    return cluster(*nodes), PlanPolicy(headroom_percent=0, rules=(RULE, *rules))


def may_be(container: ContainerFacts, lost: NodeFacts, other: NodeFacts, policy: PlanPolicy) -> bool:
    """Whether a container of a lost node may be on another: by rule and machine."""
    hard = [r for r in policy.rules if not r.soft and getattr(r, "containers", None) == container.name]
    return lost.arch == other.arch and all(
        {
            "pin": False,
            "fence": other.name in getattr(r, "nodes", ()),
            "ban": other.name not in getattr(r, "nodes", ()),
        }[r.rule]
        for r in hard
    )


def arranged(fleet: Cluster, name: str, policy: PlanPolicy) -> bool:
    """Whether some arrangement of a lost node's containers is on nodes that they may be on, by trying every one."""
    lost = fleet.node(name)
    others = [n for n in fleet.nodes if n.name != name and n.answered and n.cordon is None]

    def found(left: Sequence[ContainerFacts], rooms: dict[str, Resources]) -> bool:
        return not left or any(
            left[0].reserved.fits_in(rooms[n.name])
            and found(left[1:], rooms | {n.name: rooms[n.name] - left[0].reserved})
            for n in others
            if may_be(left[0], lost, n, policy)
        )

    return found(lost.containers, {n.name: n.room for n in others})


@settings(some, max_examples=300)
@given(mixed())
def test_room_counts_only_on_nodes_on_which_the_containers_of_a_lost_one_may_be(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    unsafe = homeless(state(Refuges(fleet.nodes, policy), {}, ()), RULE)
    for n in fleet.nodes:
        event(f"called unsafe: {n.name in unsafe}, and is: {not arranged(fleet, n.name, policy)}")
        assert n.name in unsafe or arranged(fleet, n.name, policy)


@settings(some, max_examples=300)
@given(mixed())
def test_a_plan_is_found_wrong_exactly_where_nodes_of_other_kinds_do_not_help(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    free = replace(policy, rules=tuple(rule for rule in policy.rules if rule is not RULE))
    made, kept = drain(fleet, ["n0"], "-", free), drain(fleet, ["n0"], "-", policy)
    if isinstance(made, Plan):
        found = {f.node for f in check(fleet, made, policy) if f.code is Code.NOT_SURVIVED}
        before = homeless(state(Refuges(fleet.nodes, policy), {}, ()), RULE)
        end = what_if.after(fleet, made)
        after = homeless(state(Refuges(end.nodes, policy), {}, ()), RULE)
        assert found == {name for name, left in after.items() if len(left) > len(before.get(name, ()))}
        event(f"found: {bool(found)}")
    if isinstance(kept, Plan):
        assert check(fleet, kept, policy) == ()
        end = what_if.after(fleet, kept)
        before = homeless(state(Refuges(fleet.nodes, policy), {}, ()), RULE)
        assert all(arranged(end, n.name, policy) for n in end.nodes if n.name not in before)


def test_a_node_that_the_containers_of_a_lost_one_cannot_be_on_is_no_refuge_for_them():
    nodes = [node(f"n{i}", ct(f"c{i}", 20 + i, memory=6 * GIB), memory=16 * GIB) for i in range(3)]
    huge = node("z", memory=64 * GIB)
    shared = Volume("data", "/srv/data")
    with_volume = [
        replace(
            n,
            volumes={"data": Mounted("/mnt/data")},
            containers=tuple(replace(c, descriptor=replace(c.descriptor, volumes=(shared,))) for c in n.containers),
        )
        for n in nodes
    ]
    fenced = replace(POLICY, rules=(RULE, *(Fence(f"c{i}", ("n0", "n1", "n2")) for i in range(3))))
    other = replace(huge, templates={"debian": "sha256:other"})  # it takes the template along, beside the other one
    for refuge in (huge, other):
        assert isinstance(drain(cluster(*nodes, refuge), ["n0"], "-", POLICY), Plan)
    for fleet, policy in (
        (cluster(*nodes), POLICY),
        (cluster(*nodes, replace(huge, arch="arm")), POLICY),
        (cluster(*nodes, replace(huge, cordon="operator")), POLICY),
        (cluster(*nodes, huge), fenced),
        (cluster(*with_volume, huge), POLICY),
    ):
        made = drain(fleet, ["n0"], "-", policy)
        assert isinstance(made, Refusal)
        assert {reason.node for reason in made.reasons} & {"n1", "n2"}


def survives(fleet: Cluster, name: str) -> bool:
    rooms = [n.room for n in fleet.nodes if n.name != name and n.answered and n.cordon is None]
    return fits(fleet.node(name).containers, rooms)


def lost(fleet: Cluster) -> dict[str, tuple[str, ...]]:
    return homeless(state(Refuges(fleet.nodes, POLICY), {}, ()), RULE)


@some
@given(tight())
def test_what_is_called_safe_has_an_arrangement_and_what_is_not_seldom_has(fleet: Cluster) -> None:
    unsafe = lost(fleet)
    for n in fleet.nodes:
        if n.name not in unsafe:
            assert survives(fleet, n.name)
        else:
            event(f"called unsafe, and is: {not survives(fleet, n.name)}")


def keeps(fleet: Cluster, made: Plan) -> None:
    """The checker passes it, and every loss that was survived before still is, by trying every arrangement."""
    assert check(fleet, made, POLICY) == ()
    before, end = lost(fleet), what_if.after(fleet, made)
    for n in end.nodes:
        if n.name not in before:
            assert survives(end, n.name)


@some
@given(tight())
def test_a_drain_is_planned_so_that_a_loss_is_still_survived_or_refused_with_the_node_whose_loss_is_not(
    fleet: Cluster,
) -> None:
    made, free = drain(fleet, ["n0"], "-", POLICY), drain(fleet, ["n0"], "-", FREE)
    event(f"without the rule {type(free).__name__}, with it {type(made).__name__}")
    if isinstance(made, Plan):
        keeps(fleet, made)
    elif isinstance(free, Plan):
        assert all(reason.text.startswith("rule survive-node-loss: without ") for reason in made.reasons)
        assert all(reason.node for reason in made.reasons)


@some
@given(tight())
def test_on_small_fleets_a_drain_is_refused_only_if_no_choice_of_nodes_keeps_the_rule(fleet: Cluster) -> None:
    if isinstance(drain(fleet, ["n0"], "-", POLICY), Plan):
        return
    names, targets = [c.name for c in fleet.nodes[0].containers], [n.name for n in fleet.nodes[1:]]
    for choice in itertools.product(targets, repeat=len(names)):
        wishes = dict(zip(names, choice, strict=True))
        if not all(holds(fleet, name, wishes) for name in targets):
            continue
        made = move(fleet, wishes, "-", FREE, named(wishes))
        emptied = replace(made, empties=("n0",)) if isinstance(made, Plan) else made
        assert isinstance(emptied, Refusal) or check(fleet, emptied, POLICY) != ()


@some
@given(tight())
def test_what_was_not_survived_before_is_never_worse_and_is_told(fleet: Cluster) -> None:
    made = drain(fleet, ["n0"], "-", POLICY)
    before = lost(fleet)
    if isinstance(made, Plan):
        after = lost(what_if.after(fleet, made))
        assert all(len(left) <= len(before.get(name, ())) for name, left in after.items())
        assert any(note.startswith("rule 1 (survive-node-loss) is broken already") for note in made.notes) == bool(
            before
        )


@some
@given(tight())
def test_a_soft_one_is_kept_if_it_can_be_and_told_of_if_not(fleet: Cluster) -> None:
    soft = PlanPolicy(headroom_percent=0, rules=(SurviveLoss(soft=True),))
    made, hard, free = (drain(fleet, ["n0"], "-", policy) for policy in (soft, POLICY, FREE))
    assert type(made) is type(free)
    if isinstance(made, Plan):
        assert check(fleet, made, soft) == ()
        broken = any(note.startswith("soft rule 1") and "by this plan" in note for note in made.notes)
        assert broken == isinstance(hard, Refusal)


@settings(some, max_examples=60)
@given(tight())
def test_rebalance_reboot_and_moves_by_name_keep_it_too(fleet: Cluster) -> None:
    keeps(fleet, rebalance(fleet, "-", POLICY, Terms(50, 0.0)))
    groups, now = reboot(fleet, [n.name for n in fleet.nodes], "-", POLICY, "--all"), fleet
    for plan, back in zip(groups.groups, groups.returns, strict=True):
        keeps(now, plan)
        keeps(what_if.rebooted(now, plan), back)
        now = what_if.returned(now, plan, back)
    for container in fleet.nodes[0].containers:
        made = move(fleet, {container.name: "n1"}, "-", POLICY, named({container.name: "n1"}))
        if isinstance(made, Plan):
            keeps(fleet, made)


@some
@given(tight())
def test_a_plan_made_without_the_rule_is_found_wrong_exactly_where_the_loss_of_a_node_is_worse(fleet: Cluster) -> None:
    made = drain(fleet, ["n0"], "-", FREE)
    if isinstance(made, Plan):
        found = {f.node for f in check(fleet, made, POLICY) if f.code is Code.NOT_SURVIVED}
        before, after = lost(fleet), lost(what_if.after(fleet, made))
        assert found == {name for name, left in after.items() if len(left) > len(before.get(name, ()))}
        event(f"found: {bool(found)}")


def test_one_resource_may_be_asked_alone_and_some_nodes_alone():
    nodes = [node(f"n{i}", ct(f"c{i}", 20 + i, cpu_milli=3000), labels={"rack": f"r{i}"}) for i in range(3)]
    fleet = cluster(*nodes, node("n3", cpu_milli=100))
    at = state(Refuges(fleet.nodes, POLICY), {}, ())
    assert set(homeless(at, RULE)) == {"n0", "n1", "n2"}
    assert homeless(at, SurviveLoss(resources=("memory", "disk"))) == {}
    assert set(homeless(at, SurviveLoss(nodes=("rack=r1",)))) == {"n1"}
