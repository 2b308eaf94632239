"""Time windows: does each move that has one start, and by its pause end, inside it, if the plan starts as told?

By its own reading of the windows: every minute of a move's time is looked up in the hours of its day. What the plan
itself tells is one thing; when a pause ends by its turn on the links and the facts is another, and drifts with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from migrator.checker.findings import Code, Finding
from migrator.checker.pauses import replayed_ends_s
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Window, selects

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_MAX = 8 * 24 * 60  # what is open for so long is open always
YEARS = (1970, 9000)  # a start outside of these leaves no room for weeks of moves


def window_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Moves that are predicted outside of their windows, or before those that they wait for have ended."""
    windows = [rule for rule in policy.rules if isinstance(rule, Window)]
    labels = {c.name: c.descriptor.labels for node in cluster.nodes for c in node.containers if c.descriptor}
    for move in plan.moves:
        meant = any(selects(rule.containers, move.container, labels.get(move.container, {})) for rule in windows)
        if move.start_s is not None and not meant:
            text = f"container {move.container}: the plan tells when it starts, and no time window asks for that"
            yield Finding(Code.WINDOW, text, move.container, move.source)
    if not windows:
        return
    starts = {move.name: move for move in plan.moves if move.start_s is not None}
    begin, ends_s = _begin(policy.start), replayed_ends_s(cluster, plan, policy)
    for move in plan.moves:
        for rule in windows:
            if not selects(rule.containers, move.container, labels.get(move.container, {})):
                continue
            code, why = _judged(rule, move, begin, ends_s[move.name])
            if why:
                text = f"container {move.container} may be moved within {', '.join(rule.open)} {rule.zone}: {why}"
                yield Finding(code, text, move.container, move.source)
        for other in move.waits_for:
            if other in starts and move.start_s is not None and move.start_s < (starts[other].start_s or 0.0):
                text = f"container {move.container} is predicted to start before {other}, which it waits for"
                yield Finding(Code.WINDOW, text, move.container, move.source)


def _begin(start: str) -> datetime | None:
    """When the plan is to start; None if that is not told, or at no time that can be counted from."""
    try:
        begin = datetime.fromisoformat(start)
    except ValueError:
        return None
    return begin if begin.tzinfo and YEARS[0] <= begin.year <= YEARS[1] else None


def _judged(rule: Window, move: PlannedMove, begin: datetime | None, ends_s: float) -> tuple[Code, str]:
    """What of the move's time is outside; empty if none is. `ends_s` is its end by the replay."""
    if begin is None:
        return Code.WINDOW, "the plan does not tell a start from which its time can be counted"
    if move.start_s is None:
        return Code.WINDOW, "its start is not told"
    told_s = move.start_s + move.estimate.duration_s
    if move.pause is not None:
        told_s = max(told_s, move.pause.end_s + move.follows_s)
    try:
        if not _within(rule, begin, move.start_s, told_s):
            zone = ZoneInfo(rule.zone)
            local, last = ((begin + timedelta(seconds=s)).astimezone(zone) for s in (move.start_s, told_s))
            when = f"{WEEK[local.weekday()]} {local:%H:%M}, and to end {WEEK[last.weekday()]} {last:%H:%M:%S}"
            return Code.WINDOW, f"it is predicted to start {when}"
        if ends_s > told_s and not _within(rule, begin, move.start_s, ends_s):
            why = f"by its turn to pause and the facts it ends {ends_s:g} s after the plan's start at the earliest"
            return Code.WINDOW_UNLIKELY, why
    except OverflowError:
        return Code.WINDOW, "it is predicted at a time that no calendar has"
    return Code.WINDOW, ""


def _within(rule: Window, begin: datetime, start_s: float, end_s: float) -> bool:
    """Whether a window is open from one second of the plan to another: at both, and in the middle of every minute."""
    zone = ZoneInfo(rule.zone)
    first, last = (begin.astimezone(UTC) + timedelta(seconds=at_s) for at_s in (start_s, end_s))
    minute = first.replace(second=0, microsecond=0)
    moments = [first, last]
    for _ in range(MINUTES_MAX):
        if minute >= last:
            break
        from_, to = max(minute, first), min(minute + timedelta(minutes=1), last)
        moments.append(from_ + (to - from_) / 2)
        minute += timedelta(minutes=1)
    return all(any(_open(opening, moment.astimezone(zone)) for opening in rule.open) for moment in moments)


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
