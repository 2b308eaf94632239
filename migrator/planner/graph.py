"""The capacity graph: nodes with their room, and the links between them with their speeds.

Each node is joined to one switch by an edge up and an edge down. A link that several nodes share is one more vertex
between nodes and switch, with an edge up and one down of its own; a link behind another is below it. So it is a tree,
and the parent of every vertex says all of its shape.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from migrator.model.facts import Cluster
from migrator.model.plan import PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import SEND_BYTES_PER_S
from migrator.planner.room import Load, room_of

SWITCH = "*"  # never the name of a node
Edge = tuple[str, str]
Ways = dict[Edge, tuple[Edge, ...]]


@dataclass(frozen=True, slots=True)
class CapacityGraph:
    """`rooms` of nodes, `parents` of all vertices but the switch, and the speed of each edge in bytes a second."""

    rooms: dict[str, Load] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    speeds: dict[Edge, float] = field(default_factory=dict)

    def join(self, below: str, above: str, up_bytes_per_s: float, down_bytes_per_s: float) -> None:
        """Puts a vertex below another."""
        self.parents[below] = above
        self.speeds[below, above] = float(up_bytes_per_s)
        self.speeds[above, below] = float(down_bytes_per_s)


def capacity_graph(cluster: Cluster, policy: PlanPolicy) -> CapacityGraph:
    """The graph of a cluster before anything moves.

    A node's link of unknown speed has what the machinery reaches, by its defaults or what was learnt, if that is more;
    a shared one holds nobody up.
    """
    graph = CapacityGraph()
    above: dict[str, str] = {}
    largest_first = sorted((link for link in cluster.links if link.nodes), key=lambda link: -len(link.nodes))
    for link in largest_first:  # of those that a node is behind each later one is behind the earlier
        vertex, parent = f"{SWITCH}{link.name}", above.get(link.nodes[0], SWITCH)
        graph.join(vertex, parent, link.up_bytes_per_s or math.inf, link.down_bytes_per_s or math.inf)
        above |= dict.fromkeys(link.nodes, vertex)
    seen: dict[str, int] = {}
    for source, targets in policy.learnt.items():
        for target, rates in targets.items():
            for name in (source, target):
                seen[name] = max(seen.get(name, 0), rates.send_bytes_per_s)
    for node in cluster.nodes:
        graph.rooms[node.name] = room_of(node, policy)
        up, down = node.link.up_bytes_per_s, node.link.down_bytes_per_s
        unknown = max(SEND_BYTES_PER_S, seen.get(node.name, 0))
        graph.join(node.name, above.get(node.name, SWITCH), up or unknown, down or unknown)
    return graph


def rooms(graph: CapacityGraph) -> dict[str, Load]:
    """What each node can take before anything moves."""
    return graph.rooms


def ways_of(graph: CapacityGraph, pairs: Iterable[tuple[str, str]]) -> Ways:
    """The links between nodes, for each pair: up from the source until a vertex that leads down to the target."""
    found: Ways = {}
    for source, target in pairs:
        if (source, target) not in found:
            up, down = _upwards(source, graph.parents), _upwards(target, graph.parents)
            top = next(vertex for vertex in up if vertex in down)
            path = [*up[: up.index(top)], *reversed(down[: down.index(top) + 1])]
            found[source, target] = tuple(pairwise(path))
    return found


def _upwards(vertex: str, parent: Mapping[str, str]) -> list[str]:
    """The vertices from this one up to the switch."""
    path = [vertex]
    while path[-1] in parent:
        path.append(parent[path[-1]])
    return path


def speeds_of(graph: CapacityGraph) -> dict[Edge, float]:
    """Bytes a second of every link."""
    return graph.speeds


def makespan_bound_s(moves: Iterable[PlannedMove], ways: Ways, speeds: Mapping[Edge, float]) -> float:
    """The busiest link's bytes over its speed: no schedule of these moves is shorter."""
    sent: dict[Edge, int] = defaultdict(int)
    for move in moves:
        for edge in ways[move.source, move.target]:
            sent[edge] += move.estimate.bytes
    return round(max((count / speeds[edge] for edge, count in sent.items()), default=0.0), 3)
