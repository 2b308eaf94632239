"""Priorities: who goes first has started first wherever there was room, and who is to stay is moved last."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import event, given, settings

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Priority
from migrator.planner.balance import Terms
from migrator.planner.drain import drain
from migrator.planner.rebalance import rebalance
from tests.properties.fleets import GIB, MIB, cluster, ct, larger_fleets, node, policies

some = settings(max_examples=200, deadline=None, derandomize=True)
RULES = (Priority("anti-affinity=a", 5), Priority("c0-0", 9), Priority("c0-1", 0))


@some
@given(larger_fleets, policies)
def test_a_drain_with_priorities_is_possible_exactly_when_it_is_without_and_lets_nobody_be_overtaken(
    fleet: Cluster, policy: PlanPolicy
) -> None:
    ranked = replace(policy, rules=RULES)
    made, free = drain(fleet, ["n0"], "-", ranked), drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan) == isinstance(free, Plan)
    if isinstance(made, Plan) and isinstance(free, Plan):
        found = check(fleet, made, ranked)
        assert found == ()
        event(f"overtaken without the rules: {Code.OUT_OF_TURN in {f.code for f in check(fleet, free, ranked)}}")


def test_in_a_drain_those_of_the_highest_level_start_first_and_the_others_are_in_the_best_order():
    held = [ct(f"c{i}", 20 + i, {"app": "db"} if i in (1, 4) else {}, anon_bytes=(9 - i) * 8 * MIB) for i in range(6)]
    fleet = cluster(node("n0", *held), node("n1"), node("n2"))
    policy = PlanPolicy(rules=(Priority("app=db", 10), Priority("c3", 0)))
    made = drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan)
    names = [move.container for move in made.moves]
    assert (set(names[:2]), names[-1]) == ({"c1", "c4"}, "c3")
    assert check(fleet, made, policy) == ()


def test_a_rebalance_moves_those_of_a_low_level_rather():
    fleet = cluster(node("n0", *(ct(f"c{i}", 20 + i, memory=GIB) for i in range(4))), node("n1"))
    for spared in ("c0", "c3"):
        policy = PlanPolicy(headroom_percent=0, rules=(Priority(spared, 1000),))
        moved = {move.container for move in rebalance(fleet, "-", policy, Terms(100, 0.05)).moves}
        assert len(moved) == 2
        assert spared not in moved
