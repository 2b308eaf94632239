"""Who waits for whom.

Theory. The moves of a plan start as soon as what they wait for has ended, so anything that no wait forbids can
happen at one time. A plan is good if everything fits at the worst moment of every move: all that may have come has
come, nothing has left but what is waited for, and as many images lie beside as moves may touch a node at one time.
Taken one by one in their order, the moves fit. So each is first tried without waits, then with those of the move
before it on the same node, and at last waiting for every earlier move there, which is one by one again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from migrator.model.facts import Resources
from migrator.planner.placement import Mover
from migrator.planner.room import Load, images_in, images_out, stay_of


@dataclass(frozen=True, slots=True)
class Leg:
    """One container on its way."""

    mover: Mover
    target: str

    @property
    def name(self) -> str:
        return self.mover.name

    @property
    def source(self) -> str:
        return self.mover.source.name

    def images(self, node: str) -> Load:
        """What its images take on one of its two nodes."""
        return images_in(self.mover.container) if node == self.target else images_out(self.mover.container)


Waits = dict[str, tuple[str, ...]]


def sequence(legs: Iterable[Leg], rooms: Mapping[str, Load]) -> tuple[tuple[Leg, ...], tuple[Leg, ...]]:
    """The order in which moves start, and those that never have room: each goes when those before it have gone."""
    free, order = dict(rooms), list[Leg]()
    left = sorted(legs, key=lambda leg: leg.mover.turn)
    while left:
        waiting = []
        for leg in left:
            coming = stay_of(leg.mover.container) + leg.images(leg.target)
            if _has_room(free[leg.target], coming, True) and _has_room(free[leg.source], leg.images(leg.source), False):
                free[leg.target] = free[leg.target] - stay_of(leg.mover.container)
                free[leg.source] = free[leg.source] + stay_of(leg.mover.container)
                order.append(leg)
            else:
                waiting.append(leg)
        if len(waiting) == len(left):
            break
        left = waiting
    return tuple(order), tuple(left)


def waits(legs: Sequence[Leg], rooms: Mapping[str, Load], moves_per_node_max: int) -> Waits:
    """For each move, in order, those that must have ended before it starts: as few as make every moment fit."""
    touching: dict[str, list[Leg]] = defaultdict(list)
    for leg in legs:
        touching[leg.source].append(leg)
        touching[leg.target].append(leg)
    tight = {n for n, there in touching.items() if not _fits_in_any_order(n, there, rooms[n], moves_per_node_max)}
    ordering = _Ordering(rooms, moves_per_node_max)
    for leg in legs:
        ordering.add(leg, sorted({leg.source, leg.target} & tight))
    return ordering.waits


class _Ordering:
    """Moves taken up so far: what each waits for, and all that is sure to have ended before it."""

    def __init__(self, rooms: Mapping[str, Load], moves_per_node_max: int) -> None:
        self.rooms = rooms
        self.moves_per_node_max = moves_per_node_max
        self.waits: Waits = {}
        self.before: dict[str, frozenset[str]] = {}
        self.touching: dict[str, list[Leg]] = defaultdict(list)

    def add(self, leg: Leg, tight: Sequence[str]) -> None:
        """Takes up one more move with the fewest waits that let every moment on the tight nodes fit."""
        earlier = {other.name for node in tight for other in self.touching[node]}
        as_last = {w for node in tight if self.touching[node] for w in self.waits[self.touching[node][-1].name]}
        for node in tight:
            self.touching[node].append(leg)
        overlapping = [
            {other.name for node in tight for other in self.touching[node][: -1 - beside]}
            for beside in range(self.moves_per_node_max - 1, 0, -1)
        ]
        for names in (set(), as_last, *overlapping, earlier):
            self.waits[leg.name] = self._needed(names)
            self.before[leg.name] = frozenset(names).union(*(self.before[name] for name in names))
            if all(self._fits(node, other) for node in tight for other in self.touching[node]):
                return

    def _needed(self, names: set[str]) -> tuple[str, ...]:
        """Without those that another of them waits for anyway."""
        return tuple(sorted(n for n in names if not any(n in self.before[other] for other in names)))

    def _fits(self, node: str, leg: Leg) -> bool:
        """Whether the node has room at the worst moment of this move."""
        load = stay_of(leg.mover.container) if leg.target == node else Load()
        beside = []
        for other in self.touching[node]:
            ended, later = other.name in self.before[leg.name], leg.name in self.before[other.name]
            if other is leg or later:
                continue
            if other.target == node:
                load = load + stay_of(other.mover.container)
            elif ended:
                load = load - stay_of(other.mover.container)
            if not ended:
                beside.append(other.images(node))
        load = load + leg.images(node) + _largest(beside, self.moves_per_node_max - 1)
        return _has_room(self.rooms[node], load, arrives=leg.target == node)


def _fits_in_any_order(node: str, legs: Sequence[Leg], room: Load, moves_per_node_max: int) -> bool:
    """Whether the node has room for all that comes, with the largest images beside and nothing gone yet."""
    load = _largest([leg.images(node) for leg in legs], moves_per_node_max)
    for leg in legs:
        if leg.target == node:
            load = load + stay_of(leg.mover.container)
    return _has_room(room, load, arrives=any(leg.target == node for leg in legs))


def _has_room(room: Load, load: Load, arrives: bool) -> bool:
    """Limits count only where something arrives: what leaves a node that is over its limits asks nothing of them."""
    return load.measured.fits_in(room.measured) and (not arrives or load.limits.fits_in(room.limits))


def _largest(images: Sequence[Load], count: int) -> Load:
    """The most memory that so many of these images take, on each ledger."""
    limits = sorted((load.limits.memory_bytes for load in images), reverse=True)
    measured = sorted((load.measured.memory_bytes for load in images), reverse=True)
    return Load(Resources(memory_bytes=sum(limits[:count])), Resources(memory_bytes=sum(measured[:count])))
