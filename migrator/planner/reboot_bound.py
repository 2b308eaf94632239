"""How many groups a reboot needs at least, from totals alone.

Theory. With the nodes of a group down, what they hold has to be in the room of the others: the sum of what they hold
and of their own free room is at most the free room of all. So much of that total a node costs its group. The groups
share the costs of all nodes, so there are at least as many as the sum of the costs over the total; and a group has no
more nodes than the cheapest of them that the total pays for. This holds for every resource of both ledgers; and it
holds in pieces of any size, where a container that is at least as large counts as one piece, and room as the whole
pieces that fit into each node: so room in crumbs counts for nothing to those that are large. Likewise containers that
exclude each other need a node each: those of the largest such set, on g of the T nodes that may take
containers, leave at most T - g of these down at one time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import accumulate

from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import PlanPolicy

Rows = Sequence[Sequence[int]]
SIZES_MAX = 16  # of the sizes of containers so many are asked, the largest among them


def groups_by_room(costs: Rows, total: Sequence[int]) -> int:
    """`costs` has for each node a number for each resource, `total` is the free room of all."""
    least = min(len(costs), 1)
    for place, whole in enumerate(total):
        column = sorted(cost[place] for cost in costs)
        if whole > 0:
            together = bisect_right(list(accumulate(column)), whole)
            least = max(least, -(-sum(column) // whole), -(-len(column) // max(together, 1)))
    return least


def groups_by_size(held: Sequence[Rows], own: Rows, room: Rows) -> int:
    """`held` are the containers of each node, `own` is its own room, `room` that of every node that takes any."""
    least = 0
    for place in range(len(room[0]) if room else 0):
        sizes = sorted({row[place] for rows in held for row in rows if row[place] > 0}, reverse=True)
        for size in sizes[:: -(-len(sizes) // SIZES_MAX) or 1]:
            total = sum(row[place] // size for row in room)
            costs = [
                [free[place] // size + sum(row[place] >= size for row in rows)]
                for free, rows in zip(own, held, strict=True)
            ]
            least = max(least, groups_by_room(costs, [total]))
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
