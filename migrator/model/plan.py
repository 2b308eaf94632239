"""A plan: what moves where, in which order, and why; or what cannot move, and what each node lacked.

Both are immutable values. The planner makes them, the checker replays a plan, the executor carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from migrator.model.estimate import Estimate
from migrator.model.facts import Resources
from migrator.model.modes import Mode
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Way

VERSION = 1


NAMES_MAX = 8  # of an intent, that are told
_VERBS = frozenset({"drain", "move", "return"})


def brief(intent: str) -> str:
    """An intent as people are told it: of many nodes or moves the first and the last."""
    words = intent.split(" ")
    verbs = next((i for i, word in enumerate(words) if word not in _VERBS), len(words))
    return " ".join((*words[:verbs], few(words[verbs:], " "))) if verbs else intent


def few(names: Sequence[str], between: str = ", ") -> str:
    """The names, or of many the first and the last."""
    if len(names) <= NAMES_MAX:
        return between.join(names)
    return f"{between.join(names[: NAMES_MAX - 2])} ... {names[-1]} ({len(names)} in all)"


def move_name(container: str, leg: int) -> str:
    """What a move is called: "web", and "web#2" for the second move of the same container in one plan."""
    return container if leg == 1 else f"{container}#{leg}"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds after the plan's beginning."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One move. `waits_for` names the moves that must have ended well before this one starts.

    `generation` and `demand` are the container's when planned: if either has changed, the plan is stale. `leg` counts
    the moves of one container, from 1: all but its last end at a stop-over, from which the next one starts. `start_s`
    is its predicted start, in seconds of the plan, where it has to wait for a time window; else it starts as soon as it
    can. `pause` is when its container is predicted to be paused; None in plans that are older than that. `memory_way`
    is how its memory is taken to go, `mode` the mode that the plan counts with, and `follows_s` how long after the
    pause its memory still follows (post-copy).
    """

    container: str
    source: str
    target: str
    generation: int
    demand: Resources
    reason: str
    estimate: Estimate
    waits_for: tuple[str, ...] = ()
    leg: int = 1
    start_s: float | None = None
    pause: Span | None = None
    memory_way: Way = "stream"
    mode: Mode = Mode.STOP_AND_COPY
    follows_s: float = 0.0

    @property
    def name(self) -> str:
        """What waits, runs and reports call it."""
        return move_name(self.container, self.leg)


@dataclass(frozen=True, slots=True)
class Plan:
    """`empties` are the nodes that are cordoned first and hold nothing afterwards but `stays`, containers that are
    stopped. `moves` are in the order in which they start. `snapshot` is the digest of the facts it was made from.

    `makespan_s` is predicted; `makespan_bound_s` is the time below which no schedule of these moves can come: the
    busiest link's bytes over its speed.
    """

    intent: str
    cluster: str
    snapshot: str
    empties: tuple[str, ...]
    moves: tuple[PlannedMove, ...]
    makespan_s: float
    makespan_bound_s: float = 0.0
    stays: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    policy: PlanPolicy = field(default_factory=PlanPolicy)
    version: int = VERSION

    def move(self, name: str) -> PlannedMove:
        """A move by its name; a container's is the name of its first."""
        return next(move for move in self.moves if move.name == name)

    def ways(self) -> dict[str, tuple[PlannedMove, ...]]:
        """The moves of each container, in the order in which it makes them."""
        found: dict[str, list[PlannedMove]] = {}
        for move in self.moves:
            found.setdefault(move.container, []).append(move)
        return {name: tuple(sorted(moves, key=lambda move: move.leg)) for name, moves in found.items()}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not: what one node lacked, or with `node` empty what is wrong with the container itself.

    `short` is the room that it lacked: against limits, without the headroom, and as measured.
    """

    text: str
    node: str = ""
    short: tuple[Resources, Resources] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.node}: {self.text}" if self.node else self.text


NOWHERE = "-"  # where one is that is to be made; no node can have this name


@dataclass(frozen=True, slots=True)
class Stuck:
    """One container that cannot leave `node`, with the reason of every node that could have taken it.

    `change` says which small changes were seen to make it possible; empty if none is known.
    """

    container: str
    node: str
    reasons: tuple[Reason, ...]
    change: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """There is no plan. `containers` are those that cannot move; `reasons` are against the intent as a whole, and
    `change` what was seen to make the whole plan possible. `room` is what one node lacked for an order of the moves.
    """

    intent: str
    containers: tuple[Stuck, ...] = ()
    reasons: tuple[Reason, ...] = ()
    change: str = ""
    room: Reason | None = None
