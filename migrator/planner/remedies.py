"""The smallest changes that would make a refused plan possible: room on one node, a mark or a rule less, nodes more.

Theory. Each change is made on a copy of the facts or of the policy, and the whole plan is tried again: what is told
has been seen to do, for the container that it is told of, without another losing its place. That nothing less would do
is not proved. Of room it is tried what a node lacked, beside those that have found a place there and without them. The
number of tries is bounded by the size of the fleet, so that a refusal in a large one is not slow to tell. How much less
headroom, and how many nodes more, is found by halves. Rooms are compared as in more_room.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

from migrator.model.estimate import estimate_move
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Plan, Refusal, Stuck
from migrator.model.plan_policy import Headroom, PlanPolicy
from migrator.model.units import format_seconds
from migrator.model.what_if import with_nodes
from migrator.planner.more_room import Ask, mean_node, missing
from migrator.planner.placement import Mover, barred, machine_differences
from migrator.planner.room import Load, images_in, room_of, stay_of

Again = Callable[[Cluster, PlanPolicy], Plan | Refusal]
WORK_MAX = 40_000  # tries times what each is asked: some seconds
TRIES_MIN, TRIES_MAX = 1, 100
PAIRS_MAX = 20_000  # containers and nodes whose pauses are looked at
MORE_NODES_MAX = 64
BLACKOUT_S_MOST = 86_400.0  # the longest that can be allowed
CONTAINERS_MAX, ROOMS_MAX, LIKES_MAX = 8, 4, 4
ROOM, CORDON, HEADROOM, PAUSE, RULE, NODE = range(6)  # kinds of changes; the first are the smallest


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
    return replace(made, containers=tuple(told), change=_said(found.plan) or made.change)


def remedies(refusal: Refusal, cluster: Cluster, policy: PlanPolicy, again: Again) -> Remedies:
    """What would do, by trying."""
    tried = _Tries(refusal, cluster, policy, again)
    any(tried.solves(change) for change in _longer_pauses(refusal, cluster, policy))
    if refusal.room is not None and refusal.room.short is not None:
        ask = Ask(refusal.room.node, Load(*refusal.room.short))
        tried.attempt(_room(ask, cluster.node(ask.node), cluster, policy))
    likes = list(_likes(refusal, cluster))
    for number, like in enumerate(likes):
        tried.attempt(_nodes_more(like, 1, cluster, policy, number))
    _fewer_rules(tried, cluster, policy)
    _less_headroom(tried, cluster, policy)
    for stuck in refusal.containers[:CONTAINERS_MAX]:
        _for_one(tried, stuck, cluster, policy)
    if len(refusal.containers) > 1:
        _several_nodes(tried, likes, cluster, policy)
    found = {name: _least(change for change, freed, _ in tried.done if name in freed) for name in tried.stuck}
    return Remedies(found, _least(change for change, _, whole in tried.done if whole))


def _fewer_rules(tried: _Tries, cluster: Cluster, policy: PlanPolicy) -> None:
    """Each hard rule by itself, and two where one is of no use."""
    for count in (1, 2):
        if not any(change.kind == RULE for change, _, _ in tried.done):
            for change in _rules_less(cluster, policy, count):
                tried.attempt(change)


def _for_one(tried: _Tries, stuck: Stuck, cluster: Cluster, policy: PlanPolicy) -> None:
    """What would help one of the containers: marks of nodes, a longer pause, room."""
    mover = _mover(cluster, stuck)
    if mover is None:
        return
    for change in _marks_less(mover, stuck, cluster, policy):
        tried.attempt(change)
    for change in _rooms_more(mover, stuck, cluster, policy):
        if stuck.container in tried.attempt(change):
            break


class _Tries:
    """The changes that have been tried and did something: for whom, and whether for all."""

    def __init__(self, refusal: Refusal, cluster: Cluster, policy: PlanPolicy, again: Again) -> None:
        there = sum(len(node.containers) for node in cluster.nodes)
        work = max(1, there + len(cluster.nodes) * len(refusal.containers))
        self.left = min(TRIES_MAX, max(TRIES_MIN, WORK_MAX // work))
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

    def solves(self, change: Change) -> bool:
        """Whether the change makes the whole plan possible."""
        self.attempt(change)
        return any(done is change and whole for done, _, whole in self.done[-1:])

    def of(self, change: Change) -> frozenset[str]:
        """The containers that a change was seen to help."""
        return next((freed for done, freed, _ in self.done if done is change), frozenset())


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


def _likes(refusal: Refusal, cluster: Cluster) -> Iterator[str]:
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


def _nodes_more(like: str, count: int, cluster: Cluster, policy: PlanPolicy, place: int = 0) -> Change:
    """So many empty nodes more of one kind."""
    there = {node.name for node in cluster.nodes}
    free = (name for name in (f"extra-{number}" for number in range(1, 1 << 20)) if name not in there)
    names = list(islice(free, count))
    flags = [f"--add-node {name}={like}" for name in names]
    told = " ".join(flags) if count <= 3 else f"{flags[0]} ... {flags[-1]}"
    text = f"with {'one node' if count == 1 else f'{count} nodes'} more like {like} ({told})"
    return Change(NODE, count + place, text, with_nodes(cluster, [(name, like) for name in names]), policy)


def _several_nodes(tried: _Tries, likes: Sequence[str], cluster: Cluster, policy: PlanPolicy) -> None:
    """Where one node more helps some and not all: how many do, doubled until they do, and then by halves."""
    helped_by = {change.text: len(freed) for change, freed, _ in tried.done if change.kind == NODE}
    if not helped_by or any(whole for change, _, whole in tried.done if change.kind == NODE):
        return
    ones = {like: _nodes_more(like, 1, cluster, policy).text for like in likes}
    like = max(likes, key=lambda name: helped_by.get(ones[name], 0))
    few, many = 1, 2
    while not tried.solves(_nodes_more(like, many, cluster, policy)):
        few, many = many, many * 2
        if many > MORE_NODES_MAX or tried.left <= 0:
            return
    while many - few > 1:
        middle = (few + many) // 2
        if tried.solves(_nodes_more(like, middle, cluster, policy)):
            many = middle
        else:
            few = middle


def _less_headroom(tried: _Tries, cluster: Cluster, policy: PlanPolicy) -> None:
    """Less kept free: if none at all helps, then as much as still does, by halves."""
    kept = max(policy.headrooms)
    if not kept:
        return

    def keeping(percent: int) -> Change:
        lax = replace(policy, headroom_percent=percent, headroom=Headroom())
        text = f"with {percent} % kept free (--headroom {percent})"
        return Change(HEADROOM, kept - percent, text, cluster, lax)

    whole, freed = tried.solves(none := keeping(0)), tried.of(none)
    if not whole and not freed:
        return
    good, bad = 0, kept
    while bad - good > 1 and tried.left > 0:
        change = keeping(middle := (good + bad) // 2)
        if tried.solves(change) or (not whole and tried.of(change) >= freed):
            good = middle
        else:
            bad = middle


def _longer_pauses(refusal: Refusal, cluster: Cluster, policy: PlanPolicy) -> Iterator[Change]:
    """One limit for all pauses that are too long: for each container that of its best node, and then of its worst."""
    each = max(1, PAIRS_MAX // max(1, len(refusal.containers)))
    lax = replace(policy, blackout_s_max=BLACKOUT_S_MOST)
    best_s, worst_s = 0.0, 0.0
    for stuck in refusal.containers:
        mover, pauses = _mover(cluster, stuck), []
        if mover is None:
            continue
        for name in list(dict.fromkeys(r.node for r in stuck.reasons if r.node and "its pause" in r.text))[:each]:
            node = cluster.node(name)
            if not barred(mover, node, machine_differences(mover.source, node), lax):
                pauses.append(_pause_s(mover, node, policy))
        best_s, worst_s = max(best_s, min(pauses, default=0.0)), max(worst_s, max(pauses, default=0.0))
    for limit_s in sorted({best_s, worst_s} - {0.0}):
        yield _longer_pause(limit_s, cluster, policy)


def _rules_less(cluster: Cluster, policy: PlanPolicy, count: int) -> Iterator[Change]:
    """So many hard rules that are waived; or, for one, a label by which containers are kept apart."""
    hard = {number: rule for number, rule in policy.numbered() if not rule.soft}
    for place, numbers in enumerate(combinations(hard, count)):
        names = " and ".join(f"{number} ({hard[number].rule})" for number in numbers)
        flags = " ".join(f"--waive {number}" for number in numbers)
        text = f"without rule{'s' if count > 1 else ''} {names}: {flags}"
        yield Change(RULE, count * len(policy.rules) + place, text, cluster, policy.without(numbers))
    for place, key in enumerate(policy.anti_affinity if count == 1 else ()):
        text = f"without keeping apart what has the same {key}: --waive {key}"
        yield Change(RULE, 2 * len(policy.rules) + place, text, cluster, policy.without((), (key,)))


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
        lax = replace(policy, blackout_s_max=BLACKOUT_S_MOST)
        if node.cordon is None and against and not barred(mover, node, machine_differences(mover.source, node), lax):
            yield _longer_pause(_pause_s(mover, node, policy), cluster, policy)


def _pause_s(mover: Mover, node: NodeFacts, policy: PlanPolicy) -> float:
    """The predicted pause, up to whole seconds."""
    rates = policy.rates(mover.source.name, node.name)
    predicted_s = estimate_move(mover.container, mover.source.link, node.link, rates).blackout_s
    return float(-(-predicted_s // 1))


def _longer_pause(limit_s: float, cluster: Cluster, policy: PlanPolicy) -> Change:
    text = f"with a pause of {format_seconds(limit_s)} allowed (--max-blackout {limit_s:.0f})"
    return Change(PAUSE, limit_s, text, cluster, replace(policy, blackout_s_max=limit_s))


def _rooms_more(mover: Mover, stuck: Stuck, cluster: Cluster, policy: PlanPolicy) -> list[Change]:
    """The room that one of the nodes lacked for it, those first that lack least."""
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
    size = Ask(node.name, Load(capacity, measured)).size(mean_node(cluster.nodes))
    return Change(ROOM, size, f"with {ask.said(policy)}", _with(cluster, richer), policy)


def _with(cluster: Cluster, node: NodeFacts) -> Cluster:
    return replace(cluster, nodes=tuple(node if other.name == node.name else other for other in cluster.nodes))
