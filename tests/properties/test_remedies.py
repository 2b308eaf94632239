"""What a refusal says would do has been seen to do: made so, the container finds a place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import product

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.model import what_if
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Budget, Crowd, SurviveLoss, Window
from migrator.planner.changes import RULE, Change
from migrator.planner.drain import drain, emptied, sorted_out
from migrator.planner.ordering import Leg
from migrator.planner.remedies import TRIES_MAX, remedies
from tests.properties.fleets import MIB, cluster, ct, larger_fleets, node, policies, small_fleets
from tests.properties.test_rules import ruled, rules, softened

some = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
START = "2026-03-02T12:00:00+00:00"
all_rules = st.one_of(
    rules,
    softened,
    st.builds(SurviveLoss),
    st.builds(Budget, st.just("app"), st.integers(1, 2)),
    st.builds(Window, st.just("app=web"), st.sampled_from([("22:00-04:00",), ("22:00-22:01",)])),
)


@st.composite
def tight(draw: st.DrawFn) -> tuple[Cluster, PlanPolicy]:
    """Racks under rules of every kind, with hardly room for what is to come."""
    fleet, policy = draw(ruled(all_rules))
    nodes = []
    for n in fleet.nodes:
        room = draw(st.sampled_from([0, 200, 300, 450, 600, 800])) * MIB if n.name != "n0" else 0
        nodes.append(replace(n, capacity=replace(n.capacity, memory_bytes=n.reserved.memory_bytes + room)))
    return replace(fleet, nodes=tuple(nodes)), replace(policy, start=START)


def again(cluster: Cluster, policy: PlanPolicy) -> Plan | Refusal:
    return drain(cluster, ["n0"], "-", policy)


def does(change: Change, name: str) -> bool:
    made = again(change.cluster, change.policy)
    if isinstance(made, Plan):
        return check(change.cluster, made, change.policy) == ()
    return bool(made.containers) and name not in {stuck.container for stuck in made.containers}


@settings(some, max_examples=30)
@given(st.one_of(tight(), st.tuples(st.one_of(small_fleets, larger_fleets), policies)))
def test_what_would_do_for_a_container_or_for_the_plan_does(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made = again(fleet, policy)
    if isinstance(made, Refusal):
        found = remedies(made, fleet, policy, again)
        event(f"kinds {sorted({c.kind for changes in found.containers.values() for c in changes})}")
        for name, changes in found.containers.items():
            assert all(does(change, name) for change in changes)
        assert all(isinstance(again(change.cluster, change.policy), Plan) for change in found.plan)


def test_of_nodes_more_that_do_together_with_a_rule_less_as_few_are_told_as_do() -> None:
    """Three containers need three nodes as long as a rule holds, which keeps a fourth from all; else one is enough."""
    leaving = [ct(f"c{n}", 100 + n) for n in range(4)]
    fleet, policy = cluster(node("n0", *leaving), node("n1")), PlanPolicy(rules=(Crowd(1),))
    done = drain(cluster(node("n0"), node("n1")), ["n0"], "-", policy)

    def planned(facts: Cluster, rules: PlanPolicy) -> Plan | Refusal:
        more = len(facts.nodes) - 2
        without = range(min(more, 3), 4) if rules.rules else range(0 if more else 3)
        stuck = tuple(Stuck(f"c{n}", "n0", (Reason("no room", "n1"),)) for n in without)
        return Refusal("drain n0", stuck) if stuck else done

    refused = planned(fleet, policy)
    assert isinstance(refused, Refusal)
    (change,) = remedies(refused, fleet, policy, planned).plan
    assert change.text.startswith("with one node more like n1 (--add-node extra-1=n1) and without rule 1")
    assert isinstance(planned(change.cluster, change.policy), Plan)


@some
@given(ruled())
def test_where_only_rules_are_in_the_way_of_one_container_the_rule_to_waive_is_named(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    home = fleet.node("n0")
    lone = replace(fleet, nodes=(replace(home, containers=home.containers[:1]), *fleet.nodes[1:]))
    made = again(lone, policy)
    if isinstance(made, Refusal):
        found = remedies(made, lone, policy, again).plan
        waived = [replace(policy, rules=policy.rules[:i] + policy.rules[i + 1 :]) for i in range(len(policy.rules))]
        assert any(isinstance(again(lone, p), Plan) for p in waived) == (RULE in {change.kind for change in found})


@settings(some, max_examples=10)
@given(tight())
def test_a_bounded_number_of_tries_is_made(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made, count = again(fleet, policy), [0]

    def counted(cluster: Cluster, rules: PlanPolicy) -> Plan | Refusal:
        count[0] += 1
        return again(cluster, rules)

    if isinstance(made, Refusal):
        found = remedies(made, fleet, policy, counted)
        assert count[0] <= TRIES_MAX
        assert found == remedies(made, fleet, policy, again)


@settings(some, max_examples=100)
@given(st.one_of(tight(), st.tuples(st.one_of(small_fleets, larger_fleets), policies)), st.data())
def test_a_free_node_more_never_turns_a_plan_into_a_refusal(
    drawn: tuple[Cluster, PlanPolicy], data: st.DataObject
) -> None:
    fleet, policy = drawn
    if isinstance(again(fleet, policy), Plan):
        like = data.draw(st.sampled_from([n.name for n in fleet.nodes if n.answered]))
        more = what_if.with_nodes(fleet, [(data.draw(st.sampled_from(["a0", "n9"])), like)])
        assert isinstance(again(more, policy), Plan)


@settings(some, max_examples=60)
@given(st.one_of(tight(), st.tuples(small_fleets, policies)))
def test_a_drain_of_the_state_after_a_drain_moves_nothing(drawn: tuple[Cluster, PlanPolicy]) -> None:
    fleet, policy = drawn
    made = again(fleet, policy)
    if isinstance(made, Plan):
        second = again(what_if.after(fleet, made), policy)
        assert isinstance(second, Plan)
        assert second.moves == ()


def placements(fleet: Cluster, policy: PlanPolicy) -> Collection[Sequence[Leg]]:
    movers, _, _ = sorted_out(fleet, [fleet.node("n0")], policy)
    targets = [n.name for n in fleet.nodes if n.name != "n0"]
    if len(targets) ** len(movers) > 27:
        return ()
    return [
        [Leg(m, t, "stream") for m, t in zip(movers, goal, strict=True)]
        for goal in product(targets, repeat=len(movers))
    ]


@settings(some, max_examples=30)
@given(tight())
def test_what_is_refused_under_rules_has_no_placement_that_the_checker_passes(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    if isinstance(again(fleet, policy), Plan):
        return
    for legs in placements(fleet, policy):
        why = {leg.mover.name: "" for leg in legs}
        made = emptied(fleet, ("n0",), legs, why, policy, intent="drain n0", snapshot="-")
        assert isinstance(made, Refusal) or check(fleet, made, policy)
