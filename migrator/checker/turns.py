"""Priorities: nobody starts before one of a higher level that could have started in its place.

Two moves compete where they touch one node. The one that is later in the plan is overtaken if all that it waits for
has surely ended when the other starts. It is a matter of who is served first, never of what is safe.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Priority, selects


def turn_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Moves that start before others of a higher level for no reason."""
    rules = [rule for rule in policy.rules if isinstance(rule, Priority)]
    if not rules:
        return
    labels = {c.name: c.descriptor.labels for node in cluster.nodes for c in node.containers if c.descriptor}
    levels = {}
    for move in plan.moves:
        mine = labels.get(move.container, {})
        levels[move.name] = max((r.level for r in rules if selects(r.containers, move.container, mine)), default=1)
    ended: dict[str, set[str]] = {}
    for move in plan.moves:  # whoever is waited for comes before, or nothing is known to have ended
        ended[move.name] = {*move.waits_for}.union(*(ended.get(other, set()) for other in move.waits_for))
    for place, later in enumerate(plan.moves):
        for move in plan.moves[:place]:
            touches = {move.source, move.target} & {later.source, later.target}
            overtaken = levels[move.name] < levels[later.name] and ended[move.name].issuperset(later.waits_for)
            if touches and overtaken:
                text = f"container {later.container} is of a higher level than {move.container}, which starts before it"
                yield Finding(Code.OUT_OF_TURN, text, later.container, later.source)
                break
