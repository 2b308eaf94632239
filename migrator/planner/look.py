"""A plan to look at: the cluster before and after it, when each move happens, and what else there was for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from migrator.model.facts import Cluster, NodeFacts, Resources
from migrator.model.links import Crossings
from migrator.model.plan import Plan, PlannedMove
from migrator.model.what_if import after
from migrator.planner.barriers import Barriers
from migrator.planner.graph import capacity_graph, speeds_of, ways_of
from migrator.planner.moves import home
from migrator.planner.placement import Mover, Site
from migrator.planner.rulebook import Rulebook
from migrator.planner.schedule import When, timeline

RESOURCES = ("cpu", "memory", "disk")


@dataclass(frozen=True, slots=True)
class Use:
    """Shares of a node's capacity that its containers hold by their limits, before and after a plan."""

    node: str
    containers: tuple[int, int]
    before: tuple[float, float, float]
    after: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A node as a place for one container once all other moves of the plan are done."""

    node: str
    share: float
    lacks: str


def end_state(cluster: Cluster, plan: Plan) -> Cluster:
    """The cluster when every move has ended; a container that the facts do not have is left out."""
    facts = {(node.name, c.name): c for node in cluster.nodes for c in node.containers}
    goals = {(way[0].source, name): way[-1].target for name, way in plan.ways().items()}
    nodes = []
    for node in cluster.nodes:
        stay = [c for c in node.containers if (node.name, c.name) not in goals]
        come = [facts[key] for key, goal in goals.items() if goal == node.name and key in facts]
        nodes.append(replace(node, containers=tuple(sorted((*stay, *come), key=lambda c: c.name))))
    return replace(cluster, nodes=tuple(nodes))


def uses(cluster: Cluster, plan: Plan) -> tuple[Use, ...]:
    """Every node that the plan touches, in the cluster's order."""
    touched = {name for move in plan.moves for name in (move.source, move.target)} | set(plan.empties)
    after = {node.name: node for node in end_state(cluster, plan).nodes}
    return tuple(
        Use(
            node.name,
            (len(node.containers), len(after[node.name].containers)),
            _shares(node, node.reserved),
            _shares(node, after[node.name].reserved),
        )
        for node in cluster.nodes
        if node.name in touched
    )


def _shares(node: NodeFacts, used: Resources) -> tuple[float, float, float]:
    whole = node.capacity
    return (
        _share(used.cpu_milli, whole.cpu_milli),
        _share(used.memory_bytes, whole.memory_bytes),
        _share(used.disk_bytes, whole.disk_bytes),
    )


def _share(used: int, whole: int) -> float:
    return used / whole if whole > 0 else float(used > 0)


def spans(cluster: Cluster, plan: Plan) -> dict[str, When]:
    """When each move of the plan is under way, by its name, if every one takes as long as estimated."""
    graph = capacity_graph(cluster, plan.policy)
    ways = ways_of(graph, ((move.source, move.target) for move in plan.moves))
    return timeline(plan.moves, plan.policy, ways, speeds_of(graph), _as_told)


def _as_told(move: PlannedMove, now_s: float) -> float:
    """How long a move waits for the start that the plan tells of it, because of a time window."""
    if move.start_s is None or move.start_s <= round(now_s, 3):
        return 0.0
    return move.start_s - now_s


def alternatives(cluster: Cluster, plan: Plan, container: str) -> Iterator[Alternative]:
    """Every node but its goal and those that are emptied as a goal for one container, be it that it moves or stays.

    Raises KeyError for a container that is on no node.
    """
    way = plan.ways().get(container, ())
    source = cluster.node(way[0].source) if way else home(cluster, container)
    goal = way[-1].target if way else source.name
    facts = source.container(container)
    if facts is None or facts.descriptor is None:
        return
    mover = Mover(facts, facts.descriptor, source)
    others = after(cluster, replace(plan, moves=tuple(m for m in plan.moves if m.container != container)))
    book = Rulebook(others.nodes, others.nodes, plan.policy)
    book.forget(mover)
    barriers = Barriers(plan.policy, Crossings(cluster.links))
    for index, node in enumerate(others.nodes):
        if node.name in (source.name, goal, *plan.empties):
            continue
        reasons = barriers.against(mover, node)
        if against := book.why_not(mover, index):
            reasons += (against,)
        site = Site.of(node, plan.policy) if node.answered else None
        lacks = "; ".join(reasons) or (site.lacks(mover) if site else "")
        yield Alternative(node.name, site.utilisation(mover) if site else 0.0, lacks)
