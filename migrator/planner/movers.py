"""Which containers a plan may move of its own choice, when nobody asked for a node to be emptied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from migrator.model.facts import Cluster, NodeFacts
from migrator.planner.placement import Mover


def open_nodes(cluster: Cluster) -> list[NodeFacts]:
    """The nodes that answered and are not cordoned, in the order of their names."""
    return [node for node in cluster.nodes if node.answered and node.cordon is None]


def free_movers(cluster: Cluster, nodes: Sequence[NodeFacts]) -> list[Mover]:
    """The containers on these nodes that run, are whole, and are not on the move; sorted by name."""
    records = Counter(container.name for node in cluster.nodes for container in node.containers)
    found = [
        Mover(container, container.descriptor, node)
        for node in nodes
        for container in node.containers
        if container.descriptor is not None
        and container.state == "serving"
        and container.alive
        and container.run == "-"
        and records[container.name] == 1
    ]
    return sorted(found, key=lambda mover: mover.name)
