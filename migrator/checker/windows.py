"""Time windows: does each move that has one start, and by its estimate end, inside it, if the plan starts as told?

By its own reading of the windows: every minute of a move's time is looked up in the hours of its day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Window, selects

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def window_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Moves that are predicted outside of their windows, or before those that they wait for have ended."""
    windows = [rule for rule in policy.rules if isinstance(rule, Window)]
    if not windows:
        return
    labels = {c.name: c.descriptor.labels for node in cluster.nodes for c in node.containers if c.descriptor}
    starts = {move.name: move for move in plan.moves if move.start_s is not None}
    begin = datetime.fromisoformat(policy.start)
    for move in plan.moves:
        for rule in windows:
            if not selects(rule.containers, move.container, labels.get(move.container, {})):
                continue
            why = "its start is not told" if move.start_s is None else _outside(rule, move, begin)
            if why:
                text = f"container {move.container} may be moved within {', '.join(rule.open)} {rule.zone}: {why}"
                yield Finding(Code.WINDOW, text, move.container, move.source)
        for other in move.waits_for:
            if other in starts and move.start_s is not None and move.start_s < (starts[other].start_s or 0.0):
                text = f"container {move.container} is predicted to start before {other}, which it waits for"
                yield Finding(Code.WINDOW, text, move.container, move.source)


def _outside(rule: Window, move: PlannedMove, begin: datetime) -> str:
    """What of the move's time is outside; empty if none is."""
    zone = ZoneInfo(rule.zone)
    first = begin + timedelta(seconds=move.start_s or 0.0)
    last = first + timedelta(seconds=move.estimate.duration_s)
    for opening in rule.open:
        moments = [first + timedelta(minutes=number) for number in range(int((last - first).total_seconds()) // 60 + 1)]
        if all(_open(opening, moment.astimezone(zone)) for moment in (*moments, last)):
            return ""
    local = first.astimezone(zone)
    return f"it is predicted to start {WEEK[local.weekday()]} {local:%H:%M}, and takes {move.estimate.duration_s:g} s"


def _open(opening: str, local: datetime) -> bool:
    """Whether a window is open at a moment of its own zone; its last moment counts."""
    days, _, hours = opening.rpartition(" ")
    from_, to = hours.split("-")
    now = f"{local:%H:%M:%S.%f}"
    today, yesterday = (WEEK[(local.weekday() - back) % 7] for back in (0, 1))
    if from_ < to:
        if now == "00:00:00.000000" and to == "24:00":
            return _on(days, yesterday) or (from_ == "00:00" and _on(days, today))
        return _on(days, today) and from_ <= now and (now < to or now == f"{to}:00.000000")
    return (_on(days, today) and from_ <= now) or (_on(days, yesterday) and (now < to or now == f"{to}:00.000000"))


def _on(days: str, day: str) -> bool:
    """Whether a list of days and spans of days has one."""
    place = WEEK.index(day)
    for part in days.split(",") if days else ["mon-sun"]:
        first, _, last = part.partition("-")
        span = (WEEK.index(last or first) - WEEK.index(first)) % 7
        if (place - WEEK.index(first)) % 7 <= span:
            return True
    return False
