"""How long a plan takes: its moves played on their links, before anything is touched.

Theory. A move is a row of phases: some take their time (set-up, the constant part of a pause, images written and
read), the others take a link, up from the source and down to the target (files, then pages). None is faster than the
machinery itself, and those under way on a link share it: what one cannot use of an equal share, because the machinery
is slower, goes to the others, which is what TCP comes to. The slower of its two ends sets a move's rate; what it
leaves of the faster one goes to nobody here, so the time is an upper one (max-min sharing would be lower).
A move starts, in the plan's order, when all it waits for has ended and both its nodes have a turn free. Before its
pause it waits until nobody else is paused on any of its links, those first who came first; its files, and the rounds
of pre-copy, have crossed by then, beside the pauses of others. After the pause its memory may still follow (post-copy),
beside theirs again.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from migrator.model.estimate import silent_s
from migrator.model.plan import PlannedMove, Span
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Rates
from migrator.model.rounds import ROUND_S

Edge = tuple[str, str]
Phase = tuple[float, float, float]  # (seconds, 0, 0), or (0, bytes, bytes a second at most)
_PAUSE: Phase = (-1.0, 0, 0)  # from here on it is paused
_RUNS: Phase = (-2.0, 0, 0)  # from here on it runs on its target


@dataclass(slots=True)
class _Flow:
    """One move under way. `phases` are what is left of it; `number` is its place in the plan."""

    number: int
    move: PlannedMove
    way: tuple[Edge, ...]
    phases: list[Phase]
    rest_bytes: float = 0.0
    rate: float = 0.0
    since_s: float = 0.0
    version: int = 0
    held: bool = False  # nothing moves yet: it waits for a time of its own
    paused_s: float = 0.0
    runs_s: float = 0.0


@dataclass(slots=True)
class _Play:
    """Moves under way and the links that they share; `due` holds what ends next, entries of old rates included.

    `shares` is what each link has for one that takes all it can get, in bytes a second. `pausing` are the links of
    moves in their pause, `queues` who waits for each, in the order in which they came.
    """

    speeds: Mapping[Edge, float]
    overlapping: bool
    now_s: float = 0.0
    due: list[tuple[float, int, int, _Flow]] = field(default_factory=list)
    on: dict[Edge, dict[int, _Flow]] = field(default_factory=lambda: defaultdict(dict))
    shares: dict[Edge, float] = field(default_factory=dict)
    pausing: set[Edge] = field(default_factory=set)
    queues: dict[Edge, dict[int, _Flow]] = field(default_factory=lambda: defaultdict(dict))
    came: dict[int, int] = field(default_factory=dict)

    def go_on(self, flow: _Flow) -> bool:
        """The flow's next phase, or its wait for that; whether there was one."""
        while flow.phases:
            seconds, count, _ = flow.phases[0]
            if flow.phases[0] is _PAUSE:
                if not self._pause(flow):
                    return True
            elif flow.phases[0] is _RUNS:
                flow.runs_s = self.now_s
                self.let_go(flow)
            elif count:
                flow.rest_bytes, flow.since_s = count, self.now_s
                for edge in flow.way:
                    self.on[edge][flow.number] = flow
                self._share(flow.way)
                return True
            elif seconds:
                self._push(flow, self.now_s + seconds)
                return True
            flow.phases.pop(0)
        return False

    def next(self) -> _Flow:
        """The flow whose phase ends next; the clock goes there."""
        while True:
            at_s, _, version, flow = heapq.heappop(self.due)
            if version == flow.version:
                break
        self.now_s = at_s
        _, count, _ = flow.phases.pop(0)
        if count:
            for edge in flow.way:
                del self.on[edge][flow.number]
            self._share(flow.way)
        return flow

    def let_go(self, flow: _Flow) -> None:
        """Ends a pause; those go on that waited for its links and find all of theirs free."""
        if self.overlapping:
            return
        self.pausing.difference_update(flow.way)
        waiting = {number: other for edge in flow.way for number, other in self.queues[edge].items()}
        for number in sorted(waiting, key=lambda number: self.came[number]):
            if self.pausing.isdisjoint(waiting[number].way):
                for edge in waiting[number].way:
                    del self.queues[edge][number]
                self.go_on(waiting[number])

    def _pause(self, flow: _Flow) -> bool:
        """Begins its pause, or has it wait."""
        if not self.overlapping:
            if not self.pausing.isdisjoint(flow.way):
                self.came[flow.number] = len(self.came)
                for edge in flow.way:
                    self.queues[edge][flow.number] = flow
                return False
            self.pausing.update(flow.way)
        flow.paused_s = self.now_s
        return True

    def _share(self, way: Sequence[Edge]) -> None:
        """New rates for all that is on these links."""
        for edge in way:
            self.shares[edge] = fair_share(self.speeds[edge], [flow.phases[0][2] for flow in self.on[edge].values()])
        touched = {number: flow for edge in way for number, flow in self.on[edge].items()}
        for number in sorted(touched):
            flow = touched[number]
            flow.rest_bytes -= flow.rate * (self.now_s - flow.since_s)
            flow.since_s = self.now_s
            flow.rate = min(flow.phases[0][2], *(self.shares[edge] for edge in flow.way))
            self._push(flow, self.now_s + max(flow.rest_bytes, 0.0) / flow.rate)

    def _push(self, flow: _Flow, at_s: float) -> None:
        flow.version += 1
        heapq.heappush(self.due, (at_s, flow.number, flow.version, flow))


def fair_share(speed: float, most: Sequence[float]) -> float:
    """What each flow gets at most, if each takes up to its `most` until a link is used up; infinite if it is not."""
    rest, left = speed, len(most)
    for rate in sorted(most):
        if rate * left >= rest:
            return rest / left
        rest, left = rest - rate, left - 1
    return math.inf


@dataclass(frozen=True, slots=True)
class When:
    """When a move starts, is paused, and ends with that pause, in seconds after the plan's beginning; and for how long
    its memory follows then (post-copy), or is put into its place (pre-copy).
    """

    start_s: float
    pause_s: float
    end_s: float
    follows_s: float = 0.0

    @property
    def done_s(self) -> float:
        """When all of it is on its target."""
        return round(self.end_s + self.follows_s, 3)

    @property
    def pause(self) -> Span:
        return Span(self.pause_s, self.end_s)


def timeline(
    moves: Sequence[PlannedMove],
    policy: PlanPolicy,
    ways: Mapping[Edge, tuple[Edge, ...]],
    speeds: Mapping[Edge, float],
    hold: Callable[[PlannedMove, float], float] | None = None,
) -> dict[str, When]:
    """When each move is under way, by its name. `ways` gives the links between two nodes, `speeds` bytes a second.

    `hold` says how long a move that could start now has to wait for a time of its own.
    """
    play, busy, ended = _Play(speeds, policy.overlapping_pauses), defaultdict[str, int](int), dict[str, When]()
    most = policy.moves_per_node_max
    waiting, starts = set(range(len(moves))), dict[str, float]()
    asked, freed_by, held = list(waiting), _freed_by(moves), set[int]()
    while waiting or len(ended) < len(starts):
        for number in asked:
            move = moves[number]
            free = busy[move.source] < most and busy[move.target] < most
            if free and number not in held and all(other in ended for other in move.waits_for):
                if hold is not None and (wait_s := hold(move, play.now_s)) > 0:
                    held.add(number)
                    play.go_on(_Flow(number, move, (), [(wait_s, 0, 0)], held=True))
                    continue
                busy[move.source] += 1
                busy[move.target] += 1
                waiting.remove(number)
                rates = policy.rates(move.source, move.target, move.memory_way)
                phases = _phases(move, rates, policy.stop_timeout_s)
                play.go_on(_Flow(number, move, ways[move.source, move.target], phases))
                starts[move.name] = play.now_s
        flow = play.next()
        while not flow.held and play.go_on(flow):
            flow = play.next()
        if flow.held:  # its time has come
            held.remove(flow.number)
            asked = [flow.number]
            continue
        busy[flow.move.source] -= 1
        busy[flow.move.target] -= 1
        end_s = round(flow.runs_s, 3)
        follows_s = round(play.now_s - flow.runs_s, 3)
        ended[flow.move.name] = When(round(starts[flow.move.name], 3), round(flow.paused_s, 3), end_s, follows_s)
        asked = sorted(waiting & freed_by[flow.number])
    return ended


def makespan_s(spans: Mapping[str, When]) -> float:
    """The end of the last move."""
    return max((span.done_s for span in spans.values()), default=0.0)


def _freed_by(moves: Sequence[PlannedMove]) -> list[set[int]]:
    """For each move, by number: those that its end may let start, for they touch its nodes or wait for it."""
    touching: dict[str, set[int]] = defaultdict(set)
    waiting: dict[str, set[int]] = defaultdict(set)
    for number, move in enumerate(moves):
        touching[move.source].add(number)
        touching[move.target].add(number)
        for name in move.waits_for:
            waiting[name].add(number)
    return [touching[move.source] | touching[move.target] | waiting[move.name] for move in moves]


def _phases(move: PlannedMove, rates: Rates, stop_timeout_s: float) -> list[Phase]:
    told, send = move.estimate, rates.send_bytes_per_s
    before_s, after_s = silent_s(move.mode, rates, told.paused_bytes, stop_timeout_s)
    return [
        (rates.setup_s + ROUND_S * (told.rounds - 1) + told.files_again_s + told.gather_s, 0, 0),
        (0, told.files_bytes, rates.files_bytes_per_s),
        (0, told.ahead_bytes, send),
        _PAUSE,
        (before_s, 0, 0),
        (0, told.paused_bytes, send),
        (after_s + told.files_pause_s, 0, 0),
        _RUNS,
        (0 if told.following_bytes else told.following_s, told.following_bytes, send),
    ]
