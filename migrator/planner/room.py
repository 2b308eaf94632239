"""What a node has room for, and what a container takes there, while it moves and afterwards.

Theory. Room is counted on two ledgers. On the first are limits: capacity less headroom less what the records hold.
On the second is what was measured: the memory and the disk that are really free. A container must fit on both. While
it moves, its restored memory is on the target, and some more lies beside. Of streamed memory that is what comes before
there is a process for it, bounded by the kit, and on the source next to nothing. Memory that goes by images lies on
the target beside what is restored from it, and on the source as it is sent. What rounds of pre-copy bring lies on the
target, where that mode is asked for by name; auto takes it only where twice as much is free. A restart carries none.
What a container frees on its source is free when its move has ended: by then its processes are reaped, its images
unmounted and its files removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.model.facts import ContainerFacts, NodeFacts, Resources
from migrator.model.modes import AUTO, Mode
from migrator.model.plan_policy import IMAGE_MARGIN_BYTES, STREAM_KEPT_BYTES, PlanPolicy
from migrator.model.rates import Way
from migrator.model.rounds import rounds_kept_bytes
from migrator.model.units import format_bytes


@dataclass(frozen=True, slots=True)
class Load:
    """An amount on both ledgers; `measured` has no CPU."""

    limits: Resources = field(default_factory=Resources)
    measured: Resources = field(default_factory=Resources)

    def __add__(self, other: Load) -> Load:
        return Load(self.limits + other.limits, self.measured + other.measured)

    def __sub__(self, other: Load) -> Load:
        return Load(self.limits - other.limits, self.measured - other.measured)

    def over(self, other: Load) -> Load:
        """The larger of both, amount by amount."""
        return Load(_over(self.limits, other.limits), _over(self.measured, other.measured))


def _over(one: Resources, other: Resources) -> Resources:
    return Resources(
        max(one.cpu_milli, other.cpu_milli),
        max(one.memory_bytes, other.memory_bytes),
        max(one.disk_bytes, other.disk_bytes),
    )


def usable(node: NodeFacts, policy: PlanPolicy) -> Resources:
    """The node's capacity without the headroom."""
    cpu, memory, disk = policy.headrooms
    whole = node.capacity
    return Resources(
        whole.cpu_milli * (100 - cpu) // 100,
        whole.memory_bytes * (100 - memory) // 100,
        whole.disk_bytes * (100 - disk) // 100,
    )


def kept(policy: PlanPolicy) -> str:
    """The headroom in words; empty if there is none."""
    cpu, memory, disk = policy.headrooms
    if cpu == memory == disk:
        return f"keeping {cpu} % free" if cpu else ""
    return f"keeping {cpu} % of CPU, {memory} % of memory and {disk} % of disk free"


def room_of(node: NodeFacts, policy: PlanPolicy) -> Load:
    """What a node can take before anything moves; a part of it is negative where the node is over its limits."""
    measured = Resources(0, node.memory_available_bytes, node.disk_available_bytes - IMAGE_MARGIN_BYTES)
    return Load(usable(node, policy) - node.reserved, measured)


def transit_in_bytes(container: ContainerFacts, way: Way, asked: str = AUTO) -> int:
    """Memory that it takes on the target beside what is restored, while it moves by the mode that is `asked` for."""
    if asked == Mode.RESTART:
        return IMAGE_MARGIN_BYTES
    if asked == Mode.PRE_COPY:
        return rounds_kept_bytes(container.anon_bytes) + IMAGE_MARGIN_BYTES
    kept_bytes = container.anon_bytes
    if way == "stream":
        kept_bytes = min(container.paged_bytes, STREAM_KEPT_BYTES) + container.tmpfs_bytes
    return kept_bytes + IMAGE_MARGIN_BYTES


def transit_out_bytes(container: ContainerFacts, way: Way, asked: str = AUTO) -> int:
    """Memory that it takes on the source beside its own, while it moves by the mode that is `asked` for."""
    if asked == Mode.RESTART:
        return IMAGE_MARGIN_BYTES
    return (container.tmpfs_bytes if way == "stream" else container.anon_bytes) + IMAGE_MARGIN_BYTES


def stay_of(container: ContainerFacts) -> Load:
    """What it takes on a node that it has come to."""
    return Load(container.reserved, Resources(0, container.anon_bytes, container.files_bytes))


def transit_in(container: ContainerFacts, way: Way, asked: str = AUTO) -> Load:
    """What its move takes on the target beside what stays there."""
    memory = Resources(memory_bytes=transit_in_bytes(container, way, asked))
    return Load(memory, memory)


def transit_out(container: ContainerFacts, way: Way, asked: str = AUTO) -> Load:
    """What its move takes on the source: really there, but not against any limit of the containers."""
    return Load(measured=Resources(memory_bytes=transit_out_bytes(container, way, asked)))


def shortfall(wanted: Load, room: Load) -> str:
    """What is missing, in words: "memory 312.0 MiB short, CPU 0.5 short"; empty if it fits."""
    limits, measured = wanted.limits - room.limits, wanted.measured - room.measured
    short = []
    if limits.cpu_milli > 0:
        short.append(f"CPU {limits.cpu_milli / 1000:g} short")
    for name, count in (
        ("memory", limits.memory_bytes),
        ("disk", limits.disk_bytes),
        ("free memory", measured.memory_bytes),
        ("free disk", measured.disk_bytes),
    ):
        if count > 0:
            short.append(f"{name} {format_bytes(count)} short")
    return ", ".join(short)
