"""Disruption budgets: the most moves of a group that the waits let be under way at one time.

Theory. Two moves may be under way together unless one surely waits for the other. The largest set of moves of which
any two may be is as large as the fewest chains of waits that hold them all (Dilworth), and those are the moves less a
largest matching of each with one that it waits for (Koenig).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Budget


def budget_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Groups of which more may be in motion at some moment than their budget lets, and links that more may cross."""
    budgets = [rule for rule in policy.rules if isinstance(rule, Budget)]
    links = [link for link in cluster.links if link.moves_max is not None]
    if not budgets and not links:
        return
    labels = {c.name: c.descriptor.labels for node in cluster.nodes for c in node.containers if c.descriptor}
    before = _before(plan)
    for rule in budgets:
        groups: dict[str, list[str]] = {}
        for move in plan.moves:
            if rule.label in labels.get(move.container, {}):
                groups.setdefault(labels[move.container][rule.label], []).append(move.name)
        for value, names in groups.items():
            count = together(names, before) if len(names) > rule.at_most else 0
            if count > rule.at_most:
                text = f"{count} of {rule.label}={value} may be in motion at one time, at most {rule.at_most} are to be"
                yield Finding(Code.BUDGET, text)
    for link in links:
        inside = frozenset(link.nodes)
        crossing = [m.name for m in plan.moves if len({m.source, m.target} & inside) == 1]
        count = together(crossing, before)
        if link.moves_max is not None and count > link.moves_max:
            text = f"{count} moves may cross link {link.name} at one time, at most {link.moves_max} are to"
            yield Finding(Code.LINK_BUSY, text)


def together(names: Sequence[str], before: Mapping[str, frozenset[str]]) -> int:
    """How many of these moves may be under way at one time at most."""
    inside = set(names)
    earlier = {name: sorted(before[name] & inside) for name in names}
    follower: dict[str, str] = {}  # of each move the one that is matched to it as coming after
    return len(names) - sum(_matched(name, earlier, follower) for name in names)


def _matched(name: str, earlier: Mapping[str, Sequence[str]], follower: dict[str, str]) -> bool:
    """Whether one more move can be matched; the others may change places for that, along the shortest way."""
    reached_from: dict[str, str] = {}
    asked = [name]
    for later in asked:
        for one in earlier[later]:
            if one in reached_from:
                continue
            reached_from[one] = later
            if one in follower:
                asked.append(follower[one])
                continue
            place: str | None = one
            while place is not None:
                taker = reached_from[place]
                freed = next((e for e in earlier[taker] if follower.get(e) == taker), None)
                follower[place] = taker
                place = freed
            return True
    return False


def _before(plan: Plan) -> dict[str, frozenset[str]]:
    """For each move all that have surely ended when it starts."""
    direct = {move.name: move.waits_for for move in plan.moves}
    found: dict[str, frozenset[str]] = {}
    left = list(direct)
    while left:
        ready = [name for name in left if all(other in found for other in direct[name])]
        for name in ready:
            found[name] = frozenset(direct[name]).union(*(found[other] for other in direct[name]))
        left = [name for name in left if name not in found]
    return found
