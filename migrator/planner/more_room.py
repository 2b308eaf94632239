"""What would do: the least room more, on one node, with which moves that wait for each other would have an order.

Theory. Of each container that cannot move it is asked what is missing where it goes, where it starts, and on each node
that it could be put aside on; the least of these is granted first and the whole order tried again, and on that node a
little more if it is not enough. Amounts of different resources are compared as parts of what a node has of them on
average, so of one resource the smaller amount is less, however large the node is. What is told has been tried; that
nothing less would do is not proved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from migrator.model.facts import NodeFacts, Resources
from migrator.model.plan import Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import format_bytes
from migrator.planner.ordering import Leg, at_the_end
from migrator.planner.rings import Scene, rings, untangle
from migrator.planner.room import Load, stay_of
from migrator.planner.stop_overs import Ground

NODES_MAX, TIMES_MAX = 8, 3  # nodes that are given more room, and how often each
NAMES_MAX = 5
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Ask:
    """Room that one node lacks: `more` against limits, without the headroom, and as measured."""

    node: str
    more: Load

    def said(self, policy: PlanPolicy) -> str:
        """In words: "164 MiB more memory on n3". What is kept free is on top."""
        limits, measured = self.granted(policy)
        parts = [f"{limits.cpu_milli / 1000:g} more CPU"] if limits.cpu_milli else []
        for what, size in (
            ("memory", limits.memory_bytes),
            ("disk", limits.disk_bytes),
            ("free memory", measured.memory_bytes),
            ("free disk", measured.disk_bytes),
        ):
            if size:
                parts.append(f"{format_bytes(size)} more {what}")
        return f"{' and '.join(parts)} on {self.node}"

    def granted(self, policy: PlanPolicy) -> tuple[Resources, Resources]:
        """By how much the node's capacity, and what it has really free, would have to grow; rounded up."""
        limits, measured = self.capacity(policy), self.more.measured
        return (
            replace(limits, memory_bytes=_up(limits.memory_bytes), disk_bytes=_up(limits.disk_bytes)),
            replace(measured, memory_bytes=_up(measured.memory_bytes), disk_bytes=_up(measured.disk_bytes)),
        )

    def capacity(self, policy: PlanPolicy) -> Resources:
        """What the node's capacity would have to grow by."""
        more = self.more.limits
        sizes = zip((more.cpu_milli, more.memory_bytes, more.disk_bytes), policy.headrooms, strict=True)
        return Resources(*(-(-size * 100 // (100 - percent)) for size, percent in sizes))

    def size(self, mean: Resources) -> float:
        """The largest part that is asked for of what a node has on average."""
        limits, measured = self.more.limits, self.more.measured
        pairs = [
            (limits.cpu_milli, mean.cpu_milli),
            (max(limits.memory_bytes, measured.memory_bytes), mean.memory_bytes),
            (max(limits.disk_bytes, measured.disk_bytes), mean.disk_bytes),
        ]
        return max(more / max(1, all_of_it) for more, all_of_it in pairs)


def mean_node(nodes: Sequence[NodeFacts]) -> Resources:
    """What a node that answered has on average."""
    there = [node.capacity for node in nodes if node.answered]
    count = max(1, len(there))
    return Resources(
        sum(whole.cpu_milli for whole in there) // count,
        sum(whole.memory_bytes for whole in there) // count,
        sum(whole.disk_bytes for whole in there) // count,
    )


def _up(size: int) -> int:
    """Bytes up to the next number that is told exactly: of MiB, or of tenths of a larger unit."""
    unit = next((unit for unit in (1 << 40, 1 << 30) if size >= unit), None)
    if unit is None:
        return -(-size // MIB) * MIB
    tenths = -(-size * 10 // unit)
    return -(-tenths * unit // 10)


def what_would_do(order: Sequence[Leg], blocked: Sequence[Leg], ground: Ground) -> Ask | None:
    """The least room that was found to be enough; None if none on one node was."""
    mean = mean_node(ground.cluster.nodes)
    asks, best = _least(Scene(ground, order, blocked), mean), None
    for node in list(dict.fromkeys(ask.node for ask in asks))[:NODES_MAX]:
        more, wanted = Load(), asks
        for _ in range(TIMES_MAX):
            here = next((ask for ask in wanted if ask.node == node), None)
            if here is None:
                break
            more = more + here.more
            if best is not None and Ask(node, more).size(mean) >= best.size(mean):
                break
            granted = replace(ground, rooms={**ground.rooms, node: ground.rooms[node] + more})
            gone, left = untangle(ground.legs, granted)
            if not left:
                best = Ask(node, more)
                break
            wanted = _least(Scene(granted, gone, left), mean)
    return best


def _least(scene: Scene, mean: Resources) -> list[Ask]:
    """What is missing, the least first."""
    return sorted(set(_asks(scene)), key=lambda ask: (ask.size(mean), ask.node, str(ask.more)))


def no_order(
    intent: str, stuck: Sequence[Stuck], order: Sequence[Leg], blocked: Sequence[Leg], ground: Ground
) -> Refusal:
    """Why moves that are possible one by one are not together, and what would help."""
    short = tuple(_short_at_the_end(ground))
    ring = next(rings(Scene(ground, order, blocked)), None)
    names = ring or tuple(sorted(leg.mover.name for leg in blocked))
    told = ", ".join(names[:NAMES_MAX]) + (f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else "")
    if short or not ring:
        text = f"no order of the moves has room for {told}"
    else:
        text = f"{told} wait for each other's room, and no node has room to put one of them aside"
    ask = what_would_do(order, blocked, ground)
    if ask is not None:
        said = f"with {ask.said(ground.policy)}"
        room = Reason(said, ask.node, (ask.more.limits, ask.more.measured))
        return Refusal(intent, tuple(stuck), (Reason(text),), said, room)
    return Refusal(intent, tuple(stuck), (Reason(f"{text}; more room on one node alone was not found to do"), *short))


def unsent(leg: Leg, gone: Sequence[Leg], rooms: Mapping[str, Load]) -> str:
    """What a move lacks where it starts, even when all that can leave before it has left, in words; empty if nothing.

    `gone` are the moves that can be made, `rooms` what nodes have before any.
    """
    free_bytes = rooms[leg.source].measured.memory_bytes
    free_bytes += sum(other.mover.container.anon_bytes for other in gone if other.source == leg.source)
    if leg.out_bytes <= free_bytes:
        return ""
    what = "for its images" if leg.way == "images" else "to send it from"
    return f"free memory on {leg.source} {format_bytes(leg.out_bytes - free_bytes)} short {what}"


def _short_at_the_end(ground: Ground) -> Iterator[Reason]:
    """Nodes that have no room for all that is to come, even when all that leaves has left."""
    for node in sorted({leg.target for leg in ground.legs}):
        lacking = missing(at_the_end(ground.legs, node), ground.rooms[node], True)
        if lacking is not None:
            said = Ask(node, lacking).said(ground.policy)
            yield Reason(f"all that is to come needs {said}, even when all that leaves has left", node)


def _asks(scene: Scene) -> Iterator[Ask]:
    """What is missing now for each step that somebody could take."""
    for leg in scene.left.values():
        leaving = missing(leg.transit(leg.source), scene.free[leg.source], False)
        if leaving is not None:
            yield Ask(leg.source, leaving)
            continue
        coming = stay_of(leg.mover.container) + leg.transit(leg.target)
        steps = [leg.target, *(stop.there.target for stop in scene.ground.stops(leg) if not scene.meets(stop))]
        for node in steps:
            lacking = missing(coming, scene.free[node], True)
            if lacking is not None:
                yield Ask(node, lacking)


def missing(wanted: Load, room: Load, arrives: bool) -> Load | None:
    """By how much something is too large; None if it is not. What leaves asks for memory alone."""
    limits, measured = _over(wanted.limits, room.limits), _over(wanted.measured, room.measured)
    if not arrives:
        limits, measured = Resources(), Resources(memory_bytes=measured.memory_bytes)
    return Load(limits, measured) if (limits, measured) != (Resources(), Resources()) else None


def _over(wanted: Resources, room: Resources) -> Resources:
    return Resources(
        max(0, wanted.cpu_milli - room.cpu_milli),
        max(0, wanted.memory_bytes - room.memory_bytes),
        max(0, wanted.disk_bytes - room.disk_bytes),
    )
