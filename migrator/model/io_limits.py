"""How much a container may read from and write to the disk that its files are on."""

from __future__ import annotations

from dataclasses import asdict, dataclass

IO_FEATURE = "io.max"  # by this name a node tells that it can limit it
NO_IO = "cannot limit it: its kernel has no controller for it, or its containers are on no block device"
RATE_MAX = 2**50  # bytes a second: no disk reads as much
IOPS_MAX = 2**31 - 1
BYTES_MIN = 4096  # a page a second: with less nothing begins at all


@dataclass(frozen=True, slots=True)
class IoLimits:
    """At the block device under the container's own files, whichever that is on its node; 0 is without a limit."""

    read_bytes_per_s: int = 0
    write_bytes_per_s: int = 0
    read_iops: int = 0
    write_iops: int = 0

    def __bool__(self) -> bool:
        return self != IoLimits()

    @property
    def word(self) -> str:
        """What the kit is told: the four numbers with commas between them."""
        return ",".join(str(number) for number in asdict(self).values())


def io_fault(limits: IoLimits) -> bool:
    """Whether no container of ours has such limits."""
    rates = (limits.read_bytes_per_s, limits.write_bytes_per_s)
    counts = (limits.read_iops, limits.write_iops)
    return not (
        all(rate == 0 or BYTES_MIN <= rate <= RATE_MAX for rate in rates)
        and all(count == 0 or 1 <= count <= IOPS_MAX for count in counts)
    )
