"""Rules that no arrangement can keep, shown by counting: a group is to stay in more failure domains than are left.

Theory. At the end of a plan a group is in no more domains than those in which a node takes something and those in which
a member stays. If that is fewer than the rule keeps, whatever goes where, it need not be looked for any further.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Reason
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import DomainsMin, domain_of
from migrator.model.units import counted
from migrator.planner.placement import Mover
from migrator.planner.rule_notes import within


def domains_missing(
    movers: Sequence[Mover], nodes: Sequence[NodeFacts], cluster: Cluster, policy: PlanPolicy
) -> tuple[Reason, ...]:
    """For each such rule why no arrangement can keep it, and by what it could; `nodes` take something."""
    moving = {mover.name for mover in movers}
    return tuple(
        Reason(text)
        for number, rule in policy.numbered()
        if isinstance(rule, DomainsMin) and not rule.soft
        for text in _missing(number, rule, moving, nodes, cluster)
    )


def _missing(
    number: int, rule: DomainsMin, moving: Collection[str], nodes: Sequence[NodeFacts], cluster: Cluster
) -> Iterator[str]:
    left = {domain_of(node.labels, node.name, rule.domain) for node in nodes}
    now, stays = defaultdict[str, list[str]](list), defaultdict[str, set[str]](set)
    leaving = set[str]()
    for node in cluster.nodes:
        for container in node.containers:
            value = container.descriptor.labels.get(rule.label) if container.descriptor else None
            if value is None:
                continue
            domain = domain_of(node.labels, node.name, rule.domain)
            now[value].append(domain)
            if container.name in moving:
                leaving.add(value)
            else:
                stays[value].add(domain)
    short = {}
    for value in sorted(leaving):
        wanted = min(rule.at_least, len(now[value]), len(set(now[value])))  # what was too few may stay so
        if len(left | stays[value]) < wanted:
            short[value] = (wanted, left | stays[value])
    if not short:
        return
    least = max(wanted - len(there) for wanted, there in short.values())
    most = min(len(there) for _, there in short.values())
    value, (wanted, there) = next(iter(short.items()))
    others = f" (and {counted(len(short) - 1, 'group')} more)" if len(short) > 1 else ""
    yield (
        f"rule {number} (spread): no arrangement can keep {rule.label}={value}{others} in {wanted} of {rule.domain}: "
        f"{_left(rule, there)}; possible with open nodes in {least} more of {rule.domain}{_fewer(most)}"
    )


def _left(rule: DomainsMin, there: Collection[str]) -> str:
    if not there:
        return "none is left"
    verb = "is" if len(there) == 1 else "are"
    return f"only {len(there)} {verb} left, {within(rule.domain, sorted(there)[:8])}"


def _fewer(most: int) -> str:
    """What less the rule could ask for: of one domain there is no such rule."""
    return f", or with at_least: {most}" if most > 1 else ""
