"""Empty nodes: every container on them goes elsewhere, or there is no plan and each that cannot says why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.links import Crossings
from migrator.model.plan import Plan, Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.arrays import Targets
from migrator.planner.assemble import assemble, fleet_notes
from migrator.planner.construct import Built, construct, construct_on
from migrator.planner.domains_left import domains_missing
from migrator.planner.graph import capacity_graph, rooms, speeds_of, ways_of
from migrator.planner.look_closely import place_closely
from migrator.planner.more_room import no_order, unsent
from migrator.planner.movers import places_of, unmovable
from migrator.planner.order_search import Track, order_of
from migrator.planner.ordering import Leg, sequence
from migrator.planner.placement import Mover
from migrator.planner.priorities import classes
from migrator.planner.rings import said, untangle
from migrator.planner.seats import Seats, is_seated
from migrator.planner.stop_overs import Ground
from migrator.planner.survive import survivable
from migrator.planner.windows import shut_out


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
    movers, stays, stuck = sorted_out(cluster, leaving, policy)
    targets = [node for node in cluster.nodes if node.name not in empties]
    open_nodes = [n for n in targets if n.answered and n.cordon is None]
    built = construct(movers, open_nodes, policy, cluster)
    if built.stuck and any(rule.soft for rule in policy.rules):
        hard = replace(policy, rules=tuple(rule for rule in policy.rules if not rule.soft))
        built = construct(movers, open_nodes, hard, cluster)

    def planned(built: Built, in_turn: bool = False) -> Plan | Refusal:
        built, unsafe = survivable(movers, built, open_nodes, empties, policy, cluster)
        if unsafe:
            return Refusal(intent, reasons=unsafe)
        return emptied(
            cluster,
            empties,
            legs_to(cluster, ((mover, built.choices[mover.name].target) for mover in movers), policy),
            {mover.name: built.choices[mover.name].said() for mover in movers},
            policy,
            intent=intent,
            snapshot=snapshot,
            stays=tuple(container.name for container in stays),
            notes=tuple(_notes(cluster, leaving, stays, policy)),
            in_turn=in_turn,
        )

    if not built.stuck and not stuck:
        return planned(built)
    choices, homeless, doubts = place_closely(movers, built, targets, policy, cluster)
    if not homeless and not stuck:
        return planned(Built(choices, ()))
    if not stuck and any(is_seated(rule) for rule in policy.rules):  # where whoever comes waits for whoever leaves
        made = construct_on(movers, Targets(open_nodes, policy, cluster, ordered=True), len(movers))
        if not made.stuck and isinstance(plan := planned(made, in_turn=True), Plan):
            return plan
    impossible = domains_missing(movers, open_nodes, cluster, policy)
    return Refusal(intent, tuple(sorted((*stuck, *homeless), key=lambda s: s.container)), impossible or doubts)


def emptied(
    cluster: Cluster,
    empties: tuple[str, ...],
    legs: Sequence[Leg],
    reasons: Mapping[str, str],
    policy: PlanPolicy,
    *,
    intent: str,
    snapshot: str,
    stays: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    hasty: bool = False,
    in_turn: bool = False,
) -> Plan | Refusal:
    """A plan that empties nodes by these moves, of which each has a place, in an order in which each has room.

    With `hasty` the first such order is taken, and none looked for that is done sooner; with `in_turn` it is one in
    which each finds its seats too (seats.py), which the places of these moves do not promise by themselves.

    `reasons` say for each container why it goes there. A refusal when there is no such order, or no time for one.
    """
    graph = capacity_graph(cluster, policy)
    room = rooms(graph)
    first = classes([leg.mover for leg in legs], policy.rules)
    wanted = sorted(legs, key=lambda leg: (first.get(leg.name, 0), leg.mover.turn))
    ways, speeds = ways_of(graph, ((leg.source, leg.target) for leg in wanted)), speeds_of(graph)
    nodes = {node.name: node for node in cluster.nodes}
    if shut := shut_out(wanted, cluster, policy):
        return Refusal(intent, tuple(shut))
    track = Track(nodes, room, ways, speeds, policy, first, cluster.links, Crossings(cluster.links))
    if in_turn:
        order, blocked = sequence(wanted, room, seats=Seats(cluster.nodes, policy))
    else:
        order, blocked = sequence(wanted, room) if hasty else order_of(wanted, track)
    if blocked:
        ground = Ground(cluster, policy, room, wanted, empties)
        order, blocked = untangle(wanted, ground)
        if blocked:
            stuck = [
                Stuck(leg.name, leg.source, (Reason(unsent(leg, order, room)),))
                for leg in sorted(blocked, key=lambda leg: leg.name)
            ]
            return no_order(intent, stuck, order, blocked, ground)
    return assemble(
        cluster,
        order,
        said(order, reasons),
        policy,
        intent=intent,
        snapshot=snapshot,
        empties=empties,
        stays=stays,
        notes=notes,
    )


def legs_to(cluster: Cluster, moved: Iterable[tuple[Mover, str]], policy: PlanPolicy) -> list[Leg]:
    """The moves of containers to these nodes, each with the way of its memory."""
    nodes = {node.name: node for node in cluster.nodes}
    return [Leg(mover, target, policy.way(mover.source, nodes[target]), asked=policy.mode) for mover, target in moved]


def sorted_out(
    cluster: Cluster, leaving: Sequence[NodeFacts], policy: PlanPolicy
) -> tuple[list[Mover], list[ContainerFacts], list[Stuck]]:
    """The containers of the nodes: those that move, those that stay because they are stopped, those that cannot."""
    movers, stays, stuck = [], [], []
    places = places_of(cluster, (container.name for node in leaving for container in node.containers))
    for node in leaving:
        for container in node.containers:
            why = unmovable(places[container.name], node, container)
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


def _notes(
    cluster: Cluster, leaving: Sequence[NodeFacts], stays: Sequence[ContainerFacts], policy: PlanPolicy
) -> Iterator[str]:
    """What a person should know beside the moves."""
    for node in leaving:
        if not node.containers:
            yield f"{node.name} holds no container already"
    for container in stays:
        yield f"container {container.name} is stopped and stays where it is"
    yield from fleet_notes(cluster)
