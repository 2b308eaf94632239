"""The smallest changes that would make a refused plan possible: room on one node, a mark or a rule less, nodes more.

Theory. Each change is made on a copy of the facts or of the policy, and the whole plan is tried again: what is told
has been seen to do, for the container that it is told of, without another losing its place. That nothing less would do
is not proved. Of room it is tried what a node lacked, beside those that have found a place there and without them. The
number of tries is bounded by the size of the fleet, so that a refusal in a large one is not slow to tell. How much less
headroom, and how many nodes more, is found by halves. Rooms are compared as in more_room.py. Where no change by itself
does for the whole plan, it is asked what is still missing after the one that helps most, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Refusal, Stuck
from migrator.model.plan_policy import Headroom, PlanPolicy
from migrator.planner.changes import (
    HEADROOM,
    NODE,
    ROOM,
    RULE,
    SEVERAL,
    Change,
    likes_of,
    longer_pauses,
    marks_less,
    mover_of,
    nodes_more,
    room_more,
    rooms_more,
    rules_less,
    waive_text,
    without_containers,
)
from migrator.planner.more_room import Ask
from migrator.planner.room import Load

Again = Callable[[Cluster, PlanPolicy], Plan | Refusal]
WORK_MAX = 40_000  # tries times what each is asked: some seconds
TRIES_MIN, TRIES_MAX = 1, 100
MORE_NODES_MAX = 64
CONTAINERS_MAX = 8
CHAIN_MAX, FIRST_MAX = 4, 3  # changes that are made one on top of the other, and how many are tried as the first
ALIKE_MAX = 3  # rules of which each would do, that are told


@dataclass(frozen=True, slots=True)
class Remedies:
    """For each container that cannot move, and for the plan as a whole, the least changes that were seen to do: one of
    a kind, of rules those of which each does; the smallest kind first.
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
    kept = tried.left // 3  # for several together
    tried.left -= kept
    _try_each(tried, refusal, cluster, policy)
    tried.left += kept
    whole = _least(done.change for done in tried.done if done.whole)
    if not whole:
        several = (
            _several(tried, CHAIN_MAX - 1)
            or _patience_and_more(tried, refusal, cluster, policy)
            or _rules_and_more(tried, cluster, policy)
        )
        whole = (several,) if several is not None else ()
    found = {name: _least(done.change for done in tried.done if name in done.freed) for name in tried.stuck}
    if len(found) == 1:  # what makes the plan possible is for that one
        found = {name: its or whole for name, its in found.items()}
    return Remedies(found, whole)


def _several(tried: _Tries, more: int) -> Change | None:
    """Changes one on top of the other, those first that help most, that make the plan possible together."""
    partial = [(done, done.made) for done in tried.done if isinstance(done.made, Refusal)]
    partial.sort(key=lambda pair: (-len(pair[0].freed), pair[0].change.kind, pair[0].change.size))
    for done, made in partial[:FIRST_MAX] if more else ():
        first = done.change
        then = _Tries(made, first.cluster, first.policy, tried.again, tried.left)
        _try_each(then, made, first.cluster, first.policy)
        whole = _least(one.change for one in then.done if one.whole)
        last = whole[0] if whole else _several(then, more - 1)
        tried.left = then.left
        if last is not None:
            fewer = _fewer_nodes(tried, first, last)
            cluster = last.cluster if fewer is first else fewer.cluster
            return replace(last, cluster=cluster, kind=SEVERAL, text=f"{fewer.text} and {last.text}")
    return None


def _fewer_nodes(tried: _Tries, first: Change, last: Change) -> Change:
    """Of nodes more as many as are still needed once the policy is what the last change has made of it."""
    if first.kind != NODE or last.cluster is not first.cluster:
        return first
    few, best = 0, first
    while int(best.size) - few > 1 and tried.left > 0:
        middle = nodes_more(first.like, (few + int(best.size)) // 2, tried.cluster, last.policy)
        tried.left -= 1
        if isinstance(tried.again(middle.cluster, middle.policy), Plan):
            best = middle
        else:
            few = int(middle.size)
    return best


def _patience_and_more(tried: _Tries, refusal: Refusal, cluster: Cluster, policy: PlanPolicy) -> Change | None:
    """A longer pause, and what then does: where one container lacks both, neither helps anybody by itself."""
    for first in longer_pauses(refusal, cluster, policy):
        if tried.left <= 0:
            return None
        tried.left -= 1
        made = tried.again(cluster, first.policy)
        if isinstance(made, Refusal) and (last := _then(tried, made, cluster, first.policy)) is not None:
            return replace(last, kind=SEVERAL, text=f"{first.text} and {last.text}")
    return None


def _then(tried: _Tries, made: Refusal, cluster: Cluster, policy: PlanPolicy) -> Change | None:
    """What makes a plan possible that is still refused after a first change."""
    then = _Tries(made, cluster, policy, tried.again, tried.left)
    _try_each(then, made, cluster, policy)
    whole = _least(one.change for one in then.done if one.whole)
    last = whole[0] if whole else _several(then, CHAIN_MAX - 2)
    tried.left = then.left
    return last


def _rules_and_more(tried: _Tries, cluster: Cluster, policy: PlanPolicy) -> Change | None:
    """The rules that stand in the way of what then does, as few as are needed: where one container lacks both."""
    numbers = [number for number, rule in policy.numbered() if not rule.soft]
    if not numbers or tried.left <= 0:
        return None
    lax = policy.without(numbers)
    made = tried.again(cluster, lax)
    tried.left -= 1
    last: Change | None = Change(RULE, len(numbers), "", cluster, lax)
    if isinstance(made, Refusal):
        last = _then(tried, made, cluster, lax) or _patience_and_more(tried, made, cluster, lax)
    if last is None:
        return None
    for number in list(numbers):
        fewer = [other for other in numbers if other != number]
        kept = _waiving(policy, fewer, last.policy)
        tried.left -= 1
        if tried.left >= 0 and isinstance(tried.again(last.cluster, kept), Plan):
            numbers, last = fewer, replace(last, policy=kept)
    lax = policy.without(numbers)  # without fewer rules, less may do beside
    if tried.left > 0 and isinstance(made := tried.again(cluster, lax), Refusal):
        less = _then(tried, made, cluster, lax)
        last = less if less is not None and (less.kind, less.size) <= (last.kind, last.size) else last
    text = " and ".join(filter(None, (waive_text(policy, numbers), last.text)))
    return replace(last, kind=SEVERAL, text=text)


def _waiving(policy: PlanPolicy, numbers: Collection[int], other: PlanPolicy) -> PlanPolicy:
    """The other policy with the rules of this one but for some."""
    less = policy.without(numbers)
    return replace(other, rules=less.rules, waived=less.waived)


def _try_each(tried: _Tries, refusal: Refusal, cluster: Cluster, policy: PlanPolicy) -> None:
    """Tries the changes of each kind."""
    any(tried.solves(change) for change in longer_pauses(refusal, cluster, policy))
    if refusal.room is not None and refusal.room.short is not None:
        ask = Ask(refusal.room.node, Load(*refusal.room.short))
        tried.attempt(room_more(ask, cluster.node(ask.node), cluster, policy))
    likes = list(likes_of(refusal, cluster))
    for number, like in enumerate(likes):
        tried.attempt(nodes_more(like, 1, cluster, policy, number))
    _fewer_rules(tried, cluster, policy)
    _less_headroom(tried, cluster, policy)
    for stuck in refusal.containers[:CONTAINERS_MAX]:
        _for_one(tried, stuck, cluster, policy)
    if len(refusal.containers) > 1:
        _several_nodes(tried, likes, cluster, policy)
        _one_node_for_each(tried, likes, refusal, cluster, policy)


def _fewer_rules(tried: _Tries, cluster: Cluster, policy: PlanPolicy) -> None:
    """Each hard rule by itself, and two where one does not do for all."""
    for count in (1, 2):
        if not any(done.change.kind == RULE and done.whole for done in tried.done):
            for change in rules_less(cluster, policy, count):
                tried.attempt(change)


def _for_one(tried: _Tries, stuck: Stuck, cluster: Cluster, policy: PlanPolicy) -> None:
    """What would help one of the containers: marks of nodes, a longer pause, room."""
    mover = mover_of(cluster, stuck)
    if mover is None or tried.left <= 0:
        return
    for change in marks_less(mover, stuck, cluster, policy):
        tried.attempt(change)
    for change in rooms_more(mover, stuck, cluster, policy):
        if stuck.container in tried.attempt(change):
            break


@dataclass(frozen=True, slots=True)
class _Tried:
    """A change that did something: for whom, and what the plan is with it; None if others were left out of it."""

    change: Change
    freed: frozenset[str]
    made: Plan | Refusal | None

    @property
    def whole(self) -> bool:
        """Whether it makes the whole plan possible."""
        return isinstance(self.made, Plan)


class _Tries:
    """The changes that have been tried and did something. `left` is how many more may be tried."""

    def __init__(
        self, refusal: Refusal, cluster: Cluster, policy: PlanPolicy, again: Again, left: int | None = None
    ) -> None:
        there = sum(len(node.containers) for node in cluster.nodes)
        work = max(1, there + len(cluster.nodes) * len(refusal.containers))
        self.left = min(TRIES_MAX, max(TRIES_MIN, WORK_MAX // work)) if left is None else left
        self.done: list[_Tried] = []
        self.again = again
        self.cluster = cluster
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
            self.done.append(_Tried(change, freed, made))
        return freed

    def frees_alone(self, change: Change, name: str) -> bool:
        """Whether a change of a cluster without the others makes the container movable."""
        if self.left <= 0:
            return False
        self.left -= 1
        made = self.again(change.cluster, change.policy)
        frees = isinstance(made, Plan) or (bool(made.containers) and name not in {s.container for s in made.containers})
        if frees:
            self.done.append(_Tried(change, frozenset((name,)), None))
        return frees

    def solves(self, change: Change) -> bool:
        """Whether the change makes the whole plan possible."""
        self.attempt(change)
        return any(done.change is change and done.whole for done in self.done[-1:])

    def of(self, change: Change) -> frozenset[str]:
        """The containers that a change was seen to help."""
        return next((done.freed for done in self.done if done.change is change), frozenset())


def _least(changes: Iterator[Change]) -> tuple[Change, ...]:
    """The smallest of each kind, of rules all of which as few do; no room that comes to a whole node where one node
    more would do.
    """
    best, rules = dict[int, Change](), list[Change]()
    for change in changes:
        if change.kind == RULE and (not rules or change.size <= rules[0].size):
            rules = [*(other for other in rules if other.size == change.size), change]
        if change.kind not in best or change.size < best[change.kind].size:
            best[change.kind] = change
    if NODE in best and ROOM in best and best[ROOM].size >= 1:
        del best[ROOM]
    return tuple(change for kind in sorted(best) for change in (rules[:ALIKE_MAX] if kind == RULE else [best[kind]]))


def _said(changes: Sequence[Change]) -> str:
    return ", or ".join(change.text for change in changes)


def _several_nodes(tried: _Tries, likes: Sequence[str], cluster: Cluster, policy: PlanPolicy) -> None:
    """Where one node more helps some and not all: how many do, doubled until they do, and then by halves."""
    nodes = [done for done in tried.done if done.change.kind == NODE]
    helped_by = {done.change.text: len(done.freed) for done in nodes}
    if not helped_by or any(done.whole for done in nodes):
        return
    ones = {like: nodes_more(like, 1, cluster, policy).text for like in likes}
    like = max(likes, key=lambda name: helped_by.get(ones[name], 0))
    few, many = 1, 2
    while not tried.solves(nodes_more(like, many, cluster, policy)):
        few, many = many, many * 2
        if many > MORE_NODES_MAX or tried.left <= 0:
            return
    while many - few > 1:
        middle = (few + many) // 2
        if tried.solves(nodes_more(like, middle, cluster, policy)):
            many = middle
        else:
            few = middle


def _one_node_for_each(
    tried: _Tries, likes: Sequence[str], refusal: Refusal, cluster: Cluster, policy: PlanPolicy
) -> None:
    """One node more for a container whose place on it others have taken in the tries: as if those were not there."""
    best = {name: _least(done.change for done in tried.done if name in done.freed) for name in tried.stuck}
    for stuck in refusal.containers[:CONTAINERS_MAX]:
        if not any(change.kind == NODE and change.size >= 2 for change in best[stuck.container]):
            continue
        lone = without_containers(cluster, tried.stuck - {stuck.container})
        for number, like in enumerate(likes):
            if tried.frees_alone(nodes_more(like, 1, lone, policy, number), stuck.container):
                break


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
