"""Moves that somebody asked for by name, and the way back of a plan's: nothing is chosen but the order.

Theory. Each container has one target, so each is asked for by itself whether it suits, beside those that stay there.
What the others of the same plan free or take is a matter of the order, and that is found as for every plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.links import Crossings
from migrator.model.plan import Plan, Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Way
from migrator.planner.assemble import assemble, fleet_notes
from migrator.planner.barriers import Barriers
from migrator.planner.company import Company
from migrator.planner.graph import capacity_graph, rooms
from migrator.planner.more_room import no_order, unsent
from migrator.planner.movers import groups_of, places_of, unmovable
from migrator.planner.ordering import Leg
from migrator.planner.placement import Mover, Site
from migrator.planner.priorities import classes
from migrator.planner.rings import said, untangle, untangle_beside
from migrator.planner.rulebook import Rulebook
from migrator.planner.stop_overs import Ground
from migrator.planner.survival import Watch
from migrator.planner.windows import shut_out


def move(cluster: Cluster, wishes: Mapping[str, str], snapshot: str, policy: PlanPolicy, intent: str) -> Plan | Refusal:
    """A plan after which each container is on the node that is wished for it, or why one cannot be.

    Raises KeyError for a container or node that the cluster does not have. One that is there already stays.
    """
    movers, stuck, there = [], [], []
    places, nodes = places_of(cluster, wishes), {node.name: node for node in cluster.nodes}
    for name in sorted(wishes):
        source = nodes[places[name][0][0]] if places[name] else home(cluster, name)
        container = source.container(name)
        if source.name == wishes[name]:
            there.append(name)
        elif not source.answered:
            stuck.append(Stuck(name, source.name, (Reason(f"no answer: {source.error}", source.name),)))
        elif container is None or container.descriptor is None:
            stuck.append(Stuck(name, source.name, (Reason("its descriptor is missing"),)))
        elif why := unmovable(places[name], source, container) or (
            "it is stopped" if container.state == "stopped" else ""
        ):
            stuck.append(Stuck(name, source.name, (Reason(why),)))
        else:
            movers.append(Mover(container, container.descriptor, source))

    def way(mover: Mover) -> Way:
        return policy.way(mover.source, nodes[wishes[mover.name]])

    closed, others = _closed(cluster, movers, wishes, policy), stuck
    others += shut_out([Leg(m, wishes[m.name], way(m)) for m in movers], cluster, policy)
    if closed or others:
        return Refusal(intent, tuple(sorted((*others, *closed), key=lambda s: s.container)))
    first = classes(movers, policy.rules)
    ready = sorted(movers, key=lambda mover: (first.get(mover.name, 0), mover.turn))
    company = Company.of(cluster)
    asked = [Leg(m, wishes[m.name], way(m), company.apart(m, policy), asked=policy.mode) for m in ready]
    ground = Ground(cluster, policy, rooms(capacity_graph(cluster, policy)), asked)
    legs, blocked = _ordered(asked, wishes, ground)
    if blocked:
        stuck = [_blocked(leg, legs, cluster, policy, ground) for leg in blocked]
        return no_order(intent, stuck, legs, blocked, ground)
    moved = {leg.mover.name: leg.target for leg in legs}
    unsafe = Watch(cluster.nodes, policy).worse(moved, (), soft=False)
    if unsafe:
        return Refusal(intent, reasons=tuple(unsafe))
    return assemble(
        cluster,
        legs,
        said(legs, {leg.mover.name: "back to where it is" if leg.mover.name in there else "asked for" for leg in legs}),
        policy,
        intent=intent,
        snapshot=snapshot,
        notes=(*(f"container {n} is on {wishes[n]} already" for n in there if n not in moved), *fleet_notes(cluster)),
    )


def _ordered(asked: Sequence[Leg], wishes: Mapping[str, str], ground: Ground) -> tuple[Sequence[Leg], Sequence[Leg]]:
    """The order in which they start, and those that never have room, even if one that stays steps aside."""
    legs, blocked = untangle(asked, ground)
    if blocked and (beside := untangle_beside(asked, _standing(ground.cluster, wishes, ground.policy), ground)):
        return beside, ()
    return legs, blocked


def _standing(cluster: Cluster, wishes: Mapping[str, str], policy: PlanPolicy) -> list[Leg]:
    """Of those that are where they are wished those that could move, as moves to where they are."""
    places, found, company = places_of(cluster, wishes), list[Leg](), Company.of(cluster)
    for name in sorted(wishes):
        node = home(cluster, name)
        container = node.container(name)
        if node.name != wishes[name] or container is None or container.descriptor is None or node.cordon is not None:
            continue
        if node.answered and container.state != "stopped" and not unmovable(places[name], node, container):
            mover = Mover(container, container.descriptor, node)
            found.append(Leg(mover, node.name, policy.way(node, node), company.apart(mover, policy), asked=policy.mode))
    return found


def _closed(cluster: Cluster, movers: Sequence[Mover], wishes: Mapping[str, str], policy: PlanPolicy) -> list[Stuck]:
    """Those that their target cannot take whatever the order."""
    going, stuck = {mover.name for mover in movers}, []
    barriers = Barriers(policy, Crossings(cluster.links))
    book, numbers = (
        Rulebook(cluster.nodes, cluster.nodes, policy, ordered=True),
        {n.name: i for i, n in enumerate(cluster.nodes)},
    )
    book.leave(movers)
    coming: dict[tuple[str, object], list[str]] = defaultdict(list)
    company = Company.of(cluster)
    for mover in movers:
        for thing in company.apart(mover, policy):
            coming[wishes[mover.name], thing].append(mover.name)
    nodes = {node.name: node for node in cluster.nodes}
    stays = {name: _without(nodes[name], going) for name in dict.fromkeys(wishes[mover.name] for mover in movers)}
    for mover in movers:
        target = nodes[wishes[mover.name]]
        meets = {name for thing in company.apart(mover, policy) for name in coming[target.name, thing]} - {mover.name}
        reasons = _against(mover, target, stays[target.name], sorted(meets), barriers)
        if against := book.why_not(mover, numbers[target.name]):
            reasons += (Reason(against, target.name),)
        book.place(mover, numbers[target.name])
        if reasons:
            stuck.append(Stuck(mover.name, mover.source.name, reasons))
    return stuck


def way_back(cluster: Cluster, moves: Sequence[tuple[str, str, str]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Where to bring what was moved, given as (container, source, target); and notes on what is no longer there.

    A container goes back to its first source if it is where it was moved to, or at a stop-over on the way there.
    """
    wishes, notes = {}, []
    ways: dict[str, list[str]] = {}
    for name, source, target in moves:
        ways.setdefault(name, [source]).append(target)
    places = places_of(cluster, ways)
    for name, (source, *targets) in ways.items():
        there = [node for node, _ in places[name]]
        if there == [source]:
            notes.append(f"container {name} is on {source} already")
        elif len(there) == 1 and there[0] in targets:
            wishes[name] = source
        else:
            where = ", ".join(there) or "no node"
            notes.append(f"container {name} is left alone: it is on {where}, not on {targets[-1]}")
    return wishes, tuple(notes)


def home(cluster: Cluster, container: str) -> NodeFacts:
    """The node that has the container; KeyError when none has."""
    for node in cluster.nodes:
        if node.container(container) is not None:
            return node
    raise KeyError(container)


def _against(
    mover: Mover,
    target: NodeFacts,
    stays: NodeFacts,
    meets: Sequence[str],
    barriers: Barriers,
) -> tuple[Reason, ...]:
    """Why the target cannot take it whatever the order, with what stays there and those of the others that come and
    that it must not meet.
    """
    policy = barriers.policy
    texts = list(barriers.against(mover, stays))
    if target.answered and target.cordon is not None:
        texts = [f"{texts[0]}; take it off: migrator uncordon {target.name}, or --uncordon {target.name} to see"]
    for other in stays.containers:
        for group in set(groups_of(mover.descriptor, policy)) & set(groups_of(other.descriptor, policy)):
            texts.append(f"anti-affinity: {other.name} of group {'='.join(group)} is there")
    texts += [f"{other} comes there too, and they must not be together" for other in meets]
    return tuple(Reason(text, target.name) for text in texts)


def _blocked(leg: Leg, gone: Sequence[Leg], cluster: Cluster, policy: PlanPolicy, ground: Ground) -> Stuck:
    if leaving := unsent(leg, gone, ground.rooms):
        return Stuck(leg.name, leg.source, (Reason(leaving, leg.source),))
    lacking = Site.of(cluster.node(leg.target), policy).lacks(leg.mover)
    lacking = lacking or ground.seats.lacking(ground.seats.first, leg)
    return Stuck(leg.name, leg.source, (Reason(lacking or "no order of these moves has room for it", leg.target),))


def _without(node: NodeFacts, names: set[str]) -> NodeFacts:
    return replace(node, containers=tuple(c for c in node.containers if c.name not in names))
