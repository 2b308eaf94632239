"""The rules that hold at the end of a plan, and what the plan says of soft ones: before and after, counted plainly.

Every container is put where it is and where it will be; a rule's violations are counted by place in both, and one that
grows is a finding. Nothing is shared with the planner, which keeps sums and asks before each placement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
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
    selected,
    selects,
)


@dataclass(frozen=True, slots=True)
class _Home:
    """One container: its labels, the node it is on before the plan and the one after it."""

    name: str
    labels: dict[str, str]
    first: NodeFacts
    last: NodeFacts


def end_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Hard rules that are broken more at the end than before, and soft ones that the notes do not tell of."""
    homes = _homes(cluster, plan)
    for number, rule in policy.numbered():
        before, after = _broken(rule, homes, last=False), _broken(rule, homes, last=True)
        worse = [place for place, amount in after.items() if amount > before.get(place, 0)]
        if rule.soft:
            if worse and not any(note.startswith(f"soft rule {number} ") for note in plan.notes):
                text = f"soft rule {number} ({rule.rule}) is broken at {worse[0]}, and the plan does not say so"
                yield Finding(Code.SOFT_UNSAID, text)
        elif isinstance(rule, (Spread, DomainsMin, Crowd, Lonely, Affinity)):
            code = {
                Spread: Code.SPREAD,
                DomainsMin: Code.SPREAD,
                Crowd: Code.CROWDED,
                Affinity: Code.APART,
                Lonely: Code.NOT_ALONE,
            }[type(rule)]
            for place in worse:
                yield Finding(code, f"at the end {_said(rule, place, after[place])}")


def _homes(cluster: Cluster, plan: Plan) -> list[_Home]:
    nodes = {node.name: node for node in cluster.nodes}
    targets = {(way[0].source, name): nodes[way[-1].target] for name, way in plan.ways().items()}
    return [
        _Home(c.name, dict(c.descriptor.labels) if c.descriptor else {}, node, targets.get((node.name, c.name), node))
        for node in cluster.nodes
        for c in node.containers
    ]


def _broken(rule: Rule, homes: list[_Home], *, last: bool) -> dict[str, int]:
    """How much a rule is broken, by place: 0 is left out."""
    at = [(home, home.last if last else home.first) for home in homes]
    match rule:
        case Pin():
            return {h.name: 1 for h, n in at if selects(rule.containers, h.name, h.labels) and n is not h.first}
        case Ban() | Fence():
            wanted = isinstance(rule, Fence)
            meant = [(h, n) for h, n in at if selects(rule.containers, h.name, h.labels)]
            return {f"{h.name} on {n.name}": 1 for h, n in meant if selected(rule.nodes, n.name, n.labels) != wanted}
        case Crowd():
            counts: dict[str, int] = {}
            for _, node in at:
                if not rule.nodes or selected(rule.nodes, node.name, node.labels):
                    counts[node.name] = counts.get(node.name, 0) + 1
            return {place: count - rule.at_most for place, count in counts.items() if count > rule.at_most}
        case Lonely():
            return _beside_others(rule, at)
        case SurviveLoss() | Budget() | Priority() | Window():
            return {}  # survival.py, budgets.py, turns.py, windows.py
    return _broken_by_domain(rule, at)


def _beside_others(rule: Lonely, at: list[tuple[_Home, NodeFacts]]) -> dict[str, int]:
    """Nodes with containers of both kinds: how many pairs that are not to be."""
    kinds: dict[str, list[int]] = {}
    for home, node in at:
        kinds.setdefault(node.name, [0, 0])[selects(rule.containers, home.name, home.labels)] += 1
    return {name: meant * others for name, (others, meant) in kinds.items() if meant and others}


def _broken_by_domain(rule: Spread | DomainsMin | Affinity, at: list[tuple[_Home, NodeFacts]]) -> dict[str, int]:
    """The same for rules that count the domains of a group."""
    members: dict[str, dict[str, int]] = {}
    for home, node in at:
        if rule.label in home.labels:
            domains = members.setdefault(f"{rule.label}={home.labels[rule.label]}", {})
            named = rule.domain in node.labels
            domain = f"in {rule.domain}={node.labels[rule.domain]}" if named else f"on node {node.name}"
            domains[domain] = domains.get(domain, 0) + 1
    if isinstance(rule, Affinity):
        return {group: len(domains) - 1 for group, domains in members.items() if len(domains) > 1}
    if isinstance(rule, DomainsMin):
        wanted = {group: min(rule.at_least, sum(domains.values())) for group, domains in members.items()}
        return {group: wanted[group] - len(d) for group, d in members.items() if wanted[group] > len(d)}
    return {
        f"{group} {domain}": count - rule.at_most
        for group, domains in members.items()
        for domain, count in domains.items()
        if count > rule.at_most
    }


def _said(rule: Rule, place: str, amount: int) -> str:
    if isinstance(rule, Affinity):
        return f"{place} is in {amount + 1} places, and is to be together"
    if isinstance(rule, Lonely):
        return f"{rule.containers} is on {place} with others, and is to be alone there"
    if isinstance(rule, DomainsMin):
        return f"{place} is in {amount} of {rule.domain} too few, at least {rule.at_least} are asked for"
    return f"there are {amount} too many of {place}" if isinstance(rule, Spread) else f"{place} holds {amount} too many"
