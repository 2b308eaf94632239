"""How long a move takes and how long the pause is, before anything is touched.

Theory. In the pause the pages are written once by the dump, read and sent over the link, and read again by the
restore, one after the other; everything else costs a constant. The rates are medians measured between two lab
nodes on two cores (docs/benchmarks.md says how); a declared link speed takes the place of the measured one.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrator.model.facts import ContainerFacts, Link

PAUSE_CONSTANT_S = 0.45
DUMP_BYTES_PER_S = 1_200_000_000
SEND_BYTES_PER_S = 500_000_000
RESTORE_BYTES_PER_S = 1_200_000_000
FILES_BYTES_PER_S = 150_000_000
SETUP_CONSTANT_S = 1.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one move will cost. `blackout_s` is from the freeze to the release on the target."""

    memory_bytes: int
    files_bytes: int
    blackout_s: float
    duration_s: float

    @property
    def bytes(self) -> int:
        return self.memory_bytes + self.files_bytes


def send_rate_bytes_per_s(source: Link, target: Link) -> int:
    """The slower of what the machinery reaches and what the two ends of the link declare."""
    declared = [rate for rate in (source.up_bytes_per_s, target.down_bytes_per_s) if rate]
    return min([SEND_BYTES_PER_S, *declared])


def estimate_move(container: ContainerFacts, source: Link, target: Link) -> Estimate:
    """Predicts a stop-and-copy move of a container over a link that nothing else uses."""
    rate = send_rate_bytes_per_s(source, target)
    memory = container.anon_bytes
    blackout_s = PAUSE_CONSTANT_S + memory / DUMP_BYTES_PER_S + memory / rate + memory / RESTORE_BYTES_PER_S
    seeding_s = container.files_bytes / min(rate, FILES_BYTES_PER_S)
    return Estimate(
        memory_bytes=memory,
        files_bytes=container.files_bytes,
        blackout_s=round(blackout_s, 3),
        duration_s=round(SETUP_CONSTANT_S + seeding_s + blackout_s, 3),
    )


def still_s(estimate: Estimate) -> tuple[float, float]:
    """Seconds of a move in which its links are free: before the files, and around the sending of the pages."""
    memory = estimate.memory_bytes
    return SETUP_CONSTANT_S + PAUSE_CONSTANT_S + memory / DUMP_BYTES_PER_S, memory / RESTORE_BYTES_PER_S
