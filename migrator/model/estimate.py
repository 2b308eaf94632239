"""How long a move takes and how long the pause is, before anything is touched.

Theory. In the pause the pages are sent over the link, and everything else costs a constant. Where memory goes by images
they are also written once by the dump and read again by the restore, and these come one after the other; streamed
memory is in its place when it has been sent. How fast each is between two nodes is in rates.py; no rate is above the
link speed that is declared, a node's own or one that nodes share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from migrator.model.facts import ContainerFacts, Link
from migrator.model.rates import Rates


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


def send_rate_bytes_per_s(source: Link, target: Link, rates: Rates, shared: Iterable[int] = ()) -> int:
    """The slowest of what the machinery reaches, what the two ends of the link declare, and the speeds of the `shared`
    links between them, all in bytes a second.
    """
    declared = [rate for rate in (source.up_bytes_per_s, target.down_bytes_per_s) if rate]
    return min([rates.send_bytes_per_s, *declared, *shared])


def estimate_move(
    container: ContainerFacts, source: Link, target: Link, rates: Rates, shared: Iterable[int] = ()
) -> Estimate:
    """Predicts a stop-and-copy move of a container over links that nothing else uses.

    `shared` are the speeds of the links between the two nodes that they share with others (`Crossings.speeds`).
    """
    rate = send_rate_bytes_per_s(source, target, rates, shared)
    memory = container.anon_bytes
    blackout_s = rates.pause_s + memory / rate + sum(rates.images_s(memory))
    seeding_s = container.files_bytes / min(rate, rates.files_bytes_per_s)
    return Estimate(
        memory_bytes=memory,
        files_bytes=container.files_bytes,
        blackout_s=round(blackout_s, 3),
        duration_s=round(rates.setup_s + seeding_s + blackout_s, 3),
    )
