"""Empty nodes: every container on them goes elsewhere, or there is no plan and each that cannot says why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from migrator.model.estimate import estimate_move
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, PlannedMove, Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import format_bytes
from migrator.planner.construct import construct
from migrator.planner.graph import capacity_graph, makespan_bound_s, rooms, speeds_of, ways_of
from migrator.planner.look_closely import place_closely
from migrator.planner.order_search import Track, order_of
from migrator.planner.ordering import Leg, waits
from migrator.planner.placement import Mover
from migrator.planner.room import Load, image_bytes
from migrator.planner.schedule import makespan_s, timeline


def drain(cluster: Cluster, nodes: Collection[str], snapshot: str, policy: PlanPolicy) -> Plan | Refusal:
    """A plan after which the nodes hold nothing, or what stands against it.

    `snapshot` is the digest of the cluster's facts. Raises KeyError for a node that the cluster does not have.
    """
    empties = tuple(sorted(set(nodes)))
    intent = f"drain {' '.join(empties)}"
    leaving = [cluster.node(name) for name in empties]
    silent = tuple(Reason(f"no answer: {node.error}", node.name) for node in leaving if not node.answered)
    if silent:
        return Refusal(intent, reasons=silent)
    movers, stays, stuck = _sorted_out(cluster, leaving, policy)
    targets = [node for node in cluster.nodes if node.name not in empties]
    built = construct(movers, [n for n in targets if n.answered and n.cordon is None], policy)
    choices = built.choices
    if built.stuck or stuck:
        choices, homeless, doubts = place_closely(movers, built, targets, policy)
        stuck += homeless
        if stuck:
            return Refusal(intent, tuple(sorted(stuck, key=lambda s: s.container)), doubts)
    graph = capacity_graph(cluster, policy)
    room = rooms(graph)
    wanted = [Leg(mover, choices[mover.name].target) for mover in movers]
    ways, speeds = ways_of(graph, ((leg.source, leg.target) for leg in wanted)), speeds_of(graph)
    nodes = {node.name: node for node in cluster.nodes}
    legs, blocked = order_of(wanted, Track(nodes, room, ways, speeds, policy.moves_per_node_max))
    if blocked:
        return Refusal(intent, tuple(_blocked(leg, legs, room) for leg in sorted(blocked, key=lambda leg: leg.name)))
    order = waits(legs, room, policy.moves_per_node_max)
    moves = tuple(_move(leg, nodes[leg.target], order[leg.name], choices[leg.name].said()) for leg in legs)
    bound_s = makespan_bound_s(moves, ways, speeds)
    return Plan(
        intent=intent,
        cluster=cluster.name,
        snapshot=snapshot,
        empties=empties,
        moves=moves,
        makespan_s=max(bound_s, makespan_s(timeline(moves, policy.moves_per_node_max, ways, speeds))),
        makespan_bound_s=bound_s,
        stays=tuple(container.name for container in stays),
        notes=tuple(_notes(cluster, leaving, stays, policy)),
        policy=policy,
    )


def _sorted_out(
    cluster: Cluster, leaving: Sequence[NodeFacts], policy: PlanPolicy
) -> tuple[list[Mover], list[ContainerFacts], list[Stuck]]:
    """The containers of the nodes: those that move, those that stay because they are stopped, those that cannot."""
    movers, stays, stuck = [], [], []
    places = _places(cluster, leaving)
    for node in leaving:
        for container in node.containers:
            why = _unmovable(places[container.name], node, container)
            if container.state == "stopped" and container.run == "-":
                if policy.leave_stopped:
                    stays.append(container)
                    continue
                why = (
                    f"it is stopped, and a live drain moves what runs; start it: migrator ct start {container.name}; "
                    "or leave it there with --leave-stopped"
                )
            if why or container.descriptor is None:
                stuck.append(Stuck(container.name, node.name, (Reason(why or "its descriptor is missing"),)))
            else:
                movers.append(Mover(container, container.descriptor, node))
    return movers, stays, stuck


Places = dict[str, list[tuple[str, ContainerFacts]]]


def _places(cluster: Cluster, leaving: Sequence[NodeFacts]) -> Places:
    """For each container on these nodes: every node that has a record of it, and what that says."""
    places: Places = {container.name: [] for node in leaving for container in node.containers}
    for node in cluster.nodes:
        for container in node.containers:
            if container.name in places:
                places[container.name].append((node.name, container))
    return places


def _unmovable(places: Sequence[tuple[str, ContainerFacts]], node: NodeFacts, container: ContainerFacts) -> str:
    """What is wrong with the container itself, wherever it would go."""
    name = container.name
    elsewhere = [(other, there) for other, there in places if other != node.name]
    held_by = [c.run for _, c in elsewhere if c.run != "-"]
    if container.run != "-" or container.state not in ("serving", "stopped") or held_by:
        run = container.run if container.run != "-" else next(iter(held_by), "?")
        return f"it is on the move ({container.state}, run {run}); finish that first: migrator resume {run}"
    if elsewhere:
        return f"node {elsewhere[0][0]} has a record of it too ({elsewhere[0][1].state}); see: migrator ct list"
    if container.state == "serving" and not container.alive:
        return f"it does not run; start it: migrator ct start {name}"
    return ""


def _blocked(leg: Leg, gone: Sequence[Leg], room: Mapping[str, Load]) -> Stuck:
    """A move that has no room for its images where it starts, even when all that can leave before it has left."""
    free_bytes = room[leg.source].measured.memory_bytes
    free_bytes += sum(other.mover.container.anon_bytes for other in gone if other.source == leg.source)
    short = format_bytes(image_bytes(leg.mover.container) - free_bytes)
    return Stuck(leg.name, leg.source, (Reason(f"free memory on {leg.source} {short} short for its images"),))


def _move(leg: Leg, target: NodeFacts, waits_for: tuple[str, ...], reason: str) -> PlannedMove:
    container = leg.mover.container
    return PlannedMove(
        container=leg.name,
        source=leg.source,
        target=leg.target,
        generation=container.generation,
        demand=container.reserved,
        reason=reason,
        estimate=estimate_move(container, leg.mover.source.link, target.link),
        waits_for=waits_for,
    )


def _notes(
    cluster: Cluster, leaving: Sequence[NodeFacts], stays: Sequence[ContainerFacts], policy: PlanPolicy
) -> Iterator[str]:
    """What a person should know beside the moves."""
    for node in leaving:
        if not node.containers:
            yield f"{node.name} holds no container already"
    for container in stays:
        yield f"container {container.name} is stopped and stays where it is"
    for node in cluster.nodes:
        if not node.answered:
            yield f"{node.name} did not answer and is left out"
        for key in policy.anti_affinity:
            for value, names in _together(node, key):
                yield f"{', '.join(names)} of group {key}={value} are together on {node.name} already"


def _together(node: NodeFacts, key: str) -> Iterator[tuple[str, list[str]]]:
    """Groups of which a node has more than one member before anything moves."""
    groups: dict[str, list[str]] = defaultdict(list)
    for container in node.containers:
        if container.descriptor and key in container.descriptor.labels:
            groups[container.descriptor.labels[key]].append(container.name)
    return ((value, names) for value, names in sorted(groups.items()) if len(names) > 1)
