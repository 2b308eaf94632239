"""When passes over the files have brought enough: how much of the pause the last one will take.

Theory. As with rounds of memory (precopy.py), what is written while a pass runs is left to the next. Of a container
that writes evenly, a pass finds what was written since the one before began, and the one in the pause what is written
from the last one's begin to the freeze. So each takes as long as the time in which its files were written lets it,
whatever it spends that with: bytes, comparing large files that have changed a little, or looking at many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migrator.model.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: the size of the files that it brought up to date, when it began by one clock, and what it took."""

    files_bytes: int
    began_s: float
    took_s: float


def left_s(passes: Sequence[Pass], ready_s: float) -> float | None:
    """How long the pass in the pause is predicted to take; None after one pass, which tells nothing of what is written.

    `ready_s` is what passes between the end of these passes and the freeze.
    """
    if len(passes) < 2:
        return None
    before, last = passes[-2:]
    return last.took_s * (last.took_s + ready_s) / max(last.began_s - before.began_s, 0.001)


def are_enough(passes: Sequence[Pass], ready_s: float, wanted_s: float, bytes_max: int) -> bool:
    """Whether little enough is left for the pause: it is predicted under `wanted_s`, or the last pass found almost
    nothing to do.
    """
    left = left_s(passes, ready_s)
    return passes[-1].files_bytes <= bytes_max or (left is not None and left <= wanted_s)


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
