"""Which nodes and containers are under pressure: two readings, held against what their node's guard asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.pressure import Resource, Stall
from migrator.model.units import format_bytes

CPU_SHARE_MAX = 0.8  # of a node's CPUs in use: with more, who wants to run waits
MEMORY_SPARE_PERCENT = 5.0  # what is freed beyond what the guard asks for, or the next minute would ask again


@dataclass(frozen=True, slots=True)
class Strain:
    """A node that is short of `resource`: why in `texts`, and `need`, how much of it should leave: bytes of memory,
    thousandths of a CPU, at least 1. Nobody measures how much of a disk is used: there it is 1.
    """

    node: str
    resource: Resource
    texts: tuple[str, ...]
    need: int


@dataclass(frozen=True, slots=True)
class Tight:
    """A container that its own memory limit holds too short, wherever it is; `memory_bytes` would be enough for now."""

    container: str
    node: str
    text: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Outgrown:
    """A container's own volume that holds more than is planned for it."""

    container: str
    node: str
    volume: str
    used_bytes: int
    size_bytes: int


def outgrown(cluster: Cluster) -> tuple[Outgrown, ...]:
    """Every volume over its size, sorted by node and container."""
    return tuple(
        Outgrown(container.name, node.name, disk.name, container.disks_bytes[disk.name], disk.size_bytes)
        for node in cluster.nodes
        for container in node.containers
        for disk in (container.descriptor.disks if container.descriptor else ())
        if container.disks_bytes.get(disk.name, 0) > disk.size_bytes
    )


def strains(before: Cluster, after: Cluster) -> tuple[Strain, ...]:
    """Every node and resource under pressure, sorted by node. A stall counts if both readings have it.

    Nodes that did not answer both times tell nothing; one that was booted between them counts anew from nothing.
    """
    found: list[Strain] = []
    for node in after.nodes:
        earlier = next((n for n in before.nodes if n.name == node.name and n.answered), None)
        if node.answered and earlier is not None:
            found += (s for s in (_memory(earlier, node), _cpu(earlier, node), _io(earlier, node)) if s)
    return tuple(found)


def tight(before: Cluster, after: Cluster) -> tuple[Tight, ...]:
    """Containers whose own limit is what they wait for, or are killed by; none where the node itself is short."""
    short = {strain.node for strain in strains(before, after) if strain.resource == "memory"}
    found = []
    for node in after.nodes:
        for container, earlier in _pairs(before, node):
            kills = counted(earlier.pressure.oom_kills, container.pressure.oom_kills) if earlier else 0
            texts = []
            if node.guard.oom_kills and kills >= node.guard.oom_kills:
                texts.append(f"{kills} OOM kill{'s' if kills > 1 else ''} by its own limit")
            waits = earlier and _both(earlier.pressure.memory, container.pressure.memory, "some")
            if waits and 0 < node.guard.memory_some <= waits and node.name not in short:
                texts.append(f"waits for memory {waits:.0f}% of the time, and its node does not")
            if texts:
                limit = container.reserved.memory_bytes
                wanted = (limit * 5 // 4 + (1 << 20) - 1) >> 20 << 20
                text = f"{' and '.join(texts)} ({format_bytes(limit)})"
                found.append(Tight(container.name, node.name, text, wanted))
    return tuple(found)


def cpu_milli(earlier: NodeFacts | None, node: NodeFacts, container: ContainerFacts) -> int:
    """What it has used of CPUs between two readings, in thousandths; 0 where its node does not tell."""
    old = earlier.container(container.name) if earlier else None
    if earlier is None or old is None:
        return 0
    passed_ms = counted(earlier.pressure.at_ms, node.pressure.at_ms)
    return counted(old.pressure.cpu_us, container.pressure.cpu_us) // passed_ms if passed_ms else 0


def memory_short_bytes(node: NodeFacts) -> int:
    """How much less than the guard asks for is available; below 0 is what there is beyond it."""
    return round(node.memory_bytes * node.guard.memory_free / 100) - node.memory_available_bytes


def counted(before: int | None, after: int | None) -> int:
    """By how much a count has grown; one that is below the other has begun anew."""
    if before is None or after is None:
        return 0
    return after - before if after >= before else after


def _memory(earlier: NodeFacts, node: NodeFacts) -> Strain | None:
    guard, texts = node.guard, []
    for kind, most in (("some", guard.memory_some), ("full", guard.memory_full)):
        stalled = _both(earlier.pressure.memory, node.pressure.memory, kind)
        if 0 < most <= stalled:
            who = "some wait" if kind == "some" else "all wait"
            texts.append(f"{who} for memory {stalled:.0f}% of the time (guard: {most:g}%)")
    passed_ms = counted(earlier.pressure.at_ms, node.pressure.at_ms)
    swapped = counted(earlier.pressure.swapped_in_bytes, node.pressure.swapped_in_bytes)
    rate = swapped * 1000 // passed_ms if passed_ms else 0
    if 0 < guard.swap_in_bytes_per_s <= rate:
        texts.append(f"{format_bytes(rate)}/s come back from swap (guard: {format_bytes(guard.swap_in_bytes_per_s)}/s)")
    kills = counted(earlier.pressure.oom_kills, node.pressure.oom_kills) - _own_kills(earlier, node)
    if 0 < guard.oom_kills <= kills:
        texts.append(f"{kills} OOM kill{'s' if kills > 1 else ''} that no container's own limit made")
    short = memory_short_bytes(node)
    if guard.memory_free and short > 0:
        free = f"{format_bytes(node.memory_available_bytes)} of {format_bytes(node.memory_bytes)}"
        texts.append(f"{free} are available (guard: {guard.memory_free:g}%)")
    spare = round(node.memory_bytes * MEMORY_SPARE_PERCENT / 100)
    return Strain(node.name, "memory", tuple(texts), max(1, short + spare)) if texts else None


def _cpu(earlier: NodeFacts, node: NodeFacts) -> Strain | None:
    stalled = _both(earlier.pressure.cpu, node.pressure.cpu, "some")
    if not 0 < node.guard.cpu_some <= stalled:
        return None
    used = sum(cpu_milli(earlier, node, container) for container in node.containers)
    text = f"some wait for a CPU {stalled:.0f}% of the time (guard: {node.guard.cpu_some:g}%)"
    return Strain(node.name, "cpu", (text,), max(1, used - round(node.cpus * 1000 * CPU_SHARE_MAX)))


def _io(earlier: NodeFacts, node: NodeFacts) -> Strain | None:
    stalled = _both(earlier.pressure.io, node.pressure.io, "full")
    if not 0 < node.guard.io_full <= stalled:
        return None
    return Strain(
        node.name, "io", (f"all wait for disks {stalled:.0f}% of the time (guard: {node.guard.io_full:g}%)",), 1
    )


def _both(earlier: Stall | None, later: Stall | None, kind: str) -> float:
    """The percent that both readings reach: one that was over before the other does not count."""
    return min(getattr(earlier, kind), getattr(later, kind)) if earlier and later else 0.0


def _own_kills(earlier: NodeFacts, node: NodeFacts) -> int:
    """The kernel counts among a node's kills those that a container's own limit made."""
    olds = {container.name: container for container in earlier.containers}
    return sum(
        counted(olds[c.name].pressure.oom_kills, c.pressure.oom_kills) for c in node.containers if c.name in olds
    )


def _pairs(before: Cluster, node: NodeFacts) -> Iterator[tuple[ContainerFacts, ContainerFacts | None]]:
    """The node's containers beside themselves in the earlier reading."""
    earlier = next((n for n in before.nodes if n.name == node.name and n.answered), None)
    for container in node.containers:
        yield container, earlier.container(container.name) if earlier else None
