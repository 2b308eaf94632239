"""Empty as many nodes as possible: the containers of the emptiest go where the others have room.

Theory. This is vector bin packing with things in place, and hard; so a good answer is looked for, and the least number
of nodes that any answer needs is said beside it. Nodes are offered in a few orders, those with least to move first.
The longest row of them that fits together is found by doubling and halving: its containers are placed largest first,
each on the fullest node that has room, so that what is left free lies on few nodes. Then each of the others is tried
on top of that, what has come to it included. The best set has the most nodes, and of those the fewest bytes to move.
How much is tried is bounded by the number of containers placed. Every try leaves a set that can be emptied, so a search
that is ended early has an answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Way
from migrator.planner.arrays import Mask, Targets, row
from migrator.planner.assemble import fleet_notes
from migrator.planner.drain import emptied, legs_to, sorted_out
from migrator.planner.keepers import Keepers
from migrator.planner.movers import open_nodes
from migrator.planner.ordering import Leg, stranded
from migrator.planner.placement import Mover
from migrator.planner.room import Load, room_of, stay_of
from migrator.planner.survival import Watch

REPAIRS_MAX = 4
MOVES_ORDERED = 1_000  # above it the first order that fits is taken: to look for one that is done sooner takes longest
STUCK_MAX = 8  # a try that leaves more without a place is not repaired
PLACED_MAX = 60_000  # containers placed in all tries, above which no further order is tried
RESOURCES = ("CPU", "memory", "disk")

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Until:
    """When the search ends: after so many sets of nodes that are tried, or when `stop`, which is asked before each."""

    tries: int = 2**62
    stop: Callable[[], bool] = lambda: False


WHOLE = Until()


@dataclass(frozen=True, slots=True)
class Packed:
    """Nodes that are emptied, who comes to which node and why, and all nodes as they are then."""

    names: Names
    comers: dict[str, dict[str, Mover]]
    reasons: dict[str, str]
    after: Targets

    def closing(self, names: Names, indices: Sequence[int]) -> Packed:
        """A copy that empties these nodes, to be filled by itself; the nodes of these indices take nothing more."""
        comers = {node: dict(there) for node, there in self.comers.items()}
        return Packed(names, comers, dict(self.reasons), self.after.closing(indices))


def consolidate(cluster: Cluster, snapshot: str, policy: PlanPolicy, until: Until = WHOLE) -> Plan | Refusal:
    """A plan after which as few nodes as were found hold all that runs; without moves where none can be emptied.

    `snapshot` is the digest of the cluster's facts. Nodes that are silent or cordoned neither give nor take; one with
    a container that cannot move stays.
    """
    fleet = _Fleet(cluster, policy, until)
    most = _most(fleet)
    packed = _surviving(fleet, most, Watch(cluster.nodes, policy))
    holding = sum(1 for node in fleet.nodes if node.containers)
    notes = [f"{holding - len(packed.names)} of {holding} nodes keep all that runs; {fleet.least()}"] if holding else []
    notes += [] if holding else ["no node that could be emptied holds a container"]
    if fleet.stopped:
        notes.append(f"stopped early; --iterations {fleet.tries} (and no --seconds) repeats this exactly")
    notes += [f"node {node} keeps {name}, which cannot leave: {why}" for node, name, why in fleet.kept()]
    notes += _left(fleet, most, packed)
    moved = ((mover, target) for target, there in packed.comers.items() for mover in there.values())
    legs = legs_to(cluster, moved, policy)
    return emptied(
        cluster,
        tuple(sorted(packed.names)),
        legs,
        packed.reasons,
        policy,
        intent="consolidate",
        snapshot=snapshot,
        stays=tuple(sorted(name for node in packed.names for name in fleet.stays[node])),
        notes=(*notes, *fleet_notes(cluster)),
        hasty=fleet.stopped or len(legs) > MOVES_ORDERED,
    )


def _left(fleet: _Fleet, most: Packed, packed: Packed) -> Iterator[str]:
    """Nodes that could be emptied by themselves and are not, each with why."""
    for name in sorted(set(fleet.candidates) - set(packed.names)):
        if name in most.names:
            yield f"node {name} keeps what it holds: after more than this plan the loss of a node would not be survived"
        elif not fleet.stopped:
            yield f"node {name} keeps what it holds: no room was found for all of it beside what the others hold"


def _most(fleet: _Fleet) -> Packed:
    """The best set of nodes that can be emptied together, of a few orders in which they are offered."""
    best = fleet.nothing
    for key in (fleet.share, fleet.bytes, fleet.count):
        found = _grown(fleet, sorted(fleet.candidates, key=lambda name: (key(name), name)))
        best = max(best, found, key=lambda packed: (len(packed.names), -sum(map(fleet.bytes, packed.names))))
        if fleet.stopped or fleet.placed > PLACED_MAX:
            break
    return best


def _surviving(fleet: _Fleet, packed: Packed, watch: Watch) -> Packed:
    """The same, or the longest row of it after which the loss of a node is no worse than before, if a rule asks so."""
    if not watch.rules or _survives(packed, watch):
        return packed
    kept, fits, fails = fleet.nothing, 0, len(packed.names)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        tried = fleet.pack(packed.names[:middle])
        if tried is not None and _survives(tried, watch):
            kept, fits = tried, middle
        else:
            fails = middle
    return kept


def _survives(packed: Packed, watch: Watch) -> bool:
    moved = {name: node for node, there in packed.comers.items() for name in there}
    return not watch.worse(moved, packed.names, soft=False)


def _grown(fleet: _Fleet, offered: Sequence[str]) -> Packed:
    """As many of the offered nodes as fit together: first the longest row from the front, then one by one."""
    packed, count = _longest(fleet, offered)
    for name in offered[count:]:
        if fleet.ends():
            break
        packed = fleet.with_one_more(packed, name) or packed
    return packed


def _longest(fleet: _Fleet, offered: Sequence[str]) -> tuple[Packed, int]:
    """The longest row of the offered from the front that fits, and its length: by doubling, then by halving."""
    best, fits, fails = fleet.nothing, 0, 1
    while fails <= len(offered) and not fleet.ends() and (found := fleet.pack(tuple(offered[:fails]))):
        best, fits, fails = found, fails, fails * 2
    fails = min(fails, len(offered) + 1)
    while fails - fits > 1 and not fleet.ends():
        middle = (fits + fails) // 2
        if found := fleet.pack(tuple(offered[:middle])):
            best, fits = found, middle
        else:
            fails = middle
    return best, fits


class _Fleet:
    """What is asked of the cluster again and again, made ready once.

    `bound` names a container that cannot leave, for the nodes that have one, and `crowded` one that could go to empty
    nodes alone; `placed` counts the containers tried, `tries` the sets of nodes. `stopped` is whether the search was
    ended before it came to its end.
    """

    def __init__(self, cluster: Cluster, policy: PlanPolicy, until: Until) -> None:
        self.until, self.tries, self.stopped = until, 0, False
        self.nodes = open_nodes(cluster)
        movers, stays, stuck = sorted_out(cluster, self.nodes, policy)
        self.movers: dict[str, list[Mover]] = defaultdict(list)
        for mover in movers:
            self.movers[mover.source.name].append(mover)
        stopped = {container.name for container in stays}
        self.stays = {n.name: [c.name for c in n.containers if c.name in stopped] for n in self.nodes}
        self.at = {node.name: index for index, node in enumerate(self.nodes)}
        self.whole = targets = Targets(self.nodes, policy, cluster)
        self.largest = targets.largest
        self.room = targets.room.clip(min=0)
        # to fill a node that is empty already is to empty none
        free = [index for index, node in enumerate(self.nodes) if not node.containers]
        self.nothing = Packed((), {}, {}, targets.closing(free))
        self.streamed = {name for name, _ in self._stranded("images", policy)}  # there is no room for images
        self.crowded = dict(self._homeless(self.nothing.after, self.movers))
        self.unsent = dict(self._stranded("stream", policy))
        self.bound = self.unsent | dict(self._homeless(targets, self.crowded))
        self.bound |= {one.node: one.container for one in reversed(stuck)}
        self.unmovable = {(one.node, one.container): one.reasons[0].text for one in stuck}
        self.crowded = {node: name for node, name in self.crowded.items() if node not in self.bound}
        self.candidates = [name for name in self.movers if name not in self.bound and name not in self.crowded]
        self.placed = 0

    def kept(self) -> Iterator[tuple[str, str, str]]:
        """Nodes that are not looked at, each with the container that cannot leave it and why."""
        keepers = Keepers(self.whole)
        for node, name in sorted((self.bound | self.crowded).items()):
            mover = next((mover for mover in self.movers[node] if mover.name == name), None)
            if node in self.crowded:
                yield node, name, "only empty nodes could take it, and none of them is filled"
            elif mover is None:
                yield node, name, self.unmovable[node, name]
            elif node in self.unsent:
                yield node, name, "its node has no free memory to send it from"
            else:
                yield node, name, keepers.why(mover, self.movers[node], self.at[node])

    def ends(self) -> bool:
        """Asked before each try: whether the search is to end here."""
        self.stopped = self.stopped or self.tries >= self.until.tries or self.until.stop()
        self.tries += not self.stopped
        return self.stopped

    def share(self, name: str) -> float:
        """How much of its node's fullest resource a container takes, summed over the node's."""
        return sum(self._share(mover) for mover in self.movers[name])

    def bytes(self, name: str) -> int:
        """What would be moved, in bytes."""
        return sum(mover.container.anon_bytes + mover.container.files_bytes for mover in self.movers[name])

    def count(self, name: str) -> int:
        return len(self.movers[name])

    def pack(self, names: Names) -> Packed | None:
        """Places for all that is on these nodes on the others; `None` where none were found."""
        movers = [mover for name in names for mover in self.movers[name]]
        closed = [self.at[name] for name in names]
        need = np.sum([row(stay_of(mover.container)) for mover in movers], axis=0)
        if (need > self.room.sum(axis=0) - self.room[closed].sum(axis=0)).any():
            return None
        order = sorted(movers, key=lambda mover: (-self._share(mover), mover.name))
        for _ in range(1 + REPAIRS_MAX):
            packed = self.nothing.closing(names, closed)
            stuck = self._place(packed, order, STUCK_MAX)
            if not stuck:
                return packed
            if len(stuck) > STUCK_MAX:
                break
            first = {mover.name for mover in stuck}
            order = [*stuck, *(mover for mover in order if mover.name not in first)]
        return None

    def with_one_more(self, packed: Packed, name: str) -> Packed | None:
        """The same with one more node emptied, if what is on it and what has come to it finds places elsewhere."""
        grown = packed.closing((*packed.names, name), [self.at[name]])
        movers = (*self.movers[name], *grown.comers.pop(name, {}).values())
        order = sorted(movers, key=lambda mover: (-self._share(mover), mover.name))
        return None if self._place(grown, order, 0, self.at[name]) else grown

    def least(self) -> str:
        """The number of nodes that any answer needs, by the resource that asks for the most, in words."""
        if not self.nodes:
            return "none is open"
        held = np.sum([row(Load(node.reserved))[:3] for node in self.nodes], axis=0)
        whole = np.sort(self.nothing.after.whole, axis=0)[::-1].cumsum(axis=0)
        least = [int(np.searchsorted(whole[:, column], held[column])) + 1 for column in range(3) if held[column]]
        needed = max(least, default=0)
        by = RESOURCES[[column for column in range(3) if held[column]][least.index(needed)]] if least else "room"
        return f"by {by} alone at least {min(needed, len(self.nodes))} must"

    def _place(self, packed: Packed, order: Sequence[Mover], stuck_max: int, had: int | None = None) -> list[Mover]:
        """Each container in this order to the fullest node that has room; those that found none, not many more than
        `stuck_max`. `had` is the node to which those have come that are not its own.
        """
        after, stuck = packed.after, list[Mover]()
        after.rules.leave(order)
        for mover in order:
            self.placed += 1
            fitting = np.flatnonzero(self._fitting(mover, after))
            if not len(fitting):
                stuck.append(mover)
                if len(stuck) > stuck_max:
                    break
                continue
            shares = after.share(mover)[fitting]
            at = int(np.argmax(shares))  # names are sorted, so equal shares go to the first name
            index = int(fitting[at])
            if had is not None and mover.source.name != after.nodes[had].name:
                after.move(mover, had, index)
                after.expect(mover, index)
            else:
                after.place(mover, index, 0.0)
            packed.comers.setdefault(after.nodes[index].name, {})[mover.name] = mover
            packed.reasons[mover.name] = f"fullest of {len(fitting)} that fit ({shares[at]:.0%} full by then)"
        return stuck

    def _homeless(self, targets: Targets, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Those of these nodes with a container that none of the others can take as things are, and the first such."""
        for name in names:
            movers, after = self.movers[name], targets.closing([self.at[name]])
            after.rules.leave(movers)
            homeless = next((mover.name for mover in movers if not self._fitting(mover, after).any()), None)
            if homeless is not None:
                yield name, homeless

    def _stranded(self, way: Way, policy: PlanPolicy) -> Iterator[tuple[str, str]]:
        """Nodes that have no room to send one of their containers this way, and the first such container."""
        for node in self.nodes:
            legs = [Leg(mover, "", way) for mover in self.movers.get(node.name, ())]
            for leg in stranded(legs, room_of(node, policy))[:1]:
                yield node.name, leg.name

    def _fitting(self, mover: Mover, after: Targets) -> Mask:
        """The nodes that can take it, and that its own has room to send it to."""
        fits = after.fitting(mover)
        return fits & after.streaming(mover) if mover.source.name in self.streamed else fits

    def _share(self, mover: Mover) -> float:
        """The container's largest share of the largest node."""
        demand = row(Load(mover.container.reserved))[:3]
        return max(want / whole if whole else 0.0 for want, whole in zip(demand, self.largest.tolist(), strict=True))
