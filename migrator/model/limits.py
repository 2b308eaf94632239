"""What a container may use, as one value that can be changed while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from migrator.model.around import Around
from migrator.model.container import Descriptor
from migrator.model.io_limits import IO_FEATURE, IoLimits

# What has to be there for each to be enforced, by the names that a node's probe tells.
CONTROLLERS = {
    **{"memory": "memory", "swap": "memory.swap", "cpu": "cpu", "pids": "pids"},
    **{"io_weight": "io.weight", "io": IO_FEATURE},
}


@dataclass(frozen=True, slots=True)
class Limits:
    """`swap_bytes` is beside the memory, `None` as much as there is; `pids` counts threads too, 0 is without a limit;
    `io_weight` is a share of the disks beside others' (100 is everybody's), 0 the kernel's own; `io` is what it may
    read and write at most.
    """

    memory_bytes: int
    cpu_milli: int
    swap_bytes: int | None = None
    pids: int = 0
    io_weight: int = 0
    io: IoLimits = field(default_factory=IoLimits)


@dataclass(frozen=True, slots=True)
class Change:
    """New limits, each `None` where it stays. `swap_bytes` under 0, and 0 of the others, take the limit away.

    `io` holds those fields of IoLimits that change, `around` what changes beside limits.
    """

    memory_bytes: int | None = None
    cpu_milli: int | None = None
    swap_bytes: int | None = None
    pids: int | None = None
    io_weight: int | None = None
    io: Mapping[str, int] = field(default_factory=dict)
    around: Around = field(default_factory=Around)

    @property
    def empty(self) -> bool:
        return self == Change()

    def of(self, ct: Descriptor) -> Descriptor:
        """The container with these limits and surroundings."""
        swap = ct.swap_bytes
        if self.swap_bytes is not None:
            swap = self.swap_bytes if self.swap_bytes >= 0 else None
        return replace(
            self.around.of(ct),
            memory_bytes=ct.memory_bytes if self.memory_bytes is None else self.memory_bytes,
            cpu_milli=ct.cpu_milli if self.cpu_milli is None else self.cpu_milli,
            swap_bytes=swap,
            pids=ct.pids if self.pids is None else self.pids,
            io_weight=ct.io_weight if self.io_weight is None else self.io_weight,
            io=replace(ct.io, **self.io),
        )


def limits_of(ct: Descriptor) -> Limits:
    return Limits(ct.memory_bytes, ct.cpu_milli, ct.swap_bytes, ct.pids, ct.io_weight, ct.io)


def asked(limits: Limits) -> tuple[str, ...]:
    """The names of the limits that it has: memory and CPU always, and what else was set."""
    more = {"swap": limits.swap_bytes is not None, "pids": limits.pids > 0, "io_weight": limits.io_weight > 0}
    more["io"] = bool(limits.io)
    return ("memory", "cpu", *(name for name, there in more.items() if there))


def not_enforced(limits: Limits, controllers: tuple[str, ...]) -> list[str]:
    """Those that a node with these controllers keeps, and cannot enforce."""
    return sorted(name for name in asked(limits) if CONTROLLERS[name] not in controllers)
