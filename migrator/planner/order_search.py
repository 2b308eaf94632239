"""An order of moves that is done sooner: several are played on their links, and the source that ends last is mended.

Theory. Any order in which each has room when those before it have gone is right, for `waits` makes every moment of it
fit; such orders differ in how long links are idle. Large ones first leaves small ones for the end, but two equal moves
side by side dump together and restore together, and then nobody sends; and on a source that is nearly full, images of
large ones keep the others back. No rule is best for every source, so a few are played over the whole plan. Then the
order of the source that ends last is changed one place at a time and played by itself, as if its targets had nobody
else, as long as that helps and tries are left. What comes out is put in an order in which each has room beside all
others, played whole once more, and kept only if it is better. Tries are counted, so equal input gives equal order.
Where a source has but one link up, and either its pauses in turn or its bytes fill the time, no order ends sooner, and
none is looked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from migrator.model.facts import NodeFacts, SharedLink
from migrator.model.links import NONE_SHARED, Crossings
from migrator.model.plan import PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.predict import predicted
from migrator.planner.ordering import Leg, sequence, waits
from migrator.planner.room import Load
from migrator.planner.schedule import Edge, timeline

TRIES_MIN, MOVES_PER_TRY = 16, 4
PLAYS_PER_MOVE = 32  # a try plays all moves of one source: so often is one played if all have the same source
PAIRS_MAX = 2**18  # of moves that the tries of one source may look at: where room is tight each is held against each
LOOKS_MIN, LOOKS_PER_TRY = 256, 16  # orders of one source that are made to find those that are played
EQUAL_S = 0.01  # times are told to a millisecond
Order = tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """What orders are played on: room of nodes, links between them with bytes a second, and what the policy lets.

    `first` are classes of priority, by container: those of 0 go first, and those that are not in it.
    """

    nodes: Mapping[str, NodeFacts]
    rooms: Mapping[str, Load]
    ways: Mapping[Edge, tuple[Edge, ...]]
    speeds: Mapping[Edge, float]
    policy: PlanPolicy
    first: Mapping[str, int] = field(default_factory=dict)
    links: tuple[SharedLink, ...] = ()
    crossings: Crossings = NONE_SHARED  # of these links

    def by_class(self, legs: Iterable[Leg]) -> dict[str, int]:
        """A place for each, in this order, but those of the first class before all others."""
        ranked = sorted(legs, key=lambda leg: self.first.get(leg.mover.name, 0))
        return {leg.name: place for place, leg in enumerate(ranked)}

    def ends_s(self, order: Order) -> dict[str, float]:
        """When each source has sent the last of its moves, in seconds, if they start in this order."""
        needed = waits(order, self.rooms, self.policy.moves_per_node_max, self.policy.rules, self.links)
        moves = [self._move(leg, needed[leg.name]) for leg in order]
        spans = timeline(moves, self.policy, self.ways, self.speeds)
        ends: dict[str, float] = {}
        for leg in order:
            ends[leg.source] = max(ends.get(leg.source, 0.0), spans[leg.name].done_s)
        return ends

    def least_s(self, mine: Iterable[Leg]) -> float:
        """Seconds before which one source cannot have sent the last of its moves, in whatever order.

        The link up from it carries nothing before the first move is set up. Then its pauses come one after the other,
        or, where they may overlap, at the least its bytes over its speed.
        """
        moves = [self._move(leg, ()) for leg in mine]
        ready_s, idle_s, pauses_s, count_bytes = [], [], 0.0, 0
        for move in moves:
            rates = self.policy.rates(move.source, move.target, move.memory_way)
            ready_s.append(move.estimate.ready_s)
            early = move.estimate.files_bytes or move.estimate.ahead_bytes
            idle_s.append(rates.setup_s + (0.0 if early else rates.constant_s(move.mode)))
            pauses_s += move.estimate.blackout_s
            count_bytes += move.estimate.bytes
        speed = self.speeds[self.ways[moves[0].source, moves[0].target][0]]
        sent_s = min(idle_s) + count_bytes / speed
        return sent_s if self.policy.overlapping_pauses else max(sent_s, min(ready_s) + pauses_s)

    def _move(self, leg: Leg, waits_for: tuple[str, ...]) -> PlannedMove:
        container = leg.mover.container
        rates = self.policy.rates(leg.source, leg.target, leg.way)
        shared = self.crossings.speeds(leg.source, leg.target)
        link = leg.mover.source.link
        mode, estimate = predicted(container, link, self.nodes[leg.target].link, rates, shared, self.policy)
        demand, number = container.reserved, leg.number
        return PlannedMove(
            leg.mover.name,
            leg.source,
            leg.target,
            0,
            demand,
            "",
            estimate,
            waits_for,
            leg=number,
            memory_way=leg.way,
            mode=mode,
        )


def order_of(legs: Iterable[Leg], track: Track) -> tuple[Order, Order]:
    """The order in which moves start, and those that never have room."""
    order, blocked = sequence(legs, track.rooms)
    if blocked or len(order) < 2:
        return order, blocked
    ends = track.ends_s(order)
    if _is_least(order, ends, track):
        return order, ()
    tried = [order, *(found for found in _rules(order, track) if found != order)]
    ways = [ends, *(track.ends_s(found) for found in tried[1:])]
    end_s, number = min((max(each.values()), number) for number, each in enumerate(ways))
    # sources were mended as if nobody else came to their targets: together it is made an order that has room
    mended, blocked = sequence(_mended(tried[number], ways[number], track), track.rooms)
    if not blocked and mended != tried[number] and max(track.ends_s(mended).values()) < end_s:
        return mended, ()
    return tried[number], ()


def _is_least(order: Order, ends_s: Mapping[str, float], track: Track) -> bool:
    """Whether the source that ends last cannot end sooner."""
    last = max(sorted(ends_s), key=lambda name: ends_s[name])
    return ends_s[last] <= track.least_s(leg for leg in order if leg.source == last) + EQUAL_S


def _rules(order: Order, track: Track) -> Iterator[Order]:
    """Small ones first; and of each source the largest and the smallest in turn."""
    in_turn: dict[str, int] = {}
    for mine in _by_source(order).values():
        largest = sorted(mine, key=lambda leg: leg.mover.turn)
        for place in range(len(mine)):
            in_turn[largest.pop(-(place % 2)).name] = place
    for rank in ({leg.name: _size(leg) for leg in order}, in_turn):
        wished = track.by_class(sorted(order, key=lambda leg: (rank[leg.name], leg.name)))
        found, blocked = sequence(order, track.rooms, wished)
        if not blocked:
            yield found


def _mended(order: Order, ends_s: Mapping[str, float], track: Track) -> Order:
    """The order with the sources that end last changed, one after the other, until none gets better."""
    mine, ends = _by_source(order), dict(ends_s)
    tries, plays = TRIES_MIN + len(order) // MOVES_PER_TRY, PLAYS_PER_MOVE * len(order)
    while tries > 0:
        last = max(sorted(ends), key=lambda name: ends[name])
        if ends[last] <= track.least_s(mine[last]) + EQUAL_S:
            break
        count = len(mine[last])
        better, end_s, used = _better(mine[last], ends[last], min(tries, plays // count, PAIRS_MAX // count**2), track)
        tries, plays = tries - used, plays - used * count
        if better == mine[last]:
            break
        mine[last], ends[last] = better, end_s
    places = {name: iter(legs) for name, legs in mine.items()}
    return tuple(next(places[leg.source]) for leg in order)


def _better(mine: Order, end_s: float, tries: int, track: Track) -> tuple[Order, float, int]:
    """The first order of one source's moves, with one of them at another place, that ends sooner; and tries used."""
    seen, used = {_sizes(mine)}, 0
    looks = LOOKS_MIN + LOOKS_PER_TRY * tries
    for at, to in islice(_places(_sizes(mine)), looks):
        rest = mine[:at] + mine[at + 1 :]
        wished = track.by_class((*rest[:to], mine[at], *rest[to:]))
        found, blocked = sequence(mine, track.rooms, wished)
        if blocked or _sizes(found) in seen:
            continue
        if used == tries:
            break
        seen.add(_sizes(found))
        used += 1
        sooner_s = max(track.ends_s(found).values())
        if sooner_s < end_s:
            return found, sooner_s, used
    return mine, end_s, used


def _places(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Which move to put where, each change of sizes once: of equal moves side by side the first, before the first."""
    for at, size in enumerate(sizes):
        if at and size == sizes[at - 1]:
            continue
        rest = (*sizes[:at], *sizes[at + 1 :])
        yield from ((at, to) for to in range(len(sizes)) if to != at and (not to or rest[to - 1] != size))


def _by_source(order: Order) -> dict[str, Order]:
    found: dict[str, list[Leg]] = defaultdict(list)
    for leg in order:
        found[leg.source].append(leg)
    return {name: tuple(legs) for name, legs in found.items()}


def _size(leg: Leg) -> int:
    return leg.mover.container.anon_bytes


def _sizes(order: Sequence[Leg]) -> tuple[int, ...]:
    """Orders of moves that are alike are alike."""
    return tuple(_size(leg) for leg in order)
