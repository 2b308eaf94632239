"""Disruption budgets: however a plan is carried out, no more of a group is in motion than its budget lets."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from migrator.checker.budgets import together
from migrator.checker.check import check
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Budget
from migrator.planner.balance import Terms
from migrator.planner.drain import drain
from migrator.planner.look import spans
from migrator.planner.rebalance import rebalance
from tests.properties.fleets import GIB, MIB, cluster, ct, node
from tests.properties.oracle import moments

some = settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def served(draw: st.DrawFn) -> tuple[Cluster, PlanPolicy]:
    """Up to three full nodes with services on them, some room elsewhere, and budgets."""
    number, nodes = 0, []
    for index in range(3):
        held = []
        for _ in range(draw(st.integers(1, 4))):
            labels = {"app": draw(st.sampled_from(["web", "db"])), "team": draw(st.sampled_from(["a", "b"]))}
            held.append(
                ct(f"c{number}", 100 + number, labels, memory=GIB, anon_bytes=draw(st.integers(1, 60)) * 8 * MIB)
            )
            number += 1
        nodes.append(node(f"n{index}", *held, memory_available_bytes=draw(st.integers(1, 4)) * GIB))
    nodes += [node(f"n{index}", memory=draw(st.integers(6, 20)) * GIB) for index in (3, 4)]
    rules = [Budget("app", draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        rules.append(Budget("team", draw(st.integers(1, 2))))
    return cluster(*nodes), PlanPolicy(
        headroom_percent=0, moves_per_node_max=draw(st.integers(1, 4)), rules=tuple(rules)
    )


def within_budget(fleet: Cluster, names: list[str], policy: PlanPolicy) -> bool:
    """Whether these may be in motion together."""
    labels = {c.name: c.descriptor.labels for n in fleet.nodes for c in n.containers if c.descriptor}
    for rule in policy.rules:
        assert isinstance(rule, Budget)
        if max(Counter(labels[name][rule.label] for name in names).values(), default=0) > rule.at_most:
            return False
    return True


def carried_out(fleet: Cluster, plan: Plan, data: st.DataObject) -> None:
    """Begins and ends in any order that the waits allow, with no limit per node."""
    for under_way, _ in moments(plan, lambda count: data.draw(st.integers(0, count - 1))):
        assert within_budget(fleet, [move.container for move in under_way], plan.policy)


@some
@given(served(), st.data())
def test_a_drain_keeps_its_budgets_in_whatever_order_its_moves_end(
    drawn: tuple[Cluster, PlanPolicy], data: st.DataObject
) -> None:
    fleet, policy = drawn
    made = drain(fleet, ["n0", "n1", "n2"], "-", policy)
    free = drain(fleet, ["n0", "n1", "n2"], "-", PlanPolicy(headroom_percent=0))
    assert isinstance(made, type(free))  # waiting is always possible
    if isinstance(made, Plan):
        assert check(fleet, made, policy) == ()
        carried_out(fleet, made, data)
        when = spans(fleet, made)
        for name, span in when.items():
            assert within_budget(fleet, [o for o, s in when.items() if s.start_s <= span.start_s < s.end_s], policy), (
                name
            )


@some
@given(served(), st.data())
def test_a_rebalance_keeps_its_budgets(drawn: tuple[Cluster, PlanPolicy], data: st.DataObject) -> None:
    fleet, policy = drawn
    made = rebalance(fleet, "-", policy, Terms(50, 0.0))
    event(f"moves: {len(made.moves)}")
    assert check(fleet, made, policy) == ()
    carried_out(fleet, made, data)


@settings(some, max_examples=300)
@given(st.integers(1, 7), st.data())
def test_the_checker_counts_the_most_that_may_be_under_way_by_any_choice_of_moves(
    count: int, data: st.DataObject
) -> None:
    names, before = [f"m{i}" for i in range(count)], dict[str, frozenset[str]]()
    for place, name in enumerate(names):
        waits = data.draw(st.sets(st.sampled_from(names[:place]))) if place else set()
        before[name] = frozenset(waits).union(*(before[other] for other in waits))
    free = [
        len(some)
        for size in range(1, count + 1)
        for some in combinations(names, size)
        if all(a not in before[b] and b not in before[a] for a, b in combinations(some, 2))
    ]
    assert together(data.draw(st.permutations(names)), before) == max(free)


def test_a_budget_of_one_makes_a_row_and_other_services_do_not_wait():
    labels = [{"app": "web"}, {"app": "web"}, {"app": "web"}, {"app": "db"}, {}]
    held = [ct(f"c{i}", 20 + i, labels=mine) for i, mine in enumerate(labels)]
    fleet = cluster(node("n0", *held), node("n1"), node("n2"))
    made = drain(fleet, ["n0"], "-", PlanPolicy(moves_per_node_max=5, rules=(Budget("app", 1),)))
    assert isinstance(made, Plan)
    waits = {move.container: move.waits_for for move in made.moves}
    assert sorted(waits.values()) == [(), (), (), ("c0",), ("c1",)]
    assert (waits["c3"], waits["c4"]) == ((), ())
