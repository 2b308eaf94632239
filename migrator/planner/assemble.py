"""The last step of every intent: moves in their order become a plan, with waits, estimates and its predicted time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.links import Crossings
from migrator.model.modes import Mode
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.predict import predicted
from migrator.model.rates import Rates
from migrator.planner.device_notes import device_notes
from migrator.planner.graph import capacity_graph, makespan_bound_s, rooms, speeds_of, ways_of
from migrator.planner.ordering import Leg, waits
from migrator.planner.pause_notes import pause_notes
from migrator.planner.port_notes import port_notes
from migrator.planner.range_notes import range_notes
from migrator.planner.room_notes import room_notes
from migrator.planner.rule_notes import rule_notes
from migrator.planner.schedule import makespan_s, timeline
from migrator.planner.seats import Seats
from migrator.planner.survival import survival_notes
from migrator.planner.way_notes import way_notes
from migrator.planner.windows import Hours, has_windows, placed, window_notes


def assemble(
    cluster: Cluster,
    legs: Sequence[Leg],
    reasons: Mapping[str, str],
    policy: PlanPolicy,
    *,
    intent: str,
    snapshot: str,
    empties: tuple[str, ...] = (),
    stays: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Plan:
    """A plan of these legs in this order, in which each has room once those before it have gone."""
    moved = {leg.mover.name: leg.target for leg in legs}  # of several legs the last
    told = (*room_notes(cluster.nodes, moved), *_group_notes(cluster.nodes, policy, moved))
    told = (*told, *rule_notes(cluster.nodes, policy, moved))
    told = (*told, *survival_notes(cluster.nodes, policy, moved, empties))
    graph = capacity_graph(cluster, policy)
    order = waits(
        legs, rooms(graph), policy.moves_per_node_max, policy.rules, cluster.links, Seats(cluster.nodes, policy)
    )
    nodes, crossings = {node.name: node for node in cluster.nodes}, Crossings(cluster.links)
    moves = tuple(_move(leg, nodes[leg.target], order[leg.name], reasons[leg.name], policy, crossings) for leg in legs)
    told = (*told, *way_notes(((leg.mover.source, nodes[leg.target]) for leg in legs), policy))
    ways, speeds = ways_of(graph, ((move.source, move.target) for move in moves)), speeds_of(graph)
    bound_s = makespan_bound_s(moves, ways, speeds)
    labels = {leg.mover.name: leg.mover.descriptor.labels for leg in legs}
    if not has_windows(policy):
        spans = timeline(moves, policy, ways, speeds)
    else:
        hours = Hours(labels, policy)
        spans = placed(moves, hours, ways, lambda hold: timeline(moves, policy, ways, speeds, hold))
    timed = tuple(replace(move, pause=spans[move.name].pause, follows_s=spans[move.name].follows_s) for move in moves)
    if has_windows(policy):
        timed = tuple(replace(m, start_s=spans[m.name].start_s) if hours.windows(m) else m for m in timed)
        told = (*told, *window_notes(timed, policy))
    told = (*told, *pause_notes(timed, policy), *device_notes(cluster.nodes))
    told = (*told, *port_notes((leg.mover, leg.target) for leg in legs), *range_notes(cluster, timed))
    return Plan(
        intent=intent,
        cluster=cluster.name,
        snapshot=snapshot,
        empties=empties,
        moves=timed,
        makespan_s=max(bound_s, makespan_s(spans)),
        makespan_bound_s=bound_s,
        stays=stays,
        notes=(*notes, *told),
        policy=_told(policy, moves),
    )


def _told(policy: PlanPolicy, moves: Sequence[PlannedMove]) -> PlanPolicy:
    """The policy, of what was learnt with that alone which these moves' estimates rest on."""
    if not policy.learnt and not policy.written_bytes_per_s:
        return policy
    copied = {move.container for move in moves if move.mode is Mode.PRE_COPY}
    written = {name: rate for name, rate in policy.written_bytes_per_s.items() if name in copied}
    return replace(policy, learnt=_used(policy, moves), written_bytes_per_s=written)


def _used(policy: PlanPolicy, moves: Sequence[PlannedMove]) -> dict[str, dict[str, Rates]]:
    """Of what was learnt that which the estimates of these moves rest on, sorted."""
    used: dict[str, dict[str, Rates]] = {}
    for source, target, way in sorted({(move.source, move.target, move.memory_way) for move in moves}):
        if (rates := policy.rates_unbounded(source, target, way)).runs:
            used.setdefault(source, {})[target] = rates
    return used


def fleet_notes(cluster: Cluster) -> Iterator[str]:
    """What a person should know of the fleet as it is: the silent nodes."""
    return (f"{node.name} did not answer and is left out" for node in cluster.nodes if not node.answered)


def _group_notes(nodes: Sequence[NodeFacts], policy: PlanPolicy, moved: Mapping[str, str]) -> Iterator[str]:
    """Groups that are not kept apart before the plan, and whether they are after it."""
    for node in nodes:
        for key in policy.anti_affinity:
            for value, names in _together(node, key):
                stay = sum(moved.get(name, node.name) == node.name for name in names)
                end = "are parted by this plan" if stay < 2 else "stay so"
                yield f"{', '.join(names)} of group {key}={value} are together on {node.name} already and {end}"


def _move(
    leg: Leg, target: NodeFacts, waits_for: tuple[str, ...], reason: str, policy: PlanPolicy, crossings: Crossings
) -> PlannedMove:
    container = leg.mover.container
    mode, estimate = predicted(
        container,
        leg.mover.source.link,
        target.link,
        policy.rates(leg.source, leg.target, leg.way),
        crossings.speeds(leg.source, leg.target),
        policy,
    )
    return PlannedMove(
        container=leg.mover.name,
        source=leg.source,
        target=leg.target,
        generation=container.generation,
        demand=container.reserved,
        reason=reason,
        estimate=estimate,
        waits_for=waits_for,
        leg=leg.number,
        memory_way=leg.way,
        mode=mode,
    )


def _together(node: NodeFacts, key: str) -> Iterator[tuple[str, list[str]]]:
    """Groups of which a node has more than one member before anything moves."""
    groups: dict[str, list[str]] = {}
    for container in node.containers:
        if container.descriptor and key in container.descriptor.labels:
            groups.setdefault(container.descriptor.labels[key], []).append(container.name)
    return ((value, names) for value, names in sorted(groups.items()) if len(names) > 1)
