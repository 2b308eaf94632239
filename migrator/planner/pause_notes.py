"""Pauses that other moves on their links make longer than the limit, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.model.plan import PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import counted, format_seconds

ROUNDING_S = 0.0025


NAMED_MAX = 8


def pause_notes(moves: Sequence[PlannedMove], policy: PlanPolicy) -> Iterator[str]:
    """Notes on the pauses of a plan. With its links to itself every move keeps the limit, or is refused."""
    writing = sorted((move.estimate.files_pause_s, move.name) for move in moves if move.estimate.files_pause_s)[::-1]
    if writing:
        longest_s, names = writing[0][0], [name for _, name in writing]
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        yield (
            f"pauses: {len(writing)} of {counted(len(moves), 'move')} predicted to pause for up to "
            f"{format_seconds(longest_s)} longer, for large files that were being written, or lay in memory (tmpfs), "
            "when this was planned: "
            f"{', '.join(names[:NAMED_MAX])}{more}"
        )
    lasts_s = [move.pause.end_s - move.pause.start_s for move in moves if move.pause is not None]
    over_s = [seconds for seconds in lasts_s if seconds > policy.blackout_s_max + ROUNDING_S]
    if over_s:
        longest_s = max(over_s)
        less = ", or leave out --overlapping-pauses" if policy.overlapping_pauses else ""
        yield (
            f"pauses: {len(over_s)} of {counted(len(moves), 'move')} predicted to pause for up to "
            f"{format_seconds(longest_s)} beside others on their links, over the limit of "
            f"{format_seconds(policy.blackout_s_max)}, at which a container goes back; "
            f"allow it with --max-blackout {-(-longest_s // 1):.0f}{less}"
        )
