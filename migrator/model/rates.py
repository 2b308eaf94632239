"""How fast the machinery is between two nodes: the constants and rates that estimates are made of.

The defaults are medians measured between two lab nodes on two cores (docs/benchmarks.md says how); what was learnt
from ended migrations takes their place, pair by pair (journal/learnt.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one direction between two nodes. `pause_s` is the part of a pause, and `setup_s` the part of a move outside
    its pause, that does not grow with bytes; the other figures are bytes a second of memory dumped, sent and restored,
    and of files. `runs` is how many migrations it rests on; 0 are the defaults.
    """

    pause_s: float = 0.45
    setup_s: float = 1.5
    dump_bytes_per_s: int = 1_200_000_000
    send_bytes_per_s: int = 500_000_000
    restore_bytes_per_s: int = 1_200_000_000
    files_bytes_per_s: int = 150_000_000
    runs: int = 0


DEFAULT_RATES = Rates()

Learnt = Mapping[str, Mapping[str, Rates]]  # by source, then by target
