"""Time windows: hours of the week in which a container may be moved, as people write them: "mon-fri 22:00-04:00"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from migrator.model.rules import Rule, Window, selects

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
STARTS = range(1970, 9000)  # years in which a plan may start: weeks before and centuries after can be counted
AHEAD_DAYS = 8  # what does not open within a week never does
MOMENT = timedelta(milliseconds=1)  # before the clocks change: then they show another time already
ROUNDS_MAX = 100  # of several rules that each put a move off
_OPENING = re.compile(r"(?:([a-z]{3}(?:[-,][a-z]{3})*) )?(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Opening:
    """From one minute of some days to another; one that ends no later than it starts ends on the next day."""

    days: frozenset[int]
    from_min: int
    to_min: int


def parse_opening(text: str) -> Opening:
    """ "mon-fri 22:00-04:00", "sat,sun 00:00-24:00", or without days for every day. Raises ValueError."""
    match = _OPENING.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no window (write mon-fri 22:00-04:00)")
    days, *numbers = match.groups()
    hour, minute, to_hour, to_minute = map(int, numbers)
    from_min, to_min = hour * 60 + minute, to_hour * 60 + to_minute
    if max(minute, to_minute) > 59 or from_min >= 24 * 60 or to_min > 24 * 60 or from_min == to_min:
        raise ValueError(f"{text!r}: the hours of a window go from 00:00 to 24:00, and it is not empty")
    found = frozenset(day for part in (days or "mon-sun").split(",") for day in _days(part, text))
    return Opening(found, from_min, to_min)


def _days(part: str, text: str) -> Iterator[int]:
    names = part.split("-")
    if len(names) > 2 or any(name not in DAYS for name in names):
        raise ValueError(f"{text!r}: the days are {', '.join(DAYS)}")
    first, last = DAYS.index(names[0]), DAYS.index(names[-1])
    yield from ((first + more) % 7 for more in range((last - first) % 7 + 1))


def windows_of(rules: Iterable[Rule], container: str, labels: Mapping[str, str]) -> tuple[Window, ...]:
    """The rules that say when this container may be moved."""
    return tuple(r for r in rules if isinstance(r, Window) and selects(r.containers, container, labels))


def opens_in_s(windows: Iterable[Window], at: datetime, needs_s: float) -> float | None:
    """Seconds until all of these windows let something begin that takes so long; None if none of the next days does.

    `at` knows its zone. A container without a window is open always.
    """
    windows, begin = tuple(windows), at
    if windows and needs_s > AHEAD_DAYS * 86_400:
        return None
    for _ in range(ROUNDS_MAX):
        later = begin
        for window in windows:
            opens = _opens(window, later, needs_s)
            if opens is None:
                return None
            later = opens
        if later == begin:
            return (begin - at).total_seconds()
        begin = later
    return None


def closes_in_s(windows: Iterable[Window], at: datetime) -> float:
    """Seconds until the first of these windows closes; 0 if one is closed. `at` knows its zone."""
    ends = [max((end for begin, end in _openings(w, at) if begin <= at <= end), default=at) for w in windows]
    return (min(ends) - at).total_seconds()


def _opens(window: Window, at: datetime, needs_s: float) -> datetime | None:
    """The first moment from `at` on at which one window has so long left."""
    for begin, end in _openings(window, at):
        first = max(begin, at)
        if first + timedelta(seconds=needs_s) <= end:
            return first
    return None


def _openings(window: Window, at: datetime) -> list[tuple[datetime, datetime]]:
    """From when to when one window is open on the days around `at`, in order; what meets or overlaps is one."""
    zone, found = ZoneInfo(window.zone), list[tuple[datetime, datetime]]()
    today = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    clocks = _clocks(zone, today)
    for opening in map(parse_opening, window.open):
        for ahead in range(-1, AHEAD_DAYS + 1):
            day = today + timedelta(days=ahead)
            if day.weekday() not in opening.days:
                continue
            over = 24 * 60 if opening.to_min <= opening.from_min else 0
            begin, end = (
                (day + timedelta(minutes=minutes)).replace(tzinfo=UTC)
                for minutes in (opening.from_min, opening.to_min + over)
            )
            shown = ((max(begin - c.ahead, c.from_), min(end - c.ahead, c.to)) for c in clocks)
            found += [(first, last) for first, last in shown if first < last]
    joined = list[tuple[datetime, datetime]]()
    for begin, end in sorted(found):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    turns = {clock.to for clock in clocks}
    return [(begin, end - MOMENT if end in turns else end) for begin, end in joined]


@dataclass(frozen=True, slots=True)
class _Clock:
    """From one moment to another the clock of a zone is so far ahead of UTC."""

    from_: datetime
    to: datetime
    ahead: timedelta


def _clocks(zone: ZoneInfo, today: datetime) -> list[_Clock]:
    """How a zone's clock stands on the days around `today`: where it is put on or back, in two parts.

    So an hour that it leaves out is no time, and one that it shows twice is two. Zones change months apart, or weeks.
    """

    def ahead(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta()

    from_, to = (today.replace(tzinfo=UTC) + timedelta(days=days) for days in (-3, AHEAD_DAYS + 4))
    if ahead(from_) == ahead(to):
        return [_Clock(from_, to, ahead(from_))]
    before, after = from_, to
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        before, after = (middle, after) if ahead(middle) == ahead(from_) else (before, middle)
    return [_Clock(from_, after, ahead(from_)), _Clock(after, to, ahead(to))]
