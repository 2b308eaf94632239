"""How hard a node's containers press on what there is: what its kernel tells of it, and when that is too much.

The kernel's pressure stall information (PSI, Documentation/accounting/psi.rst) is the share of time in which some, or
all, of those who had something to do waited for a resource.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resource = Literal["memory", "cpu", "io"]
RESOURCES: tuple[Resource, ...] = ("memory", "cpu", "io")


@dataclass(frozen=True, slots=True)
class Stall:
    """Percent of the last 10 and 60 seconds in which some, or all, waited for one resource."""

    some_avg10: float = 0.0
    some_avg60: float = 0.0
    full_avg10: float = 0.0
    full_avg60: float = 0.0

    @property
    def some(self) -> float:
        return max(self.some_avg10, self.some_avg60)

    @property
    def full(self) -> float:
        return max(self.full_avg10, self.full_avg60)


@dataclass(frozen=True, slots=True)
class Pressure:
    """One reading, of a node or of a container's group; `None` is what a kernel does not tell.

    `swapped_in_bytes`, `oom_kills` and `cpu_us` (CPU time) count from the boot, or from when the group was made;
    `at_ms` is the node's clock.
    """

    cpu: Stall | None = None
    memory: Stall | None = None
    io: Stall | None = None
    swapped_in_bytes: int | None = None
    oom_kills: int | None = None
    cpu_us: int | None = None
    at_ms: int | None = None

    def of(self, resource: Resource) -> Stall | None:
        stall: Stall | None = getattr(self, resource)
        return stall

    def said(self) -> str:
        """What is not nothing of the last ten seconds, in words: "memory 12%, io 3%"; "-" where PSI is not told."""
        stalls = {name: self.of(name) for name in RESOURCES}
        if not any(stalls.values()):
            return "-"
        found = [f"{name} {stall.some_avg10:.0f}%" for name, stall in stalls.items() if stall and stall.some_avg10 >= 1]
        return ", ".join(found) or "none"


@dataclass(frozen=True, slots=True)
class Guard:
    """From where on a node is under pressure. Stalls are percent of time, `memory_free` is percent of its memory.

    `oom_kills` are those between two readings. 0 asks for nothing of that kind.
    """

    memory_some: float = 10.0
    memory_full: float = 5.0
    cpu_some: float = 60.0
    io_full: float = 40.0
    memory_free: float = 5.0
    swap_in_bytes_per_s: int = 4 << 20
    oom_kills: int = 1
