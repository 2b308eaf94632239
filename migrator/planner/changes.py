"""Changes of facts or policy that might make a refused plan possible: each with what it is in words.

Room on one node, a cordon taken off, a longer pause, rules waived, nodes more. Each is made on a copy; whether it does
is tried elsewhere (remedies.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.links import Crossings
from migrator.model.plan import Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import format_seconds
from migrator.model.what_if import with_nodes
from migrator.planner.barriers import Barriers
from migrator.planner.more_room import Ask, mean_node, missing
from migrator.planner.placement import Mover
from migrator.planner.room import Load, room_of, stay_of, transit_in

PAIRS_MAX = 20_000  # containers and nodes whose pauses are looked at
BLACKOUT_S_MOST = 86_400.0  # the longest that can be allowed
ROOMS_MAX, LIKES_MAX = 4, 4
FLAGS_MAX = 3  # nodes more that are written one by one
ROOM, CORDON, HEADROOM, PAUSE, RULE, NODE, SEVERAL = range(7)  # kinds of changes; the first are the smallest


@dataclass(frozen=True, slots=True)
class Change:
    """One change, what it makes of facts and policy, and how large it is among its kind: of rules, how many.

    `like` is, of nodes more, the node that they are like.
    """

    kind: int
    size: float
    text: str
    cluster: Cluster
    policy: PlanPolicy
    like: str = ""


def mover_of(cluster: Cluster, stuck: Stuck) -> Mover | None:
    """The container, if nothing but its surroundings keeps it."""
    source = cluster.node(stuck.node)
    container = source.container(stuck.container)
    if container is None or container.descriptor is None or not any(reason.node for reason in stuck.reasons):
        return None
    return Mover(container, container.descriptor, source)


def likes_of(refusal: Refusal, cluster: Cluster) -> Iterator[str]:
    """A node of each kind that there is, those first that could not take a container."""
    asked = [reason.node for stuck in refusal.containers for reason in stuck.reasons if reason.node]
    names = dict.fromkeys([*asked, *(stuck.node for stuck in refusal.containers), *(n.name for n in cluster.nodes)])
    nodes = {node.name: node for node in cluster.nodes}
    seen = set[object]()
    for like in names:
        node = nodes[like]
        kind = (node.capacity, tuple(sorted(node.labels.items())), node.arch, node.criu, node.bridge)
        if node.answered and kind not in seen and len(seen) < LIKES_MAX:
            seen.add(kind)
            yield like


def nodes_more(like: str, count: int, cluster: Cluster, policy: PlanPolicy, place: int = 0) -> Change:
    """So many empty nodes more of one kind."""
    there = {node.name for node in cluster.nodes}
    taken = [int(name[6:]) for name in there if re.fullmatch(r"extra-\d{1,9}", name, re.ASCII)]
    first = max(taken, default=0) + 1
    names = [f"extra-{number}" for number in range(first, first + count)]
    told = " ".join(f"--add-node {name}={like}" for name in names)
    if count > FLAGS_MAX:  # which a shell writes out
        told = f"--add-node=extra-{{{first}..{first + count - 1}}}={like}"
    text = f"with {'one node' if count == 1 else f'{count} nodes'} more like {like} ({told})"
    wider = with_nodes(cluster, [(name, like) for name in names])
    return Change(NODE, count + place / LIKES_MAX, text, wider, policy, like)


def without_containers(cluster: Cluster, names: Collection[str]) -> Cluster:
    """The cluster as if these containers did not exist."""
    nodes = (
        replace(node, containers=tuple(c for c in node.containers if c.name not in names)) for node in cluster.nodes
    )
    return replace(cluster, nodes=tuple(nodes))


def longer_pauses(refusal: Refusal, cluster: Cluster, policy: PlanPolicy) -> Iterator[Change]:
    """One limit for all pauses that are too long: for each container that of its best node, and then of its worst."""
    each = max(1, PAIRS_MAX // max(1, len(refusal.containers)))
    lax = Barriers(replace(policy, blackout_s_max=BLACKOUT_S_MOST), Crossings(cluster.links))
    nodes = {node.name: node for node in cluster.nodes}
    best_s, worst_s = 0.0, 0.0
    for stuck in refusal.containers:
        mover, pauses = mover_of(cluster, stuck), []
        if mover is None:
            continue
        for name in list(dict.fromkeys(r.node for r in stuck.reasons if r.node and "its pause" in r.text))[:each]:
            if not lax.against(mover, nodes[name]):
                pauses.append(_pause_s(mover, nodes[name], lax))
        best_s, worst_s = max(best_s, min(pauses, default=0.0)), max(worst_s, max(pauses, default=0.0))
    for limit_s in sorted({best_s, worst_s} - {0.0}):
        yield _longer_pause(limit_s, cluster, policy)


def rules_less(cluster: Cluster, policy: PlanPolicy, count: int) -> Iterator[Change]:
    """So many hard rules that are waived; or, for one, a label by which containers are kept apart."""
    hard = [number for number, rule in policy.numbered() if not rule.soft]
    for numbers in combinations(hard, count):
        yield Change(RULE, count, waive_text(policy, numbers), cluster, policy.without(numbers))
    for key in policy.anti_affinity if count == 1 else ():
        text = f"without keeping apart what has the same {key}: --waive {key}"
        yield Change(RULE, count, text, cluster, policy.without((), (key,)))


def waive_text(policy: PlanPolicy, numbers: Sequence[int]) -> str:
    """Some rules that are waived, in words; empty without any."""
    if not numbers:
        return ""
    names = " and ".join(f"{number} ({rule.rule})" for number, rule in policy.numbered() if number in numbers)
    flags = " ".join(f"--waive {number}" for number in numbers)
    return f"without rule{'s' if len(numbers) > 1 else ''} {names}: {flags}"


def marks_less(mover: Mover, stuck: Stuck, cluster: Cluster, policy: PlanPolicy) -> Iterator[Change]:
    """A cordon taken off, where that is all that is against a node, or a longer pause allowed."""
    nodes, crossings = {node.name: node for node in cluster.nodes}, Crossings(cluster.links)
    strict, lax = (Barriers(p, crossings) for p in (policy, replace(policy, blackout_s_max=BLACKOUT_S_MOST)))
    for number, name in enumerate(dict.fromkeys(reason.node for reason in stuck.reasons if reason.node)):
        node = nodes[name]
        free = node if node.cordon is None else replace(node, cordon=None)
        against = strict.against(mover, free) if node.answered else ("",)
        if node.cordon is not None and not against:
            text = f"with {name} uncordoned (--uncordon {name} tries it, migrator uncordon {name} does it)"
            yield Change(CORDON, number, text, _with(cluster, free), policy)
        if node.cordon is None and against and not lax.against(mover, node):
            yield _longer_pause(_pause_s(mover, node, lax), cluster, policy)


def _pause_s(mover: Mover, node: NodeFacts, barriers: Barriers) -> float:
    """The predicted pause, up to whole seconds."""
    return float(-(-barriers.pause_s(mover, node) // 1))


def _longer_pause(limit_s: float, cluster: Cluster, policy: PlanPolicy) -> Change:
    text = f"with a pause of {format_seconds(limit_s)} allowed (--max-blackout {limit_s:.0f})"
    return Change(PAUSE, limit_s, text, cluster, replace(policy, blackout_s_max=limit_s))


def rooms_more(mover: Mover, stuck: Stuck, cluster: Cluster, policy: PlanPolicy) -> list[Change]:
    """The room that one of the nodes lacked for it, those first that lack least."""
    found, barriers = [], Barriers(policy, Crossings(cluster.links))
    for reason in stuck.reasons:
        if not reason.node or reason.node == stuck.node:
            continue
        node = cluster.node(reason.node)
        if not barriers.against(mover, node):
            way = policy.way(mover.source, node)
            wanted = stay_of(mover.container) + transit_in(mover.container, way, policy.mode)
            alone = missing(wanted, room_of(node, policy), True) or Load()
            for short in {alone, Load(*reason.short) if reason.short else alone} - {Load()}:
                found.append(room_more(Ask(node.name, short), node, cluster, policy))
    return sorted(found, key=lambda change: (change.size, change.text))[:ROOMS_MAX]


def room_more(ask: Ask, node: NodeFacts, cluster: Cluster, policy: PlanPolicy) -> Change:
    """More room on a node, as much as is said in words."""
    capacity, measured = ask.granted(policy)
    richer = replace(
        node,
        capacity=node.capacity + capacity,
        memory_available_bytes=node.memory_available_bytes + measured.memory_bytes,
        disk_available_bytes=node.disk_available_bytes + measured.disk_bytes,
    )
    size = Ask(node.name, Load(capacity, measured)).size(mean_node(cluster.nodes))
    return Change(ROOM, size, f"with {ask.said(policy)}", _with(cluster, richer), policy)


def _with(cluster: Cluster, node: NodeFacts) -> Cluster:
    return replace(cluster, nodes=tuple(node if other.name == node.name else other for other in cluster.nodes))
