"""The smallest change that would make a refused plan possible: room on one node, a mark or a rule less, a node more.

Theory. Each change is made on a copy of the facts or of the policy, and the whole plan is tried again: what is told
has been seen to do, for the container that it is told of, without another losing its place. That nothing less would do
is not proved. Of room it is tried what a node lacked, beside those that have found a place there and without them. The
number of tries is bounded by the size of the fleet, so that a refusal in a large one is not slow to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from migrator.model.estimate import estimate_move
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Plan, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import format_seconds
from migrator.model.what_if import with_nodes
from migrator.planner.arrays import row
from migrator.planner.more_room import Ask, missing
from migrator.planner.placement import Mover, barred, machine_differences
from migrator.planner.room import Load, images_in, room_of, stay_of

Again = Callable[[Cluster, PlanPolicy], Plan | Refusal]
WORK_MAX = 40_000  # tries times what each is asked: some seconds
TRIES_MAX = 100
CONTAINERS_MAX, ROOMS_MAX, LIKES_MAX = 8, 4, 4
ROOM, CORDON, PAUSE, RULE, NODE = range(5)  # kinds of changes; the first are the smallest


@dataclass(frozen=True, slots=True)
class Change:
    """One change, what it makes of facts and policy, and how large it is among its kind."""

    kind: int
    size: float
    text: str
    cluster: Cluster
    policy: PlanPolicy


@dataclass(frozen=True, slots=True)
class Remedies:
    """For each container that cannot move, and for the plan as a whole, the least changes that were seen to do: at
    most one of a kind, the smallest kind first.
    """

    containers: dict[str, tuple[Change, ...]]
    plan: tuple[Change, ...] = ()


def helped(made: Plan | Refusal, cluster: Cluster, policy: PlanPolicy, again: Again) -> Plan | Refusal:
    """A refusal with the changes that would do, in words; a plan as it is. `again` makes the same plan anew."""
    if isinstance(made, Plan):
        return made
    found = remedies(made, cluster, policy, again)
    told = [replace(stuck, change=_said(found.containers.get(stuck.container, ()))) for stuck in made.containers]
    if any("would do" in reason.text for reason in made.reasons):
        return replace(made, containers=tuple(told))  # more_room.py has told it
    return replace(made, containers=tuple(told), change=_said(found.plan))


def remedies(refusal: Refusal, cluster: Cluster, policy: PlanPolicy, again: Again) -> Remedies:
    """What would do, by trying."""
    tried = _Tries(refusal, cluster, policy, again)
    for change in (*_nodes_more(refusal, cluster, policy), *_rules_less(cluster, policy, 1)):
        tried.attempt(change)
    if not any(change.kind == RULE for change, _, _ in tried.done):
        for change in _rules_less(cluster, policy, 2):
            tried.attempt(change)
    for stuck in refusal.containers[:CONTAINERS_MAX]:
        mover = _mover(cluster, stuck)
        if mover is not None:
            for change in _marks_less(mover, stuck, cluster, policy):
                tried.attempt(change)
            for change in _rooms_more(mover, stuck, cluster, policy):
                if stuck.container in tried.attempt(change):
                    break
    found = {name: _least(change for change, freed, _ in tried.done if name in freed) for name in tried.stuck}
    return Remedies(found, _least(change for change, _, whole in tried.done if whole))


class _Tries:
    """The changes that have been tried and did something: for whom, and whether for all."""

    def __init__(self, refusal: Refusal, cluster: Cluster, policy: PlanPolicy, again: Again) -> None:
        there = sum(len(node.containers) for node in cluster.nodes)
        self.left = min(TRIES_MAX, WORK_MAX // max(1, there + len(cluster.nodes) * len(refusal.containers)))
        self.done: list[tuple[Change, frozenset[str], bool]] = []
        self.again = again
        self.stuck = frozenset(stuck.container for stuck in refusal.containers)

    def attempt(self, change: Change) -> frozenset[str]:
        """The containers that the change is a help to."""
        if self.left <= 0:
            return frozenset()
        self.left -= 1
        made = self.again(change.cluster, change.policy)
        if isinstance(made, Plan):
            freed = self.stuck
        elif not made.containers:
            return frozenset()
        else:
            left = frozenset(stuck.container for stuck in made.containers)
            freed = self.stuck - left if left < self.stuck else frozenset()  # to push another out is no help
        if freed or isinstance(made, Plan):
            self.done.append((change, freed, isinstance(made, Plan)))
        return freed


def _least(changes: Iterator[Change]) -> tuple[Change, ...]:
    """The smallest of each kind; no room that comes to a whole node where one node more would do."""
    best: dict[int, Change] = {}
    for change in changes:
        if change.kind not in best or change.size < best[change.kind].size:
            best[change.kind] = change
    if NODE in best and ROOM in best and best[ROOM].size >= 1:
        del best[ROOM]
    return tuple(best[kind] for kind in sorted(best))


def _said(changes: Sequence[Change]) -> str:
    return ", or ".join(change.text for change in changes)


def _mover(cluster: Cluster, stuck: Stuck) -> Mover | None:
    """The container, if nothing but its surroundings keeps it."""
    source = cluster.node(stuck.node)
    container = source.container(stuck.container)
    if container is None or container.descriptor is None or not any(reason.node for reason in stuck.reasons):
        return None
    return Mover(container, container.descriptor, source)


def _nodes_more(refusal: Refusal, cluster: Cluster, policy: PlanPolicy) -> Iterator[Change]:
    """One empty node more, like each kind of node that there is, those first that could not take a container."""
    asked = [reason.node for stuck in refusal.containers for reason in stuck.reasons if reason.node]
    names = dict.fromkeys([*asked, *(stuck.node for stuck in refusal.containers), *(n.name for n in cluster.nodes)])
    nodes = {node.name: node for node in cluster.nodes}
    name = next(name for name in (f"extra-{number}" for number in range(1, 1 << 20)) if name not in nodes)
    seen = set[object]()
    for number, like in enumerate(names):
        node = nodes[like]
        kind = (node.capacity, tuple(sorted(node.labels.items())), node.arch, node.criu, node.bridge)
        if not node.answered or kind in seen or len(seen) == LIKES_MAX:
            continue
        seen.add(kind)
        text = f"with one node more like {like} (--add-node {name}={like})"
        yield Change(NODE, number, text, with_nodes(cluster, [(name, like)]), policy)


def _rules_less(cluster: Cluster, policy: PlanPolicy, count: int) -> Iterator[Change]:
    """So many hard rules that are waived; or, for one, a label by which containers are kept apart."""
    hard = [number for number, rule in enumerate(policy.rules, 1) if not rule.soft]
    for place, numbers in enumerate(combinations(hard, count)):
        rest = tuple(rule for number, rule in enumerate(policy.rules, 1) if number not in numbers)
        names = " and ".join(f"{number} ({policy.rules[number - 1].rule})" for number in numbers)
        flags = " ".join(f"--waive {number}" for number in numbers)
        text = f"without rule{'s' if count > 1 else ''} {names}: {flags}"
        yield Change(RULE, count * len(policy.rules) + place, text, cluster, replace(policy, rules=rest))
    for place, key in enumerate(policy.anti_affinity if count == 1 else ()):
        keys = tuple(other for other in policy.anti_affinity if other != key)
        text = f"without keeping apart what has the same {key}"
        yield Change(RULE, 2 * len(policy.rules) + place, text, cluster, replace(policy, anti_affinity=keys))


def _marks_less(mover: Mover, stuck: Stuck, cluster: Cluster, policy: PlanPolicy) -> Iterator[Change]:
    """A cordon taken off, where that is all that is against a node, or a longer pause allowed."""
    nodes = {node.name: node for node in cluster.nodes}
    for number, name in enumerate(dict.fromkeys(reason.node for reason in stuck.reasons if reason.node)):
        node = nodes[name]
        free = replace(node, cordon=None)
        against = barred(mover, free, machine_differences(mover.source, node), policy) if node.answered else ("",)
        if node.cordon is not None and not against:
            text = f"with {name} uncordoned (migrator uncordon {name})"
            yield Change(CORDON, number, text, _with(cluster, free), policy)
        lax = replace(policy, blackout_s_max=86_400.0)
        if node.cordon is None and against and not barred(mover, node, machine_differences(mover.source, node), lax):
            yield _longer_pause(mover, node, cluster, policy)


def _longer_pause(mover: Mover, node: NodeFacts, cluster: Cluster, policy: PlanPolicy) -> Change:
    rates = policy.rates(mover.source.name, node.name)
    predicted_s = estimate_move(mover.container, mover.source.link, node.link, rates).blackout_s
    limit_s = float(-(-predicted_s // 1))
    text = f"with a pause of {format_seconds(limit_s)} allowed (--max-blackout {limit_s:g})"
    return Change(PAUSE, limit_s, text, cluster, replace(policy, blackout_s_max=limit_s))


def _rooms_more(mover: Mover, stuck: Stuck, cluster: Cluster, policy: PlanPolicy) -> list[Change]:
    """The room that one of the nodes lacked for it, those first that lack the smallest part of themselves."""
    found = []
    for reason in stuck.reasons:
        if not reason.node or reason.node == stuck.node:
            continue
        node = cluster.node(reason.node)
        if node.answered and not barred(mover, node, machine_differences(mover.source, node), policy):
            wanted = stay_of(mover.container) + images_in(mover.container)
            alone = missing(wanted, room_of(node, policy), True) or Load()
            for short in {alone, Load(*reason.short) if reason.short else alone} - {Load()}:
                found.append(_room(Ask(node.name, short), node, cluster, policy))
    return sorted(found, key=lambda change: (change.size, change.text))[:ROOMS_MAX]


def _room(ask: Ask, node: NodeFacts, cluster: Cluster, policy: PlanPolicy) -> Change:
    """More room on a node, as much as is said in words."""
    capacity, measured = ask.granted(policy)
    richer = replace(
        node,
        capacity=node.capacity + capacity,
        memory_available_bytes=node.memory_available_bytes + measured.memory_bytes,
        disk_available_bytes=node.disk_available_bytes + measured.disk_bytes,
    )
    shares = zip(row(Load(capacity, measured)), row(Load(node.capacity, node.capacity)), strict=True)
    size = max(more / max(1, whole) for more, whole in shares)
    return Change(ROOM, size, f"with {ask.said(policy)}", _with(cluster, richer), policy)


def _with(cluster: Cluster, node: NodeFacts) -> Cluster:
    return replace(cluster, nodes=tuple(node if other.name == node.name else other for other in cluster.nodes))
