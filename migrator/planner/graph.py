"""The capacity graph: nodes with their room, and the links between them with their speeds.

Each node is joined to one switch by an edge up and an edge down. A link that several nodes share is one more vertex
between nodes and switch, with an edge up and one down of its own; a link behind another is below it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import networkx as nx

from migrator.model.facts import Cluster
from migrator.model.plan import PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import SEND_BYTES_PER_S
from migrator.planner.room import Load, room_of

SWITCH = "*"  # never the name of a node


def capacity_graph(cluster: Cluster, policy: PlanPolicy) -> nx.DiGraph:
    """Vertices of nodes carry `room` (a Load), edges `bytes_per_s`.

    A node's link of unknown speed has what the machinery reaches, by its defaults or what was learnt, if that is more;
    a shared one holds nobody up.
    """
    graph = nx.DiGraph()
    graph.add_node(SWITCH)
    above: dict[str, str] = {}
    largest_first = sorted((link for link in cluster.links if link.nodes), key=lambda link: -len(link.nodes))
    for link in largest_first:  # of those that a node is behind each later one is behind the earlier
        vertex, parent = f"{SWITCH}{link.name}", above.get(link.nodes[0], SWITCH)
        _join(graph, vertex, parent, link.up_bytes_per_s or math.inf, link.down_bytes_per_s or math.inf)
        above |= dict.fromkeys(link.nodes, vertex)
    seen: dict[str, int] = {}
    for source, targets in policy.learnt.items():
        for target, rates in targets.items():
            for name in (source, target):
                seen[name] = max(seen.get(name, 0), rates.send_bytes_per_s)
    for node in cluster.nodes:
        graph.add_node(node.name, room=room_of(node, policy))
        up, down = node.link.up_bytes_per_s, node.link.down_bytes_per_s
        unknown = max(SEND_BYTES_PER_S, seen.get(node.name, 0))
        _join(graph, node.name, above.get(node.name, SWITCH), up or unknown, down or unknown)
    return graph


def _join(graph: nx.DiGraph, below: str, above: str, up_bytes_per_s: float, down_bytes_per_s: float) -> None:
    graph.add_edge(below, above, bytes_per_s=up_bytes_per_s)
    graph.add_edge(above, below, bytes_per_s=down_bytes_per_s)


def rooms(graph: nx.DiGraph) -> dict[str, Load]:
    return {name: data["room"] for name, data in graph.nodes(data=True) if "room" in data}


Edge = tuple[str, str]
Ways = dict[Edge, tuple[Edge, ...]]


def ways_of(graph: nx.DiGraph, pairs: Iterable[tuple[str, str]]) -> Ways:
    """The links between nodes, for each pair: up from the source until a vertex that leads down to the target.

    Links form a tree below the switch, so the parent of every vertex says all, and a way costs its own length.
    """
    parent = {below: above for above, below in nx.bfs_edges(graph, SWITCH)}
    found: Ways = {}
    for source, target in pairs:
        if (source, target) not in found:
            up, down = _upwards(source, parent), _upwards(target, parent)
            top = next(vertex for vertex in up if vertex in down)
            path = [*up[: up.index(top)], *reversed(down[: down.index(top) + 1])]
            found[source, target] = tuple(nx.utils.pairwise(path))
    return found


def _upwards(vertex: str, parent: Mapping[str, str]) -> list[str]:
    """The vertices from this one up to the switch."""
    path = [vertex]
    while path[-1] in parent:
        path.append(parent[path[-1]])
    return path


def speeds_of(graph: nx.DiGraph) -> dict[Edge, float]:
    """Bytes a second of every link."""
    return {(a, b): float(data["bytes_per_s"]) for a, b, data in graph.edges(data=True)}


def makespan_bound_s(moves: Iterable[PlannedMove], ways: Ways, speeds: Mapping[Edge, float]) -> float:
    """The busiest link's bytes over its speed: no schedule of these moves is shorter."""
    sent: dict[Edge, int] = defaultdict(int)
    for move in moves:
        for edge in ways[move.source, move.target]:
            sent[edge] += move.estimate.bytes
    return round(max((count / speeds[edge] for edge, count in sent.items()), default=0.0), 3)
