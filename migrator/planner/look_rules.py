"""What the rules of a policy have to do with one container of a plan: what its move mends and breaks, and its hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Priority, Rule, Window, selects
from migrator.planner.rule_notes import Wrong, named, placed, wrongs

Broken = Mapping[int, Mapping[str, Wrong]]


def rules_told(cluster: Cluster, plan: Plan, container: str) -> Iterator[str]:
    """Each rule that the container's move mends or breaks, at the plan's end and beside its staying where it is; and
    those that say when it moves.
    """
    goals = {name: way[-1].target for name, way in plan.ways().items()}
    stayed = _broken(cluster, plan.policy, {name: goal for name, goal in goals.items() if name != container})
    moved = _broken(cluster, plan.policy, goals)
    for number, rule in plan.policy.numbered():
        if gone := _more(stayed[number], moved[number]):
            yield f"{named(number, rule)} asks for it; if it stayed: {gone}"
        if come := _more(moved[number], stayed[number]):
            yield f"{named(number, rule)} is broken by it: {come}"
    facts = next((c for node in cluster.nodes for c in node.containers if c.name == container), None)
    labels = facts.descriptor.labels if facts and facts.descriptor else {}
    for number, rule in plan.policy.numbered():
        if isinstance(rule, (Window, Priority)) and selects(rule.containers, container, labels):
            yield f"{named(number, rule)}: {_asked(rule, plan.policy.start)}"


def rules_there(cluster: Cluster, plan: Plan, container: str, nodes: list[str]) -> dict[str, str]:
    """For each of these nodes the rules that would be broken more often with the container there than as planned."""
    goals = {name: way[-1].target for name, way in plan.ways().items()}
    as_planned, found = _broken(cluster, plan.policy, goals), {}
    for node in nodes:
        there = _broken(cluster, plan.policy, goals | {container: node})
        worse = [
            named(number, rule) for number, rule in plan.policy.numbered() if _more(there[number], as_planned[number])
        ]
        found[node] = " and ".join(worse)
    return found


def _broken(cluster: Cluster, policy: PlanPolicy, moved: Mapping[str, str]) -> Broken:
    there = placed(cluster.nodes, moved) if policy.rules else []
    return {number: wrongs(rule, there) for number, rule in policy.numbered()}


def _more(one: Mapping[str, Wrong], other: Mapping[str, Wrong]) -> str:
    """What is broken in one more often than in the other, in words."""
    return "; ".join(
        wrong.text for place, wrong in one.items() if wrong.amount > (other[place].amount if place in other else 0)
    )


def _asked(rule: Rule, start: str) -> str:
    if isinstance(rule, Window):
        return f"it moves only {', '.join(rule.open)} {rule.zone}; the plan is for a start at {start}"
    return (
        f"level {rule.level}: the higher it is, the sooner what has to move goes" if isinstance(rule, Priority) else ""
    )
