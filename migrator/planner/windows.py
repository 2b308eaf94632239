"""Time windows in a plan: when each move may start, given when the plan does, and who can never be moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.links import Crossings
from migrator.model.plan import PlannedMove, Reason, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.predict import predict
from migrator.model.rules import Window
from migrator.model.units import counted, format_seconds
from migrator.model.windows import closes_in_s, opens_in_s, windows_of
from migrator.planner.ordering import Leg
from migrator.planner.placement import Mover
from migrator.planner.schedule import When

ROUNDS_PER_MOVE = 20  # never reached but by moves that cannot fit
Edge = tuple[str, str]
Hold = Callable[[PlannedMove, float], float]
Labels = Mapping[str, Mapping[str, str]]
Closing = tuple[Edge, float]  # a link, and a moment at which windows of moves over it close


class Hours:
    """When the moves of a plan may start, by its windows. A move that did not end in time may be put off."""

    def __init__(self, labels: Labels, policy: PlanPolicy) -> None:
        self._policy = policy
        self._labels = labels
        self._start = datetime.fromisoformat(policy.start)
        self._not_before_s: dict[str, float] = {}

    def windows(self, move: PlannedMove) -> tuple[Window, ...]:
        return windows_of(self._policy.rules, move.container, self._labels.get(move.container, {}))

    def hold(self, move: PlannedMove, now_s: float) -> float:
        """How long a move has to wait for its time at so many seconds of the plan."""
        if not (windows := self.windows(move)):
            return 0.0
        at_s = max(round(now_s, 3), self._not_before_s.get(move.name, 0.0))  # as the plan will tell it
        wait_s = opens_in_s(windows, self._at(at_s), move.estimate.duration_s)
        begin_s = math.ceil((at_s + (wait_s or 0.0)) * 1000) / 1000  # what never opens was refused
        return begin_s - now_s if begin_s > round(now_s, 3) else 0.0

    def put_off(
        self, moves: Sequence[PlannedMove], spans: Mapping[str, When], ways: Mapping[Edge, Sequence[Edge]]
    ) -> bool:
        """Has moves wait for the next opening that by a timeline end after their window has closed; whether there were.

        Of those that were in each other's way on a link the first stays: without the others it may be in time.
        """
        late: dict[str, tuple[float, tuple[Closing, ...]]] = {}
        first: dict[Closing, str] = {}
        crowded = set[Closing]()
        for move in sorted(moves, key=lambda move: spans[move.name].start_s):
            closes_s = self._closes_s(move, spans[move.name].start_s)
            if closes_s is not None and spans[move.name].done_s > closes_s:
                closings = tuple((edge, closes_s) for edge in ways[move.source, move.target])
                late[move.name] = closes_s, closings
                for closing in closings:
                    if first.setdefault(closing, move.name) != move.name:
                        crowded.add(closing)
        changed = False
        for move in moves:
            if move.name not in late:
                continue
            closes_s, closings = late[move.name]
            mine = [first[closing] == move.name for closing in closings]
            if all(mine) and not crowded.isdisjoint(closings):
                continue
            wait_s = opens_in_s(self.windows(move), self._at(closes_s), move.estimate.duration_s)
            if wait_s is not None:
                self._not_before_s[move.name] = closes_s + wait_s
                changed = True
        return changed

    def _closes_s(self, move: PlannedMove, start_s: float) -> float | None:
        """The second of the plan at which the opening ends in which a move starts; None if it may move always."""
        windows = self.windows(move)
        return start_s + closes_in_s(windows, self._at(start_s)) if windows else None

    def _at(self, at_s: float) -> datetime:
        return self._start + timedelta(seconds=at_s)


def has_windows(policy: PlanPolicy) -> bool:
    return any(isinstance(rule, Window) for rule in policy.rules)


def placed(
    moves: Sequence[PlannedMove],
    hours: Hours,
    ways: Mapping[Edge, Sequence[Edge]],
    play: Callable[[Hold], dict[str, When]],
) -> dict[str, When]:
    """A timeline in which every move ends, turns to pause counted, before its window closes.

    How long a move takes is known when all are played: others share its links, and it waits for its turn to pause. So
    those that end too late are put off to their next opening, and all is played again. Each time at least one of those
    that are in each other's way is put off, and one that is alone fits: it ends.
    """
    spans = play(hours.hold)
    for _ in range(ROUNDS_PER_MOVE * len(moves)):
        if not hours.put_off(moves, spans, ways):
            break
        spans = play(hours.hold)
    return spans


def window_notes(moves: Sequence[PlannedMove], policy: PlanPolicy) -> Iterator[str]:
    """When the plan is meant to start, and the moves that wait for their time."""
    held = [move for move in moves if move.start_s is not None]
    if held:
        start = datetime.fromisoformat(policy.start)
        last = start + timedelta(seconds=max(move.start_s or 0.0 for move in held))
        yield (
            f"planned for a start at {policy.start}: {len(held)} of {counted(len(moves), 'move')} "
            f"{'has' if len(held) == 1 else 'have'} a time window, "
            f"the last of them starts about {last.isoformat(timespec='minutes')}"
        )


def shut_out(legs: Sequence[Leg], cluster: Cluster, policy: PlanPolicy) -> list[Stuck]:
    """The containers whose windows are never open for as long as their move is estimated to take."""
    nodes, crossings, found = {node.name: node for node in cluster.nodes}, Crossings(cluster.links), []
    for leg in legs:
        why = why_never(leg.mover, nodes[leg.target], policy, crossings)
        if why:
            found.append(Stuck(leg.name, leg.source, (Reason(why),)))
    return sorted(found, key=lambda stuck: stuck.container)


def why_never(mover: Mover, target: NodeFacts, policy: PlanPolicy, crossings: Crossings) -> str:
    """Why a container can be moved to a node at no time; empty if it can."""
    windows = windows_of(policy.rules, mover.name, mover.descriptor.labels)
    if not windows:
        return ""
    shared = crossings.speeds(mover.source.name, target.name)
    needs_s = predict(mover.container, mover.source, target, policy, shared).duration_s
    start = datetime.fromisoformat(policy.start)
    if opens_in_s(windows, start, needs_s) is not None:
        return ""
    shut = [window for window in windows if opens_in_s([window], start, needs_s) is None]
    hours = " and ".join(f"{', '.join(window.open)} {window.zone}" for window in shut or windows)
    is_open = f"{'is' if len(shut) == 1 else 'are'} never open{'' if shut else ' at one time'}"
    return f"rule window: its move takes about {format_seconds(needs_s)}, and {hours} {is_open} for so long"
