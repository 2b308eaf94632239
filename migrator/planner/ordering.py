"""Who waits for whom.

Theory. The moves of a plan start as soon as what they wait for has ended, so anything that no wait forbids can
happen at one time. A plan is good if everything fits at the worst moment of every move: all that may have come has
come, nothing has left but what is waited for, and what is in transit of as many moves as may touch a node at one time.
A container's second move waits for its first, and at its stop-over it counts as one that comes and one that leaves.
Taken one by one in their order, the moves fit. So each is first tried without waits, then with those of the move
before it on the same node, and at last waiting for every earlier move there, which is one by one again. Who must not
meet another that leaves its target waits for that one.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from migrator.model.estimate import estimate_move
from migrator.model.facts import Resources, SharedLink
from migrator.model.modes import AUTO
from migrator.model.plan import move_name
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES, Way
from migrator.model.rules import Rule
from migrator.planner.budgets import turns
from migrator.planner.movers import groups_of
from migrator.planner.placement import Mover
from migrator.planner.room import Load, stay_of, transit_in, transit_in_bytes, transit_out, transit_out_bytes
from migrator.planner.seats import Seats


@dataclass(frozen=True, slots=True)
class Leg:
    """One container on its way. `apart` is all that it must not share with another on a node: groups, its id range.

    `way` is how its memory goes; `number` counts the moves of one container, from 1; `mover` is it as it stands where
    this one starts; `asked` is the mode that the policy asks for, of all.
    """

    mover: Mover
    target: str
    way: Way
    apart: frozenset[object] = frozenset()
    number: int = 1
    asked: str = AUTO
    name: str = field(init=False)  # what the plan calls the move
    in_bytes: int = field(init=False)  # memory that its transit takes on the target
    out_bytes: int = field(init=False)  # and on the source

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", move_name(self.mover.name, self.number))
        object.__setattr__(self, "in_bytes", transit_in_bytes(self.mover.container, self.way, self.asked))
        object.__setattr__(self, "out_bytes", transit_out_bytes(self.mover.container, self.way, self.asked))

    @property
    def source(self) -> str:
        return self.mover.source.name

    @property
    def duration_s(self) -> float:
        """About how long it takes, as if its target's link were like its source's."""
        link = self.mover.source.link
        return estimate_move(self.mover.container, link, link, DEFAULT_RATES[self.way]).duration_s

    def transit(self, node: str) -> Load:
        """What it takes on one of its two nodes while it is under way, beside what stays."""
        container = self.mover.container
        transit = transit_in if node == self.target else transit_out
        return transit(container, self.way, self.asked)


_ENOUGH = Resources(2**62, 2**62, 2**62)
_ANYTHING = Load(_ENOUGH, _ENOUGH)  # room for whatever comes


def apart(mover: Mover, policy: PlanPolicy) -> frozenset[object]:
    """What a container must not share with another on a node."""
    return frozenset({*groups_of(mover.descriptor, policy), mover.descriptor.id_index})


Waits = dict[str, tuple[str, ...]]


def sequence(
    legs: Iterable[Leg],
    rooms: Mapping[str, Load],
    places: Mapping[str, int] | None = None,
    seats: Seats | None = None,
) -> tuple[tuple[Leg, ...], tuple[Leg, ...]]:
    """The order in which moves start, and those that never can: each goes when those before it have gone.

    `places` says who is wished to go first, by container; without it the first that is given does. `seats` are asked
    beside the room.
    """
    order, left = list[Leg](), list(legs)
    if places is not None:
        left.sort(key=lambda leg: (places[leg.name], leg.name))
    leaving = Counter((leg.source, thing) for leg in left for thing in leg.apart)
    free = {node: rooms[node] for leg in left for node in (leg.source, leg.target)}
    taken = seats.first.copy() if seats else None
    while left:
        waiting = []
        for leg in left:
            coming = stay_of(leg.mover.container) + leg.transit(leg.target)
            if (
                has_room(free[leg.target], coming, True)
                and has_room(free[leg.source], leg.transit(leg.source), False)
                and not any(leaving[leg.target, thing] for thing in leg.apart)
                and (taken is None or seats is None or seats.free(taken, leg))
            ):
                free[leg.target] = free[leg.target] - stay_of(leg.mover.container)
                free[leg.source] = free[leg.source] + stay_of(leg.mover.container)
                leaving.subtract((leg.source, thing) for thing in leg.apart)
                if taken is not None and seats is not None:
                    seats.shift(taken, leg)
                order.append(leg)
            else:
                waiting.append(leg)
        if len(waiting) == len(left):
            break
        left = waiting
    return tuple(order), tuple(left)


def stranded(legs: Iterable[Leg], room: Load) -> tuple[Leg, ...]:
    """Of all that leaves one node what it has no room to send, even when all others that can have left.

    `room` is what the node has before anything moves; targets take whatever comes.
    """
    alone = [replace(leg, target="", apart=frozenset()) for leg in legs]
    return sequence(alone, {"": _ANYTHING, **{leg.source: room for leg in alone}})[1]


def waits(
    legs: Sequence[Leg],
    rooms: Mapping[str, Load],
    moves_per_node_max: int,
    rules: Iterable[Rule] = (),
    links: Iterable[SharedLink] = (),
    seats: Seats | None = None,
) -> Waits:
    """For each move, in order, those that must have ended before it starts: as few as make every moment fit.

    Of the rules, and of links, those count that look at moves under way (budgets.py), and those of `seats`.
    """
    touching: dict[str, list[Leg]] = defaultdict(list)
    for leg in legs:
        touching[leg.source].append(leg)
        touching[leg.target].append(leg)
    tight = {n for n, there in touching.items() if not _fits_in_any_order(n, there, rooms[n], moves_per_node_max)}
    ordering = _Ordering(rooms, moves_per_node_max)
    queued = turns(legs, rules, links)
    seated = seats.queue(legs) if seats else {}
    left: dict[tuple[str, object], set[str]] = defaultdict(set)
    for leg in legs:
        first = {name for thing in leg.apart for name in left.get((leg.target, thing), ())}
        first |= queued.get(leg.name, set()) | seated.get(leg.name, set())
        if leg.number > 1:
            first.add(move_name(leg.mover.name, leg.number - 1))
        ordering.add(leg, sorted({leg.source, leg.target} & tight), sorted(first))
        for thing in leg.apart:
            left[leg.source, thing].add(leg.name)
    return ordering.waits


class _Ordering:
    """Moves taken up so far: what each waits for, and all that is sure to have ended before it."""

    def __init__(self, rooms: Mapping[str, Load], moves_per_node_max: int) -> None:
        self.rooms = rooms
        self.moves_per_node_max = moves_per_node_max
        self.waits: Waits = {}
        self.before: dict[str, frozenset[str]] = {}
        self.touching: dict[str, list[Leg]] = defaultdict(list)
        self.end_s: dict[str, float] = {}
        self.turns: dict[str, list[float]] = defaultdict(lambda: [0.0] * moves_per_node_max)

    def add(self, leg: Leg, tight: Sequence[str], first: Sequence[str]) -> None:
        """Takes up one more move with the fewest waits, for those that end first, that let every moment fit.

        It waits for `first` in any case: those that must have left its target, its container's move before, or those
        of its group that go before it.
        """
        earlier = {other.name for node in tight for other in self.touching[node]}
        soonest = sorted(earlier, key=lambda name: (self.end_s[name], name))
        for node in tight:
            self.touching[node].append(leg)
        few, many = 0, len(soonest)  # waiting for more never takes room away, and for all is one by one
        while few < many:
            count = (few + many) // 2
            if self._fit(leg, [*first, *soonest[:count]], tight):
                many = count
            else:
                few = count + 1
        names = [*first, *soonest[:few]]
        self._wait(leg, names)
        self.end_s[leg.name] = self._start_s(leg, names) + leg.duration_s

    def _fit(self, leg: Leg, names: Sequence[str], tight: Sequence[str]) -> bool:
        self._wait(leg, names)
        ended = self.before[leg.name]  # what has ended before it does not feel it, and did fit
        return all(
            self._fits(node, other) for node in tight for other in self.touching[node] if other.name not in ended
        )

    def _wait(self, leg: Leg, names: Sequence[str]) -> None:
        self.waits[leg.name] = self._needed(set(names))
        self.before[leg.name] = frozenset(names).union(*(self.before[name] for name in names))

    def _start_s(self, leg: Leg, names: Sequence[str]) -> float:
        """About when it starts: after all it waits for, and when both nodes have a turn free."""
        turns = [self.turns[node] for node in (leg.source, leg.target)]
        begin_s = max([0.0, *(self.end_s[name] for name in names), *(turn[0] for turn in turns)])
        for turn in turns:
            heapq.heapreplace(turn, begin_s + leg.duration_s)
        return begin_s

    def _needed(self, names: set[str]) -> tuple[str, ...]:
        """Without those that another of them waits for anyway."""
        return tuple(sorted(n for n in names if not any(n in self.before[other] for other in names)))

    def _fits(self, node: str, leg: Leg) -> bool:
        """Whether the node has room at the worst moment of this move."""
        mine, arrives = self.before[leg.name], leg.target == node
        cpu_milli = memory_bytes = disk_bytes = anon_bytes = files_bytes = 0  # plain numbers: this is asked often
        beside: list[tuple[int, bool]] = []
        for other in self.touching[node]:
            name = other.name
            ended, comes = name in mine, other.target == node
            if leg.name in self.before[name]:
                continue
            sign = 1 if comes else -1 if ended else 0
            if sign:
                stay = other.mover.container
                cpu_milli += sign * stay.reserved.cpu_milli
                memory_bytes += sign * stay.reserved.memory_bytes
                disk_bytes += sign * stay.reserved.disk_bytes
                anon_bytes += sign * stay.anon_bytes
                files_bytes += sign * stay.files_bytes
            if not ended and other is not leg:
                beside.append((other.in_bytes if comes else other.out_bytes, comes))
        own_bytes, most = leg.in_bytes if arrives else leg.out_bytes, self.moves_per_node_max - 1
        coming = sum(sorted((size for size, comes in beside if comes), reverse=True)[:most])
        lying = sum(sorted((size for size, _ in beside), reverse=True)[:most])
        limits = Resources(cpu_milli, memory_bytes + coming + own_bytes * arrives, disk_bytes)
        measured = Resources(0, anon_bytes + lying + own_bytes, files_bytes)
        return has_room(self.rooms[node], Load(limits, measured), arrives)


def _fits_in_any_order(node: str, legs: Sequence[Leg], room: Load, moves_per_node_max: int) -> bool:
    """Whether the node has room for all that comes, with the most in transit beside and nothing gone yet."""
    load = _largest([leg.transit(node) for leg in legs], moves_per_node_max)
    for leg in legs:
        if leg.target == node:
            load = load + stay_of(leg.mover.container)
    return has_room(room, load, arrives=any(leg.target == node for leg in legs))


def has_room(room: Load, load: Load, arrives: bool) -> bool:
    """Limits count only where something arrives, and so does a disk that is full already: what leaves a node that is
    over its limits, or has no disk left, asks nothing of them.
    """
    if arrives:
        return load.measured.fits_in(room.measured) and load.limits.fits_in(room.limits)
    asked, free = load.measured, room.measured
    return asked.memory_bytes <= free.memory_bytes and asked.disk_bytes <= max(0, free.disk_bytes)


def _largest(loads: Sequence[Load], count: int) -> Load:
    """The most memory that so many of these loads take, on each ledger."""
    limits = sorted((load.limits.memory_bytes for load in loads), reverse=True)
    measured = sorted((load.measured.memory_bytes for load in loads), reverse=True)
    return Load(Resources(memory_bytes=sum(limits[:count])), Resources(memory_bytes=sum(measured[:count])))
