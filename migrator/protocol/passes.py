"""When passes over the files have brought enough: how much of the pause the last one will take.

Theory. As with rounds of memory (precopy.py), what is written while a pass runs is left to the next. Of a container
that writes evenly, a pass finds what was written since the one before began, and the one in the pause what is written
from the last one's begin to the freeze. So what a pass spends with what is new follows the time in which it was
written. What it spends with the rest of a file that has changed does not: a large one that is always written is looked
at whole by every pass, however little is new in it. How a pass's time is parted between both is taken from the bytes of
each, as in model/file_passes.py, by which the same is predicted before anything is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migrator.model.file_passes import LOOK_BYTES_PER_S, NEW_BYTES_PER_S, SHRINKS, SYNC_BYTES_PER_S
from migrator.model.units import format_bytes, format_seconds

# Beyond the usual number none is begun after this: what a key and a lease are held for is bounded.
MORE_S = 600.0


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: the size of the files that it brought up to date, what of that it sent, when it began by one clock, and
    what it took.
    """

    files_bytes: int
    sent_bytes: int
    began_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of the passes: that what is left is predicted under `left_s`, or that one finds no more than
    `bytes_max`. They are `passes_max`, and `more_max` as long as they shrink what is left. `ready_s` is what passes
    between their end and the freeze.
    """

    left_s: float
    bytes_max: int
    passes_max: int
    more_max: int
    ready_s: float


def left_s(passes: Sequence[Pass], ready_s: float) -> float | None:
    """How long the pass in the pause is predicted to take; None after one pass, which tells nothing of what is written.

    `ready_s` is what passes between the end of these passes and the freeze.
    """
    if len(passes) < 2:
        return None
    before, last = passes[-2:]
    new = last.sent_bytes / NEW_BYTES_PER_S
    same_bytes = max(last.files_bytes - last.sent_bytes, 0)
    looked = same_bytes / LOOK_BYTES_PER_S
    new_s = last.took_s * (new / (new + looked) if new + looked > 0 else 1.0)
    grows = (last.took_s + ready_s) / max(last.began_s - before.began_s, 0.001)
    if looked > 0:  # no more is new in files than they hold
        grows = min(grows, last.files_bytes / max(last.sent_bytes, 1))
    return last.took_s - new_s + new_s * grows + same_bytes / SYNC_BYTES_PER_S


def are_enough(passes: Sequence[Pass], wanted: Wanted) -> bool:
    """Whether little enough is left for the pause: it is predicted under what is wanted, or the last pass found almost
    nothing to do.
    """
    left = left_s(passes, wanted.ready_s)
    return passes[-1].files_bytes <= wanted.bytes_max or (left is not None and left <= wanted.left_s)


def go_on(passes: Sequence[Pass], wanted: Wanted) -> bool:
    """Whether one more pass is worth it."""
    if are_enough(passes, wanted):
        return False
    if len(passes) < wanted.passes_max:
        return True
    left, before = left_s(passes, wanted.ready_s), left_s(passes[:-1], wanted.ready_s)
    shrinks = left is not None and before is not None and left <= SHRINKS * before
    return shrinks and len(passes) < wanted.more_max and sum(each.took_s for each in passes) < MORE_S


def too_long(passes: Sequence[Pass], ready_s: float, others_s: float, longest_s: float) -> str:
    """Why the pause would be longer than is allowed, with the numbers; empty where it would not. `others_s` is what the
    rest of the pause is predicted to take.
    """
    left = left_s(passes, ready_s)
    if left is None or others_s + left <= longest_s:
        return ""
    found = ", ".join(f"{format_bytes(each.files_bytes)} in {format_seconds(each.took_s)}" for each in passes)
    return (
        f"passes over them of {found}; the last one, in the pause, is predicted to take {format_seconds(left)} beside "
        f"{format_seconds(others_s)}, and {format_seconds(longest_s)} are allowed"
    )
