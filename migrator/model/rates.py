"""How fast the machinery is between two nodes: the constants and rates that estimates are made of.

There is one set for each way that memory goes (memory_way.py). The defaults are medians measured between two lab nodes
on two cores; what was learnt from ended migrations takes their place, pair by pair (journal/learnt.py).

Where the defaults are from. Streamed: pauses of 16 and 256 MiB on an idle machine (`make bench-blackout`, the journal's
blackout: 0.22 and 0.50 s) less their bytes leave 0.2 s, and the difference is 900 MB/s; over 1 Gb/s the same 0.2 s is
left. Post-copy: 0.24 to 0.28 s there, whatever the memory. Restart: 0.35 s beside the stop. The set-up of all but a
restart: 1.3 s, of which a third of a second passes just before the freeze (docs/decisions/0024). By images: measured
before that, and by none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from migrator.model.modes import Mode

Way = Literal["stream", "images"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one direction between two nodes, and of one way.

    `pause_s` is the part of a pause, and `setup_s` the part of a move outside its pause, that does not grow with bytes;
    the other figures are bytes a second of memory sent, of files, and, where memory goes by images, of images written
    and read. Streamed memory is neither: both are 0. `runs` is how many migrations it rests on; 0 are the defaults.
    `follow_pause_s` is that part of post-copy's pauses, `begin_pause_s` that of a restart's once the container has
    ended; 0 is not told, as in older plans.
    """

    way: Way
    pause_s: float
    setup_s: float
    send_bytes_per_s: int
    files_bytes_per_s: int
    dump_bytes_per_s: int = 0
    restore_bytes_per_s: int = 0
    runs: int = 0
    follow_pause_s: float = 0.0
    begin_pause_s: float = 0.0

    def constant_s(self, mode: Mode) -> float:
        """The part of a pause by this mode that does not grow with bytes. Where it is not told it is to the usual one
        as that of stop-and-copy is: a machine that is slow in one is in all.
        """
        usual, told = DEFAULT_RATES[self.way], self.pause_s
        if mode is Mode.POST_COPY:
            return self.follow_pause_s or round(usual.follow_pause_s * told / usual.pause_s, 3)
        if mode is Mode.RESTART:
            return self.begin_pause_s or round(usual.begin_pause_s * told / usual.pause_s, 3)
        return told

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
    "stream": Rates("stream", 0.2, 1.3, 900_000_000, 150_000_000, follow_pause_s=0.26, begin_pause_s=0.35),
    "images": Rates(
        "images",
        0.45,
        1.5,
        500_000_000,
        150_000_000,
        1_200_000_000,
        1_200_000_000,
        follow_pause_s=0.45,  # never taken: post-copy needs a stream
        begin_pause_s=0.35,
    ),
}
SEND_BYTES_PER_S = max(rates.send_bytes_per_s for rates in DEFAULT_RATES.values())

Learnt = Mapping[str, Mapping[str, Rates]]  # by source, then by target
