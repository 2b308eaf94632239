"""At least so many failure domains at every moment: is there one at which a group may be in fewer of them?

Theory. A container that moves may be in either of its two domains meanwhile. So any set of moves may be seen as made
that holds, with each, all that it waits for, and every moment of the plan is one of these sets. For some domains, fewer
than the rule asks for, the least such set is searched for that leaves nobody outside of them: everybody goes on until
he is inside, and takes along whom his moves wait for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import DomainsMin

Moves = tuple[PlannedMove, ...]
Ended = Mapping[str, Collection[str]]  # for each move those that have surely ended when it starts


@dataclass(frozen=True, slots=True)
class _Way:
    """The domains that one container is in, from where it is before the plan, and the moves between them."""

    domains: tuple[str, ...]
    moves: tuple[str, ...]

    def next_in(self, domains: Collection[str], made: int) -> int | None:
        """After how many of its moves, of those made or more, it is in one of the domains; None if never."""
        return next((count for count in range(made, len(self.domains)) if self.domains[count] in domains), None)


def span_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Groups that may be in fewer domains than a rule lets, and than they were in before the plan."""
    rules = [r for r in policy.rules if isinstance(r, DomainsMin) and not r.soft and r.continuous]
    if not rules:
        return
    nodes = {node.name: node for node in cluster.nodes}
    moves = {(moves[0].source, name): moves for name, moves in plan.ways().items()}
    ended = _ended(plan)
    for rule in rules:
        groups: dict[str, list[_Way]] = {}
        for node in cluster.nodes:
            for container in node.containers:
                value = container.descriptor.labels.get(rule.label) if container.descriptor else None
                if value is not None:
                    its = moves.get((node.name, container.name), ())
                    domains = (_domain(rule, node), *(_domain(rule, nodes[move.target]) for move in its))
                    groups.setdefault(value, []).append(_Way(domains, tuple(move.name for move in its)))
        for value, ways in groups.items():
            wanted = min(rule.at_least, len({way.domains[0] for way in ways}))
            found = _fewer(sorted(ways, key=lambda way: len(way.domains)), wanted, ended)
            if found is not None:
                asked = f"at least {rule.at_least} of {rule.domain} are asked for"
                text = f"{rule.label}={value} may be in {', '.join(sorted(found))} only at some moment, {asked}"
                yield Finding(Code.SPREAD, text)


def _domain(rule: DomainsMin, node: NodeFacts) -> str:
    return f"{rule.domain}={node.labels[rule.domain]}" if rule.domain in node.labels else node.name


def _ended(plan: Plan) -> dict[str, frozenset[str]]:
    """For each move all that it waits for, and what those wait for; who is waited for stands before in a plan."""
    ended: dict[str, frozenset[str]] = {}
    for move in plan.moves:
        ended[move.name] = frozenset(move.waits_for).union(*(ended.get(other, ()) for other in move.waits_for))
    return ended


def _fewer(ways: Sequence[_Way], wanted: int, ended: Ended, chosen: frozenset[str] = frozenset()) -> set[str] | None:
    """Fewer than `wanted` domains that all may be in at one moment, those that are chosen among them; None if none."""
    if len(chosen) >= wanted:
        return None
    outside = next((way for way in ways if not chosen.intersection(way.domains)), None)
    if outside is None and _meet(ways, chosen, ended):
        return set(chosen)
    if len(chosen) + 1 >= wanted:
        return None
    more = outside.domains if outside else {domain for way in ways for domain in way.domains}
    for domain in sorted(set(more) - chosen):
        found = _fewer(ways, wanted, ended, chosen | {domain})
        if found is not None:
            return found
    return None


def _meet(ways: Sequence[_Way], domains: Collection[str], ended: Ended) -> bool:
    """Whether there is a moment at which everybody is in one of these domains."""
    made, before = [0] * len(ways), set[str]()
    while True:
        was = list(made)
        for number, way in enumerate(ways):
            pushed = max((place for place, move in enumerate(way.moves, 1) if move in before), default=0)
            count = way.next_in(domains, max(made[number], pushed))
            if count is None:
                return False
            made[number] = count
            for move in way.moves[:count]:
                before.add(move)
                before.update(ended[move])
        if made == was:
            return True
