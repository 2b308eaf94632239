"""The passes over a container's files as they are expected, from what of them it writes, and how fast.

Theory. The first pass sends all there is. Each later one looks at the whole of every file that has changed since the
one before began, on both sides, and sends what is new in it: so it takes `changing / LOOK + new / NEW`, where new is
what was written in the pass before, never more than there is. What the pass in the pause looks at is the same, and also
what is mapped shared and writable, whatever its times say, and all is synced to the disk. Passes end when that last one
is predicted under what is wanted, or at their limit (as in protocol/passes.py, which decides by what passes show while
they run): a large file that is always written costs as long as it takes to be looked at, however many passes went
before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migrator.model.modes import READY_S, ROUNDS_REST_S
from migrator.model.units import format_seconds

if TYPE_CHECKING:
    from migrator.model.facts import ContainerFacts

# Of files that have changed: how fast both ends compare them, and how fast they find and send what is new in them.
LOOK_BYTES_PER_S: Final = 180_000_000
NEW_BYTES_PER_S: Final = 60_000_000
# In the pause the target has what did not change in them on its disk, too, before anything runs there.
SYNC_BYTES_PER_S: Final = 450_000_000
# Files in memory (tmpfs): CRIU packs them by tar and gzip, in the pause, and unpacks them there (docs/decisions/0045).
TMPFS_BYTES_PER_S: Final = 35_000_000
TMPFS_AT_LEAST, TMPFS_AT_MOST = 0.3, 1.3
# A pass that has nothing to do. In the pause it is a part of what does not grow with bytes.
PASS_S: Final = 0.3
# As much as this is looked at in no time, and no more is said of it.
LITTLE_BYTES: Final = 4_000_000
PASSES_MAX: Final = 3  # while it runs, and more where a pause is asked for and each makes the last one shorter
SHRINKS: Final = 0.9
# Of a container of which nobody has looked how fast it writes: this share a second of what has changed in ten.
WRITTEN_SHARE_PER_S: Final = 0.05
WRITTEN_BYTES_PER_S_MAX: Final = 20_000_000
# What is told is the middle: rsync finds what is new the slower the more of it there is, and machines and disks are
# busy (docs/decisions/0028).
AT_LEAST, AT_MOST = 0.5, 3.0


@dataclass(frozen=True, slots=True)
class ExpectedPasses:
    """What is sent and looked at before the pause takes `ahead_s` beside the first pass, and `last_s` in the pause.

    `again_bytes` are sent in all passes but the first. `why_not` says why the last one is longer than was wanted; empty
    where it is not. `look_s` of the last one is for comparing, and needed though nothing be new. `sure` is whether its
    files were seen to be written just now.
    """

    count: int = 1
    sure: bool = False
    again_bytes: int = 0
    ahead_s: float = 0.0
    last_s: float = 0.0
    look_s: float = 0.0
    why_not: str = ""

    @property
    def last_s_range(self) -> tuple[float, float]:
        """How long the last one takes at least and at most. What is not seen to be written may never be again."""
        return self.look_s * AT_LEAST if self.sure else 0.0, self.last_s * AT_MOST


NONE = ExpectedPasses()


def tmpfs_s(container: ContainerFacts) -> float:
    """What the files in a container's memory add to a pause in which it is dumped, in seconds."""
    packed_bytes = container.tmpfs_bytes
    return round(packed_bytes / TMPFS_BYTES_PER_S, 3) if packed_bytes > LITTLE_BYTES else 0.0


def passes_of(
    container: ContainerFacts,
    rate_bytes_per_s: float,
    wanted_s: float = ROUNDS_REST_S,
    more_max: int = PASSES_MAX,
) -> ExpectedPasses:
    """The passes over a container's files, sent no faster than this. `wanted_s` is how long the last one may take; as
    long as passes shrink it there are up to `more_max`.
    """
    changing, mapped = container.changing_bytes, container.mapped_bytes
    if changing + mapped <= LITTLE_BYTES:
        return NONE
    written = container.files_written_bytes_per_s
    if written is None:
        written = round(min(changing * WRITTEN_SHARE_PER_S, WRITTEN_BYTES_PER_S_MAX))
    new_rate = min(rate_bytes_per_s, NEW_BYTES_PER_S)
    grows = container.files_growing_bytes_per_s
    first_s = took_s = container.files_bytes / rate_bytes_per_s
    count, again_bytes, ahead_s, before_s = 1, 0.0, 0.0, math.inf
    while True:
        changing = container.changing_bytes + round(grows * (first_s + ahead_s))
        left_bytes = min(written * (took_s + READY_S), changing)
        look_s = (changing + mapped) / LOOK_BYTES_PER_S
        last_s = look_s + left_bytes / new_rate + (changing - left_bytes) / SYNC_BYTES_PER_S
        shrinks = count < more_max and last_s <= SHRINKS * before_s
        enough = last_s <= wanted_s or changing <= LITTLE_BYTES
        if count > 1 and (enough or (count >= PASSES_MAX and not shrinks)):
            break
        before_s = last_s
        new_bytes = min(written * took_s, changing)
        took_s = PASS_S + changing / LOOK_BYTES_PER_S + new_bytes / new_rate
        count, again_bytes, ahead_s = count + 1, again_bytes + new_bytes, ahead_s + took_s
    why_not = ""
    if last_s > wanted_s:
        why_not = f"{format_seconds(last_s)} of it for files that it writes or maps, {format_seconds(wanted_s)} wanted"
    sure = bool(container.files_written_bytes_per_s)
    return ExpectedPasses(count, sure, round(again_bytes + left_bytes), ahead_s, last_s, look_s, why_not)
