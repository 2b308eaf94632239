"""A plan: what moves where, in which order, and why. Immutable; the planner makes it, the executor carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.model.estimate import Estimate
from migrator.model.facts import Resources

VERSION = 1


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One move. `waits_for` names containers whose moves must have committed before this one starts.

    `generation` and `demand` are the container's when planned: if either has changed, the plan is stale.
    """

    container: str
    source: str
    target: str
    generation: int
    demand: Resources
    reason: str
    estimate: Estimate
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`empties` are the nodes that hold nothing afterwards; they are cordoned first. `snapshot` is a digest."""

    intent: str
    cluster: str
    snapshot: str
    empties: tuple[str, ...]
    moves: tuple[PlannedMove, ...]
    makespan_s: float
    version: int = VERSION

    def move(self, container: str) -> PlannedMove:
        return next(move for move in self.moves if move.container == container)
