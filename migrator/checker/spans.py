"""At least so many failure domains at every moment: is there one at which a group may be in fewer of them?

Nothing is asked of the order of the moves: a container that moves may be in any of the domains on its way. The least
number of domains that meets all of these is searched for, down to the number that the rule asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import DomainsMin


def span_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Groups that may be in fewer domains than a rule lets, and than they were in before the plan."""
    nodes = {node.name: node for node in cluster.nodes}
    ways = {(moves[0].source, name): moves for name, moves in plan.ways().items()}
    for rule in policy.rules:
        if not isinstance(rule, DomainsMin) or rule.soft or not rule.continuous:
            continue
        homes: dict[str, list[str]] = {}
        places: dict[str, list[set[str]]] = {}
        for node in cluster.nodes:
            for container in node.containers:
                value = container.descriptor.labels.get(rule.label) if container.descriptor else None
                if value is not None:
                    moves = ways.get((node.name, container.name), ())
                    homes.setdefault(value, []).append(_domain(rule, node))
                    places.setdefault(value, []).append(
                        {_domain(rule, node), *(_domain(rule, nodes[move.target]) for move in moves)}
                    )
        for value, first in homes.items():
            wanted = min(rule.at_least, len(set(first)))
            found = _least(sorted(places[value], key=len), set(), wanted)
            if found is not None:
                asked = f"at least {rule.at_least} of {rule.domain} are asked for"
                text = f"{rule.label}={value} may be in {', '.join(sorted(found))} only at some moment, {asked}"
                yield Finding(Code.SPREAD, text)


def _domain(rule: DomainsMin, node: NodeFacts) -> str:
    return f"{rule.domain}={node.labels[rule.domain]}" if rule.domain in node.labels else node.name


def _least(places: Sequence[set[str]], chosen: set[str], wanted: int) -> set[str] | None:
    """Fewer than `wanted` domains of which each container may be in one, with those that are chosen; None if none."""
    if len(chosen) >= wanted:
        return None
    left = [possible for possible in places if not possible & chosen]
    if not left:
        return chosen
    for domain in sorted(left[0]):
        found = _least(left, chosen | {domain}, wanted)
        if found is not None:
            return found
    return None
