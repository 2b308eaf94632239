"""How fast the machinery is between two nodes: the constants and rates that estimates are made of.

There is one set for each way that memory goes (memory_way.py). The defaults are medians measured between two lab nodes
on two cores (docs/benchmarks.md says how); what was learnt from ended migrations takes their place, pair by pair
(journal/learnt.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Way = Literal["stream", "images"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one direction between two nodes, and of one way.

    `pause_s` is the part of a pause, and `setup_s` the part of a move outside its pause, that does not grow with bytes;
    the other figures are bytes a second of memory sent, of files, and, where memory goes by images, of images written
    and read. Streamed memory is neither: both are 0. `runs` is how many migrations it rests on; 0 are the defaults.
    """

    way: Way
    pause_s: float
    setup_s: float
    send_bytes_per_s: int
    files_bytes_per_s: int
    dump_bytes_per_s: int = 0
    restore_bytes_per_s: int = 0
    runs: int = 0

    def at_most(self, bytes_per_s: int | None) -> Rates:
        """The same where a move sends no more than that."""
        if bytes_per_s is None:
            return self
        sends, files = min(self.send_bytes_per_s, bytes_per_s), min(self.files_bytes_per_s, bytes_per_s)
        return replace(self, send_bytes_per_s=sends, files_bytes_per_s=files)

    def images_s(self, memory_bytes: int) -> tuple[float, float]:
        """Seconds of a pause in which images are written, and in which they are read: nothing is sent then."""
        written, read = self.dump_bytes_per_s, self.restore_bytes_per_s
        return memory_bytes / written if written else 0.0, memory_bytes / read if read else 0.0


DEFAULT_RATES: Mapping[Way, Rates] = {
    "stream": Rates("stream", 0.5, 1.5, 900_000_000, 150_000_000),
    "images": Rates("images", 0.45, 1.5, 500_000_000, 150_000_000, 1_200_000_000, 1_200_000_000),
}
SEND_BYTES_PER_S = max(rates.send_bytes_per_s for rates in DEFAULT_RATES.values())

Learnt = Mapping[str, Mapping[str, Rates]]  # by source, then by target
