"""The policy's hard rules, held against every move at the worst moment that the plan allows; rules_end.py has the end.

Written apart from the planner's: it counts, for each move, who may be where when that move ends (all that may have
come, and of those that leave all that have not surely left), and never keeps sums from one move to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Plan, PlannedMove, move_name
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Affinity, Ban, Crowd, Fence, Lonely, Pin, Spread, selected, selects


def rule_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Every move that a rule forbids. What broke a rule before the plan, and is not made worse, is no finding."""
    nodes = {node.name: node for node in cluster.nodes}
    labels = {
        c.name: dict(c.descriptor.labels) for node in cluster.nodes for c in node.containers if c.descriptor is not None
    }
    ended = _ended(plan)
    hard = [rule for rule in policy.rules if not rule.soft]
    for move in plan.moves:
        mine = labels.get(move.container, {})
        for rule in hard:
            match rule:
                case Ban() | Fence() | Pin() if selects(rule.containers, move.container, mine):
                    yield from _meant(rule, move, nodes)
                case Crowd() if rule.continuous and (not rule.nodes or _in(nodes, move.target, rule.nodes)):
                    count = len(_there(nodes, {move.target}, plan, move, ended))
                    text = f"{count} containers are there then, at most {rule.at_most} may be"
                    if count > rule.at_most:
                        yield _finding(Code.CROWDED, move, text)
                case Lonely() if rule.continuous:
                    there = _there(nodes, {move.target}, plan, move, ended) - {move.container}
                    kind = selects(rule.containers, move.container, mine)
                    if any(selects(rule.containers, name, labels.get(name, {})) != kind for name in there):
                        yield _finding(Code.NOT_ALONE, move, f"{rule.containers} is to be alone on its nodes")
                case Affinity() if rule.continuous and rule.label in mine:
                    yield from _leaves(rule, move, nodes, labels)
                case Spread() if rule.continuous and rule.label in mine:
                    yield from _spread(rule, move, nodes, labels, plan, ended)


def _meant(rule: Ban | Fence | Pin, move: PlannedMove, nodes: Mapping[str, NodeFacts]) -> Iterator[Finding]:
    """A move of a container that the rule means."""
    match rule:
        case Pin():
            yield _finding(Code.PINNED, move, f"{rule.containers} stays where it is")
        case Ban() if _in(nodes, move.target, rule.nodes):
            yield _finding(Code.BANNED, move, f"{rule.containers} is never on {', '.join(rule.nodes)}")
        case Fence() if not _in(nodes, move.target, rule.nodes):
            yield _finding(Code.FENCED, move, f"{rule.containers} is on {', '.join(rule.nodes)} only")


def _leaves(
    rule: Affinity, move: PlannedMove, nodes: Mapping[str, NodeFacts], labels: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """A move that takes a container out of the domains in which its group was."""
    value, target = labels[move.container][rule.label], nodes[move.target]
    for node in nodes.values():
        if any(labels.get(c.name, {}).get(rule.label) == value for c in node.containers) and (
            node is target
            or (rule.domain in node.labels and node.labels[rule.domain] == target.labels.get(rule.domain))
        ):
            return
    yield _finding(Code.APART, move, f"it leaves the others of {rule.label}={value}")


def _spread(
    rule: Spread,
    move: PlannedMove,
    nodes: Mapping[str, NodeFacts],
    labels: Mapping[str, Mapping[str, str]],
    plan: Plan,
    ended: Mapping[str, frozenset[str]],
) -> Iterator[Finding]:
    domain = nodes[move.target].labels.get(rule.domain)
    if move.target == move.source or (domain is not None and nodes[move.source].labels.get(rule.domain) == domain):
        return
    inside = {n.name for n in nodes.values() if n.labels.get(rule.domain) == domain} if domain else {move.target}
    value = labels[move.container][rule.label]
    members = [c for c in _there(nodes, inside, plan, move, ended) if labels.get(c, {}).get(rule.label) == value]
    if len(members) > rule.at_most:
        where = f"in {rule.domain}={domain}" if domain else f"on {move.target}"
        text = f"{len(members)} of {rule.label}={value} are {where} then, at most {rule.at_most} may be"
        yield _finding(Code.SPREAD, move, text)


def _there(
    nodes: Mapping[str, NodeFacts],
    inside: set[str],
    plan: Plan,
    move: PlannedMove,
    ended: Mapping[str, frozenset[str]],
) -> set[str]:
    """The containers that may be on these nodes when the move ends: at first, or come and not surely gone on."""
    there = {c.name for name in inside for c in nodes[name].containers}
    gone = ended[move.name]
    there -= {m.container for m in plan.moves if m.source in inside and m.leg == 1 and m.name in gone}
    there |= {
        m.container
        for m in plan.moves
        if m.target in inside and move.name not in ended[m.name] and move_name(m.container, m.leg + 1) not in gone
    }
    return there


def _ended(plan: Plan) -> dict[str, frozenset[str]]:
    """For each move, those that have surely ended when it starts."""
    waits = {move.name: move.waits_for for move in plan.moves}
    ended: dict[str, frozenset[str]] = {}
    while len(ended) < len(waits):
        for name, direct in waits.items():
            if name not in ended and all(other in ended for other in direct):
                ended[name] = frozenset(direct).union(*(ended[other] for other in direct))
    return ended


def _in(nodes: Mapping[str, NodeFacts], name: str, selectors: tuple[str, ...]) -> bool:
    return selected(selectors, name, nodes[name].labels)


def _finding(code: Code, move: PlannedMove, text: str) -> Finding:
    return Finding(code, f"container {move.container} to {move.target}: {text}", move.container, move.target)
