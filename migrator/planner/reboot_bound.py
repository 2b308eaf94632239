"""How many groups a reboot needs at least, from totals alone.

Theory. With the nodes of a group down, what they hold has to be in the room of the others: the sum of what they hold
and of their own free room is at most the free room of all. So much of that total a node costs its group. The groups
share the costs of all nodes, so there are at least as many as the sum of the costs over the total; and a group has no
more nodes than the cheapest of them that the total pays for. This holds for every resource of both ledgers. Likewise
containers that exclude each other need a node each: those of the largest such set, on g of the T nodes that may take
containers, leave at most T - g of these down at one time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import accumulate

from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import PlanPolicy


def groups_by_room(costs: Sequence[Sequence[int]], total: Sequence[int]) -> int:
    """`costs` has for each node a number for each resource, `total` is the free room of all."""
    least = min(len(costs), 1)
    for place, whole in enumerate(total):
        column = sorted(cost[place] for cost in costs)
        if whole > 0:
            together = bisect_right(list(accumulate(column)), whole)
            least = max(least, -(-sum(column) // whole), -(-len(column) // max(together, 1)))
    return least


def groups_by_exclusion(nodes: Sequence[NodeFacts], asked: Collection[str], policy: PlanPolicy) -> int:
    """`nodes` are those that may take containers, `asked` those that are to be rebooted."""
    homes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for node in nodes:
        for container in node.containers:
            labels = container.descriptor.labels if container.descriptor and container.state != "stopped" else {}
            for key in policy.anti_affinity:
                if key in labels:
                    homes[key, labels[key]].add(node.name)
    down = sum(node.name in asked for node in nodes)
    together = len(nodes) - max((len(home) for home in homes.values()), default=0)
    return -(-down // max(together, 1))
