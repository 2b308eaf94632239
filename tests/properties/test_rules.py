"""Plans under rules: what the planner returns the checker passes, and what it refuses has no place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.model import what_if
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Affinity, Ban, Crowd, DomainsMin, Fence, Lonely, Pin, Rule, Spread, selected, selects
from migrator.planner.drain import drain
from migrator.planner.look import end_state
from migrator.planner.moves import move
from migrator.planner.rebalance import Terms, rebalance
from migrator.planner.reboot import reboot
from tests.properties.fleets import GIB, MIB, cluster, ct, named, node

APPS = ("web", "db")
RACKS = ("r1", "r2", "r3")
selectors = st.sampled_from(["app=web", "app=db", "c1"])
places = st.lists(st.sampled_from(["rack=r1", "rack=r2", "rack=r3", "n2", "n5"]), min_size=1, max_size=2).map(tuple)
rules = st.one_of(
    st.builds(Ban, selectors, places),
    st.builds(Fence, selectors, places),
    st.builds(Pin, st.sampled_from(["c1", "c7", "app=none"])),
    st.builds(Spread, st.just("app"), st.just("rack"), st.integers(1, 3)),
    st.builds(Spread, st.just("app"), st.just("rack"), st.integers(1, 3), continuous=st.just(False)),
    st.builds(DomainsMin, st.just("app"), st.just("rack"), st.integers(2, 4), continuous=st.booleans()),
    st.builds(Crowd, st.integers(1, 4), st.sampled_from([(), ("rack=r2",)]), continuous=st.booleans()),
    st.builds(Lonely, selectors, continuous=st.booleans()),
    st.builds(Affinity, st.just("pair"), st.sampled_from(["", "rack"]), continuous=st.booleans()),
)
softened = st.builds(
    lambda rule, weight: replace(rule, soft=True, weight=weight), rules, st.sampled_from([0.1, 1.0, 20.0])
)


@st.composite
def ruled(draw: st.DrawFn, some: st.SearchStrategy[Rule] = rules) -> tuple[Cluster, PlanPolicy]:
    """A roomy fleet of racks, where only rules can be in the way, and one to three rules."""
    number, nodes = 0, []
    for index in range(draw(st.integers(3, 7))):
        held = []
        for _ in range(draw(st.integers(2, 4) if index == 0 else st.integers(0, 2))):
            labels = {"app": draw(st.sampled_from(APPS))}
            if draw(st.booleans()):
                labels["pair"] = draw(st.sampled_from(["p1", "p2"]))
            held.append(ct(f"c{number}", 100 + number, labels=labels, anon_bytes=MIB))
            number += 1
        labels = {"rack": draw(st.sampled_from(RACKS))} if draw(st.integers(0, 9)) else {}
        nodes.append(node(f"n{index}", *held, labels=labels, memory=64 * GIB))
    policy = PlanPolicy(headroom_percent=0, rules=tuple(draw(st.lists(some, min_size=1, max_size=3))))
    return cluster(*nodes), policy


def broken(fleet: Cluster, rule: Rule, moved: set[str]) -> Counter[object]:
    """Where and by how much a rule does not hold, counted in the plainest way. Ban and fence look at what was moved."""
    placed = [(n, c, dict(c.descriptor.labels)) for n in fleet.nodes for c in n.containers if c.descriptor]
    match rule:
        case Ban() | Fence():
            meant = [(n, c) for n, c, labels in placed if c.name in moved and selects(rule.containers, c.name, labels)]
            inside = [selected(rule.nodes, n.name, n.labels) for n, _ in meant]
            return +Counter({"": sum(inside) if isinstance(rule, Ban) else sum(not i for i in inside)})
        case Pin():
            return Counter(
                c.name for _, c, labels in placed if c.name in moved and selects(rule.containers, c.name, labels)
            )
        case Spread():
            counts = Counter((labels[rule.label], n.labels.get(rule.domain, n.name)) for n, _, labels in placed)
            return +Counter({key: count - rule.at_most for key, count in counts.items()})
        case DomainsMin():
            domains = {(labels[rule.label], n.labels.get(rule.domain, n.name)) for n, _, labels in placed}
            sizes, held = Counter(labels[rule.label] for *_, labels in placed), Counter(value for value, _ in domains)
            return +Counter({value: min(rule.at_least, size) - held[value] for value, size in sizes.items()})
        case Affinity():
            homes = {
                (labels[rule.label], n.labels.get(rule.domain, n.name)) for n, _, labels in placed if "pair" in labels
            }
            if rule.continuous:  # then not even another domain will do
                return Counter(homes)
            return Counter(value for value, _ in homes) - Counter({value for value, _ in homes})
        case Lonely():
            mine = Counter(n.name for n, c, labels in placed if selects(rule.containers, c.name, labels))
            return +Counter({n.name: mine[n.name] * (len(n.containers) - mine[n.name]) for n in fleet.nodes})
        case Crowd():
            nodes = [n for n in fleet.nodes if not rule.nodes or selected(rule.nodes, n.name, n.labels)]
            return +Counter({n.name: len(n.containers) - rule.at_most for n in nodes})


def keeps_rules(fleet: Cluster, made: Plan, policy: PlanPolicy) -> None:
    """The checker passes the plan, and at its end no rule is broken where it was not, or more than it was."""
    assert check(fleet, made, policy) == ()
    after, moved = end_state(fleet, made), {move.container for move in made.moves}
    for rule in policy.rules:
        if not rule.soft:
            assert broken(after, rule, moved) <= broken(fleet, rule, set())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ruled())
def test_a_plan_keeps_every_rule_and_makes_no_violation_worse(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made = drain(fleet, ["n0"], "-", policy)
    if isinstance(made, Refusal):
        assert made.containers
        return
    keeps_rules(fleet, made, policy)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ruled())
def test_a_rebalance_keeps_every_rule_and_makes_no_violation_worse(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made = rebalance(fleet, "-", policy, Terms(iterations=50, min_gain=0.0))
    keeps_rules(fleet, made, policy)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ruled())
def test_reboot_groups_and_their_returns_keep_every_rule_one_after_the_other(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    made = reboot(fleet, [n.name for n in fleet.nodes], "-", policy, "--all")
    grouped = [name for plan in made.groups for name in plan.empties]
    assert sorted([*grouped, *(one.node for one in made.refused)]) == [n.name for n in fleet.nodes]
    now = fleet
    for plan, back in zip(made.groups, made.returns, strict=True):
        assert check(now, plan, policy) == ()
        assert check(what_if.rebooted(now, plan), back, policy) == ()
        now = what_if.returned(now, plan, back)
    for one in made.refused:  # before all the others, or after them: what they have moved may have come in its way
        alone = [drain(facts, [one.node], "-", policy) for facts in (fleet, now)]
        assert any(isinstance(plan, Refusal) for plan in alone)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ruled(), st.integers(1, 6))
def test_a_move_that_is_asked_for_by_name_is_planned_exactly_if_the_rules_let_it(
    drawn: tuple[Cluster, PlanPolicy], number: int
) -> None:
    fleet, policy = drawn
    first, target = fleet.nodes[0].containers[0], fleet.nodes[1 + number % (len(fleet.nodes) - 1)]
    made = move(fleet, {first.name: target.name}, "-", policy, named({first.name: target.name}))
    nodes = [
        replace(
            n,
            containers=tuple(c for c in n.containers if c is not first) + ((first,) if n is target else ()),
        )
        for n in fleet.nodes
    ]
    after, before = Cluster("x", tuple(nodes)), [broken(fleet, rule, set()) for rule in policy.rules]
    holds = [broken(after, r, {first.name}) <= b for r, b in zip(policy.rules, before, strict=True)]
    assert isinstance(made, Plan) == all(holds)
    if isinstance(made, Plan):
        assert check(fleet, made, policy) == ()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ruled())
def test_what_is_refused_under_one_rule_has_that_rule_in_its_reasons(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made = drain(fleet, ["n0"], "-", policy)
    free = drain(fleet, ["n0"], "-", replace(policy, rules=()))
    assert isinstance(free, Plan)  # there is room for all: only rules can refuse
    if isinstance(made, Refusal):
        kinds = {f"rule {rule.rule}" for rule in policy.rules}
        for stuck in made.containers:
            assert any(reason.text.startswith(tuple(kinds)) for reason in stuck.reasons)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ruled())
def test_one_container_is_refused_only_if_the_rules_close_every_node_to_it(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    first = fleet.nodes[0].containers[0]
    lone = Cluster(fleet.name, (replace(fleet.nodes[0], containers=(first,)), *fleet.nodes[1:]))
    made = drain(lone, ["n0"], "-", policy)
    before = [broken(lone, rule, set()) for rule in policy.rules]
    open_to_it = []
    for target in lone.nodes[1:]:
        nodes = [
            replace(n, containers=(*n.containers, first) if n is target else () if n.name == "n0" else n.containers)
            for n in lone.nodes
        ]
        after = [broken(Cluster("x", tuple(nodes)), rule, {first.name}) for rule in policy.rules]
        if all(a <= b for a, b in zip(after, before, strict=True)):
            open_to_it.append(target.name)
    assert isinstance(made, Plan) == bool(open_to_it)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ruled(st.one_of(rules, softened)))
def test_soft_rules_beside_hard_ones_leave_the_hard_ones_kept(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made = drain(fleet, ["n0"], "-", policy)
    hard = drain(fleet, ["n0"], "-", replace(policy, rules=tuple(r for r in policy.rules if not r.soft)))
    assert isinstance(made, Plan) or isinstance(hard, Refusal)
    if isinstance(made, Plan):
        keeps_rules(fleet, made, policy)
    keeps_rules(fleet, rebalance(fleet, "-", policy, Terms(iterations=50, min_gain=0.0)), policy)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ruled(softened))
def test_a_rule_that_is_only_soft_is_never_why_there_is_no_plan_and_is_told_of_where_it_is_broken(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    made = drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan)
    assert check(fleet, made, policy) == ()
    after, moved = end_state(fleet, made), {move.container for move in made.moves}
    for number, rule in enumerate(policy.rules, 1):
        told = any(note.startswith(f"soft rule {number} ({rule.rule}, weight") for note in made.notes)
        if broken(after, replace(rule, continuous=False) if isinstance(rule, Affinity) else rule, moved):
            assert told


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ruled(), st.integers(0, 2))
def test_one_soft_rule_of_great_weight_is_kept_wherever_it_could_be_hard(
    drawn: tuple[Cluster, PlanPolicy], which: int
) -> None:
    fleet, policy = drawn
    rule = policy.rules[which % len(policy.rules)]
    made = drain(fleet, ["n0"], "-", replace(policy, rules=(replace(rule, soft=True, weight=1000.0),)))
    assert isinstance(made, Plan)
    if isinstance(drain(fleet, ["n0"], "-", replace(policy, rules=(replace(rule, soft=False),))), Plan):
        moved = {move.container for move in made.moves}
        at_end = replace(rule, continuous=False) if isinstance(rule, Affinity) else rule
        assert broken(end_state(fleet, made), at_end, moved).total() <= broken(fleet, at_end, set()).total()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ruled())
def test_a_second_rebalance_under_rules_proposes_nothing(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made = rebalance(fleet, "-", policy, Terms(iterations=500, min_gain=0.05))
    if not any(note.startswith(("stopped", "left out", "some containers")) for note in made.notes):
        assert rebalance(what_if.after(fleet, made), "-", policy, Terms(iterations=500, min_gain=0.05)).moves == ()
