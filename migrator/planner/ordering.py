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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import accumulate
from operator import or_

from migrator.model.estimate import estimate_move
from migrator.model.facts import Resources, SharedLink
from migrator.model.modes import AUTO
from migrator.model.plan import move_name
from migrator.model.rates import DEFAULT_RATES, Way
from migrator.model.rules import Rule
from migrator.planner.budgets import turns
from migrator.planner.placement import Mover
from migrator.planner.room import Load, stay_of, transit_in, transit_in_bytes, transit_out, transit_out_bytes
from migrator.planner.seats import Seats


@dataclass(frozen=True, slots=True)
class Leg:
    """One container on its way. `apart` is all that it must not share with another on a node
    (company.py).

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


def at_the_end(legs: Sequence[Leg], node: str) -> Load:
    """What all that comes to a node takes there when the last of it arrives, even when all that leaves has left."""
    coming = [leg for leg in legs if leg.target == node]
    wanted = min((leg.transit(node) for leg in coming), key=lambda load: load.measured.memory_bytes, default=Load())
    for leg in coming:
        wanted = wanted + stay_of(leg.mover.container)
    for leg in legs:
        if leg.source == node:
            wanted = wanted - stay_of(leg.mover.container)
    return wanted


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
    """Moves taken up so far: what each waits for, and all that is sure to have ended before it.

    Moves are numbered as they are taken up; a set of them is an integer with their bits set, for it is asked often.
    """

    def __init__(self, rooms: Mapping[str, Load], moves_per_node_max: int) -> None:
        self.rooms = rooms
        self.moves_per_node_max = moves_per_node_max
        self.waits: Waits = {}
        self.number: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self.moments: dict[str, dict[int, _Moment]] = defaultdict(dict)  # by node, and by the bit of the move
        self.at_end: dict[str, Stay] = defaultdict(lambda: NOTHING)  # what each holds more when they have all ended
        self.end_s: dict[str, float] = {}
        self.turns: dict[str, list[float]] = defaultdict(lambda: [0.0] * moves_per_node_max)

    def add(self, leg: Leg, tight: Sequence[str], first: Sequence[str]) -> None:
        """Takes up one more move with the fewest waits, for those that end first, that let every moment fit.

        It waits for `first` in any case: those that must have left its target, its container's move before, or those
        of its group that go before it.
        """
        earlier = {moment.leg.name for node in tight for moment in self.moments[node].values()}
        soonest = sorted(earlier, key=lambda name: (self.end_s[name], name))
        ended = list(accumulate((self._ended(name) for name in soonest), or_, initial=self._all_ended(first)))
        # what has ended before it does not feel it, and did fit
        needed = sum({bit for node in tight for bit, m in self.moments[node].items() if not m.bears(leg)})
        few, many = 0, len(soonest)  # waiting for more never takes room away, and for all is one by one
        while few < many:
            count = (few + many) // 2
            if not needed & ~ended[count] and all(self._moment(node, leg, ended[count]).fits() for node in tight):
                many = count
            else:
                few = count + 1
        number = self.number[leg.name] = len(self.number)
        for node in tight:
            mine = self._moment(node, leg, ended[few])
            for moment in self._beside(node, ended[few]):
                moment.meet(leg)
            self.moments[node][1 << number] = mine
            self.at_end[node] = _plus(self.at_end[node], leg, 1 if leg.target == node else -1)
        names = [*first, *soonest[:few]]
        self.before[leg.name] = ended[few]
        self.waits[leg.name] = self._needed(set(names))
        self.end_s[leg.name] = self._start_s(leg, names) + leg.duration_s

    def _beside(self, node: str, ended: int) -> Iterator[_Moment]:
        """The moments on a node of those that these are not."""
        return (moment for bit, moment in self.moments[node].items() if not bit & ended)

    def _bit(self, name: str) -> int:
        return 1 << self.number[name]

    def _ended(self, name: str) -> int:
        """Itself, and all that is sure to have ended before it."""
        return self._bit(name) | self.before[name]

    def _all_ended(self, names: Iterable[str]) -> int:
        return reduce(or_, map(self._ended, names), 0)

    def _start_s(self, leg: Leg, names: Sequence[str]) -> float:
        """About when it starts: after all it waits for, and when both nodes have a turn free."""
        turns = [self.turns[node] for node in (leg.source, leg.target)]
        begin_s = max([0.0, *(self.end_s[name] for name in names), *(turn[0] for turn in turns)])
        for turn in turns:
            heapq.heapreplace(turn, begin_s + leg.duration_s)
        return begin_s

    def _needed(self, names: set[str]) -> tuple[str, ...]:
        """Without those that another of them waits for anyway."""
        anyway = reduce(or_, (self.before[name] for name in names), 0)
        return tuple(sorted(name for name in names if not self._bit(name) & anyway))

    def _moment(self, node: str, leg: Leg, ended: int) -> _Moment:
        """The worst moment of this move on a node, of those taken up so far."""
        beside = [moment.leg for moment in self._beside(node, ended)]
        return _Moment(node, leg, self.rooms[node], self.at_end[node], beside, self.moves_per_node_max - 1)


Stay = tuple[int, int, int, int, int]  # CPU, memory and disk by limits, then memory and files as measured
NOTHING: Stay = (0, 0, 0, 0, 0)  # plain numbers: this is asked often


def _plus(stay: Stay, leg: Leg, sign: int) -> Stay:
    """With what one container takes, or without."""
    its = leg.mover.container
    return (
        stay[0] + sign * its.reserved.cpu_milli,
        stay[1] + sign * its.reserved.memory_bytes,
        stay[2] + sign * its.reserved.disk_bytes,
        stay[3] + sign * its.anon_bytes,
        stay[4] + sign * its.files_bytes,
    )


class _Moment:
    """What a node holds at the worst moment of one move: all that may have come and nothing gone but what surely has,
    with the most in transit of those `beside` it. `at_end` is what it holds more when the others taken up have ended.
    """

    def __init__(self, node: str, leg: Leg, room: Load, at_end: Stay, beside: Sequence[Leg], beside_max: int) -> None:
        self.node, self.leg, self.beside_max = node, leg, beside_max
        self.arrives = leg.target == node
        self.stay = _plus(at_end, leg, 1) if self.arrives else at_end
        coming, lying = [leg.in_bytes for leg in beside if leg.target == node], list[int]()
        for other in beside:
            if other.target != node:  # it is still there
                self.stay = _plus(self.stay, other, 1)
                lying.append(other.out_bytes)
        self.coming = sorted(coming)[-beside_max:] if beside_max else []  # bytes in transit, the most of them
        self.lying = sorted(coming + lying)[-beside_max:] if beside_max else []
        self.room = room

    def meet(self, leg: Leg) -> None:
        """One more move may be there beside it."""
        comes = leg.target == self.node
        if comes:
            self.stay = _plus(self.stay, leg, 1)
            self.coming = self._more(self.coming, leg.in_bytes)
        self.lying = self._more(self.lying, leg.in_bytes if comes else leg.out_bytes)

    def bears(self, leg: Leg) -> bool:
        """Whether it fits with one more move beside it."""
        if leg.target == self.node:
            coming, lying = self._more(self.coming, leg.in_bytes), self._more(self.lying, leg.in_bytes)
            return self._fits(_plus(self.stay, leg, 1), sum(coming), sum(lying))
        return self._fits(self.stay, sum(self.coming), sum(self._more(self.lying, leg.out_bytes)))

    def fits(self) -> bool:
        """Whether the node has room for it."""
        return self._fits(self.stay, sum(self.coming), sum(self.lying))

    def _more(self, largest: list[int], size: int) -> list[int]:
        if len(largest) < self.beside_max:
            return sorted((*largest, size))
        return sorted((size, *largest[1:])) if largest and size > largest[0] else largest

    def _fits(self, stay: Stay, coming_bytes: int, lying_bytes: int) -> bool:
        own_bytes = self.leg.in_bytes if self.arrives else self.leg.out_bytes
        cpu_milli, memory_bytes, disk_bytes, anon_bytes, files_bytes = stay
        limits = Resources(cpu_milli, memory_bytes + coming_bytes + own_bytes * self.arrives, disk_bytes)
        measured = Resources(0, anon_bytes + lying_bytes + own_bytes, files_bytes)
        return has_room(self.room, Load(limits, measured), self.arrives)


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
