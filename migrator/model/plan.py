"""A plan: what moves where, in which order, and why; or what cannot move, and what each node lacked.

Both are immutable values. The planner makes them, the checker replays a plan, the executor carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.model.estimate import Estimate
from migrator.model.facts import Resources
from migrator.model.plan_policy import PlanPolicy

VERSION = 1


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One move. `waits_for` names containers whose moves must have ended well before this one starts.

    `generation` and `demand` are the container's when planned: if either has changed, the plan is stale. `rounds`
    is how many times its memory is expected to cross the link. `start_s` is its predicted start, in seconds of the
    plan, where it has to wait for a time window; else it starts as soon as it can.
    """

    container: str
    source: str
    target: str
    generation: int
    demand: Resources
    reason: str
    estimate: Estimate
    waits_for: tuple[str, ...] = ()
    rounds: int = 1
    start_s: float | None = None


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

    def move(self, container: str) -> PlannedMove:
        return next(move for move in self.moves if move.container == container)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not: what one node lacked, or with `node` empty what is wrong with the container itself."""

    text: str
    node: str = ""

    def __str__(self) -> str:
        return f"{self.node}: {self.text}" if self.node else self.text


@dataclass(frozen=True, slots=True)
class Stuck:
    """One container that cannot leave `node`, with the reason of every node that could have taken it."""

    container: str
    node: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """There is no plan. `containers` are those that cannot move; `reasons` are against the intent as a whole."""

    intent: str
    containers: tuple[Stuck, ...] = ()
    reasons: tuple[Reason, ...] = ()
