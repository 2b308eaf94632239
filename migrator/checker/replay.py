"""The replay: what is on each node at every move, at the worst moment that the plan allows.

Theory. A plan does not say when a move starts, only what it waits for; so one order of events proves little. For
each move the replay looks at the moment, among all that the waits allow, that is worst for its two nodes: every
container that may have come is there, only those are gone whose moves are waited for, and beside it other moves
are under way, as many as may touch a node at one time, those that take the most meanwhile. Both sides count: where
memory goes by images these lie on both, where it is streamed what comes early lies on the target.

A container that moves several times is at first where the facts have it; after each move it is on that one's target
until the next has surely ended, and on one node it counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrator.checker.findings import Code, Finding
from migrator.checker.ways import lying_at_source_bytes, lying_at_target_bytes, streams
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import IMAGE_MARGIN_BYTES, PlanPolicy
from migrator.model.units import format_bytes


@dataclass(frozen=True, slots=True)
class _Event:
    """One move with its container's facts, and the names of the moves that have surely ended when it starts.

    `on` is the name of the move by which its container goes on from the target; empty where it stays. `lying` is the
    memory that the move takes meanwhile, on its source and on its target.
    """

    move: PlannedMove
    container: ContainerFacts
    ended: frozenset[str]
    on: str
    lying: tuple[int, int]

    def lying_bytes(self, node: NodeFacts) -> int:
        """What the move takes of one of its two nodes' memory meanwhile."""
        return self.lying[node.name == self.move.target]


def replay_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """What does not fit or must not be together at some moment, and what is left at the end."""
    nodes = {node.name: node for node in cluster.nodes}
    events = _events(nodes, plan, policy)
    touching: dict[str, list[_Event]] = {node: [] for node in nodes}
    for event in events:
        touching[event.move.source].append(event)
        touching[event.move.target].append(event)
    for event in events:
        source, target = nodes[event.move.source], nodes[event.move.target]
        if not target.error:
            yield from _arrival(event, target, touching[target.name], policy)
            yield from _company(event, target, touching[target.name], policy)
        yield from _departure(event, source, touching[source.name], policy)
    yield from _end(nodes, plan)


def _events(nodes: dict[str, NodeFacts], plan: Plan, policy: PlanPolicy) -> list[_Event]:
    """The moves, each after all it waits for."""
    facts = {(node.name, c.name): c for node in nodes.values() for c in node.containers}
    homes = {move.container: move.source for move in plan.moves if move.leg == 1}
    following = {(move.container, move.leg - 1): move.name for move in plan.moves}
    left, ended, events = list(plan.moves), dict[str, frozenset[str]](), []
    while left:
        ready = [move for move in left if all(other in ended for other in move.waits_for)]
        for move in ready:
            ended[move.name] = frozenset(move.waits_for).union(*(ended[other] for other in move.waits_for))
            container = facts.get((homes[move.container], move.container))
            if container is not None:
                on = following.get((move.container, move.leg), "")
                streamed = streams(nodes[move.source], nodes[move.target], policy)
                lying = (
                    lying_at_source_bytes(container, streamed, policy.mode),
                    lying_at_target_bytes(container, streamed, policy.mode),
                )
                events.append(_Event(move, container, ended[move.name], on, lying))
        left = [move for move in left if move.name not in ended]
    return events


def _beside(event: _Event, touching: list[_Event]) -> list[_Event]:
    """The moves on a node that may be under way together with this one."""
    name = event.move.name
    return [
        other
        for other in touching
        if other is not event and name not in other.ended and other.move.name not in event.ended
    ]


def _left(event: _Event, node: NodeFacts, touching: list[_Event]) -> dict[str, ContainerFacts]:
    """The containers that were on the node at first and have surely left it when this move starts."""
    return {
        e.container.name: e.container
        for e in touching
        if e.move.source == node.name and e.move.leg == 1 and e.move.name in event.ended
    }


def _arrived(event: _Event, node: NodeFacts, touching: list[_Event]) -> list[ContainerFacts]:
    """The containers that may have come to the node when this move ends, its own included, and not surely gone on.

    One that was there at first has not come as long as it may not have left.
    """
    name = event.move.name
    come = {
        e.container.name: e.container
        for e in touching
        if e.move.target == node.name and name not in e.ended and e.on not in event.ended
    }
    gone = _left(event, node, touching)
    still = {c.name for c in node.containers} - gone.keys()
    return [container for name, container in come.items() if name not in still]


def _arrival(event: _Event, node: NodeFacts, touching: list[_Event], policy: PlanPolicy) -> Iterator[Finding]:
    """Room on the target for all that has come, and for what moves take meanwhile."""
    name = event.move.container
    arrived = _arrived(event, node, touching)
    gone = _left(event, node, touching)
    held = [c for c in node.containers if c.name not in gone] + arrived
    beside = sorted((e.lying_bytes(node) for e in _beside(event, touching) if e.move.target == node.name), reverse=True)
    lying_bytes = event.lying_bytes(node) + sum(beside[: policy.moves_per_node_max - 1])
    cpu, memory, disk = policy.headrooms
    cpu_milli = _over(sum(c.reserved.cpu_milli for c in held), node.capacity.cpu_milli, cpu)
    memory_bytes = _over(sum(c.reserved.memory_bytes for c in held), node.capacity.memory_bytes, memory)
    disk_bytes = _over(sum(c.reserved.disk_bytes for c in held), node.capacity.disk_bytes, disk)
    if cpu_milli > 0:
        text = f"container {name}: {node.name} is short of {cpu_milli / 1000:g} CPU"
        yield Finding(Code.OVER_LIMITS, text, name, node.name)
    for what, short_bytes in (("memory", memory_bytes), ("disk", disk_bytes)):
        if short_bytes > 0:
            text = f"container {name}: {node.name} is short of {format_bytes(short_bytes)} of {what}"
            yield Finding(Code.OVER_LIMITS, text, name, node.name)
    if memory_bytes <= 0 < memory_bytes + lying_bytes:
        short = format_bytes(memory_bytes + lying_bytes)
        text = f"container {name}: {node.name} is short of {short} of memory for what moves beside its containers"
        yield Finding(Code.IMAGES_DO_NOT_FIT, text, name, node.name)
    yield from _really_free(event, node, touching, policy, arrived)


def _departure(event: _Event, node: NodeFacts, touching: list[_Event], policy: PlanPolicy) -> Iterator[Finding]:
    """Memory on the source for what its moves take meanwhile."""
    yield from _really_free(event, node, touching, policy, _arrived(event, node, touching))


def _really_free(
    event: _Event, node: NodeFacts, touching: list[_Event], policy: PlanPolicy, arrived: list[ContainerFacts]
) -> Iterator[Finding]:
    """Measured room: what is free now, and by what has surely left, for all that may come."""
    name = event.move.container
    beside = sorted((e.lying_bytes(node) for e in _beside(event, touching)), reverse=True)
    memory_bytes = event.lying_bytes(node) + sum(beside[: policy.moves_per_node_max - 1])
    left = _left(event, node, touching).values()
    memory_bytes += sum(c.anon_bytes for c in arrived) - sum(c.anon_bytes for c in left)
    if memory_bytes > node.memory_available_bytes:
        short = format_bytes(memory_bytes - node.memory_available_bytes)
        text = f"container {name}: {node.name} is short of {short} of free memory while it moves"
        yield Finding(Code.MEMORY_NOT_FREE, text, name, node.name)
    disk_bytes = sum(c.files_bytes for c in arrived) - sum(c.files_bytes for c in left) + IMAGE_MARGIN_BYTES
    if arrived and disk_bytes > node.disk_available_bytes:
        short = format_bytes(disk_bytes - node.disk_available_bytes)
        text = f"container {name}: {node.name} is short of {short} of free disk"
        yield Finding(Code.DISK_NOT_FREE, text, name, node.name)


def _company(event: _Event, node: NodeFacts, touching: list[_Event], policy: PlanPolicy) -> Iterator[Finding]:
    """Who may be on the target together with this container and must not."""
    name, mine = event.move.container, event.container.descriptor
    if mine is None:
        return
    gone = _left(event, node, touching)
    there = [c for c in node.containers if c.name not in gone]
    for other in there + _arrived(event, node, touching):
        if other.name == name:
            continue
        theirs = other.descriptor
        if theirs is None:
            continue
        for key in policy.anti_affinity:
            if key in mine.labels and mine.labels[key] == theirs.labels.get(key):
                text = f"container {name}: {other.name} of the same group {key}={mine.labels[key]} is on {node.name}"
                yield Finding(Code.ANTI_AFFINITY, text, name, node.name)
        yield from _ports_of_two(event.container, other, node)
        if theirs.id_index == mine.id_index and mine.volumes:  # else it gets another range as it comes
            text = (
                f"container {name}: {other.name}, with the same range of user ids, may be on {node.name}, and files on "
                "shared volumes keep theirs"
            )
            yield Finding(Code.INCOMPATIBLE, text, name, node.name)


def _ports_of_two(mine: ContainerFacts, other: ContainerFacts, node: NodeFacts) -> Iterator[Finding]:
    """Ports that both publish at one address; one at all addresses, or at all of a family, is at each."""
    ours, theirs = (c.descriptor.published if c.descriptor else () for c in (mine, other))
    for a in ours:
        for b in theirs:
            if (a.port, a.protocol) == (b.port, b.protocol) and any(
                _stands_for(one, two) for one, two in ((a.host_ip, b.host_ip), (b.host_ip, a.host_ip))
            ):
                text = (
                    f"container {mine.name}: {other.name}, with the same published port {a.port}, may be on {node.name}"
                )
                yield Finding(Code.INCOMPATIBLE, text, mine.name, node.name)


def _stands_for(one: str, two: str) -> bool:
    return one in ("", two) or (one == "0.0.0.0" and "." in two) or (one == "::" and ":" in two)  # noqa: S104


def _end(nodes: dict[str, NodeFacts], plan: Plan) -> Iterator[Finding]:
    """Nodes that are to be empty at the end and are not. What comes to them is a finding of its own."""
    leaving = {(move.source, move.container) for move in plan.moves}
    for name in plan.empties:
        for container in nodes[name].containers:
            stays = container.name in plan.stays and container.state == "stopped" and container.run == "-"
            if (name, container.name) not in leaving and not stays:
                text = f"container {container.name} ({container.state}) is on {name}, and the plan does not move it"
                yield Finding(Code.NOT_EMPTY, text, container.name, name)


def _over(held: int, capacity: int, headroom_percent: int) -> int:
    """By how much it is over what may be used of a capacity; negative for what is free."""
    return held - capacity * (100 - headroom_percent) // 100
