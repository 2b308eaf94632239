"""Empty nodes: every container on them goes elsewhere, or there is no plan and each that cannot says why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from migrator.model.estimate import estimate_move
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, PlannedMove, Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import format_bytes
from migrator.planner.graph import capacity_graph, makespan_bound_s, rooms
from migrator.planner.ordering import Leg, sequence, waits
from migrator.planner.placement import Mover, Site, barred, machine_differences
from migrator.planner.room import image_bytes
from migrator.planner.schedule import makespan_s
from migrator.planner.search import Barred, Found, Sites, assign, options


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
    sites = {node.name: Site.of(node, policy) for node in targets if node.answered and node.cordon is None}
    closed = _barred(movers, targets, policy)
    found = assign(movers, sites, closed)
    stuck += [_stuck(mover, found.sites, sites, closed) for mover in found.stuck]
    if stuck:
        return Refusal(intent, tuple(sorted(stuck, key=lambda s: s.container)), _doubts(found))
    graph = capacity_graph(cluster, policy)
    legs = sequence(Leg(mover, found.targets[mover.name]) for mover in movers)
    order = waits(legs, rooms(graph), policy.moves_per_node_max)
    reasons = _choices(movers, found, sites, closed)
    moves = tuple(_move(leg, cluster.node(leg.target), order[leg.name], reasons[leg.name]) for leg in legs)
    bound_s = makespan_bound_s(graph, moves)
    return Plan(
        intent=intent,
        cluster=cluster.name,
        snapshot=snapshot,
        empties=empties,
        moves=moves,
        makespan_s=max(bound_s, makespan_s(moves, policy.moves_per_node_max)),
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
    for node in leaving:
        for container in node.containers:
            why = _unmovable(cluster, node, container)
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


def _unmovable(cluster: Cluster, node: NodeFacts, container: ContainerFacts) -> str:
    """What is wrong with the container itself, wherever it would go."""
    name = container.name
    elsewhere = [
        (other.name, there)
        for other in cluster.nodes
        if other.name != node.name and (there := other.container(name)) is not None
    ]
    held_by = [c.run for _, c in elsewhere if c.run != "-"]
    if container.run != "-" or container.state not in ("serving", "stopped") or held_by:
        run = container.run if container.run != "-" else next(iter(held_by), "?")
        return f"it is on the move ({container.state}, run {run}); finish that first: migrator resume {run}"
    if elsewhere:
        return f"node {elsewhere[0][0]} has a record of it too ({elsewhere[0][1].state}); see: migrator ct list"
    if container.state == "serving" and not container.alive:
        return f"it does not run; start it: migrator ct start {name}"
    if node.memory_available_bytes < image_bytes(container):
        short = image_bytes(container) - node.memory_available_bytes
        return f"free memory on {node.name} {format_bytes(short)} short for its images"
    return ""


def _barred(movers: Sequence[Mover], targets: Sequence[NodeFacts], policy: PlanPolicy) -> Barred:
    """For each container and target: why it can never go there. No entry means that it can."""
    sources = {mover.source.name: mover.source for mover in movers}
    alike = {(s.name, t.name): machine_differences(s, t) for s in sources.values() for t in targets}
    found = {}
    for mover in movers:
        for target in targets:
            reasons = barred(mover, target, alike[mover.source.name, target.name], policy)
            if reasons:
                found[mover.name, target.name] = reasons
    return found


def _stuck(mover: Mover, filled: Sites, alone: Sites, closed: Barred) -> Stuck:
    """What each node lacked for this container: by itself, or with those coming that have found a place there."""
    reasons = [Reason(text, node) for (name, node), texts in closed.items() if name == mover.name for text in texts]
    for name, site in filled.items():
        if (mover.name, name) in closed:
            continue
        lacking = alone[name].lacks(mover) or site.lacks(mover)
        if lacking:
            reasons.append(Reason(lacking, name))
    if not reasons:
        reasons = [Reason("there is no other node")]
    return Stuck(mover.name, mover.source.name, tuple(sorted(reasons, key=lambda reason: reason.node)))


def _doubts(found: Found) -> tuple[Reason, ...]:
    if found.stuck and not found.proved:
        return (Reason("not every arrangement was tried; drain fewer nodes at once to see whether that fits"),)
    return ()


def _choices(movers: Sequence[Mover], found: Found, sites: Sites, closed: Barred) -> dict[str, str]:
    """Why each container goes where it goes: the placement once more, looking at what else there was."""
    by_name = {mover.name: mover for mover in movers}
    said, sites = {}, dict(sites)
    for name, target in found.targets.items():
        fitting = sorted(options(by_name[name], sites, closed))
        said[name] = _choice(target, fitting)
        sites[target] = sites[target].place(by_name[name])
    return said


def _choice(target: str, fitting: Sequence[tuple[float, str]]) -> str:
    use = {name: f"{share:.0%}" for share, name in fitting}
    best, others = fitting[0][1], [name for _, name in fitting if name != target]
    if not others:
        return f"the only node that fits ({use[target]} full by then)"
    if best == target:
        return f"least loaded of {len(fitting)} that fit ({use[target]} full by then); next best {others[0]}"
    return f"so that all find a place ({use[target]} full by then); {best} would be less loaded ({use[best]})"


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
