"""Pauses: does the plan's own timeline keep those on one link apart, and give each as long as it is estimated to take?

A plan tells when each container is predicted to be paused. By own counting: of every link (a node's up, a node's down,
and what nodes share, each way) the pauses on it are laid in a row. Plans from before that was told have nothing to hold
against it. When a run is really made the executor keeps pauses apart, so nothing here makes a plan stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy

ROUNDING_S = 0.0025  # begin, end and estimate are each told to a millisecond


def pause_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Pauses that overlap on a link without being let, that are too short, or that are not within the plan."""
    if all(move.pause is None for move in plan.moves):
        return
    ends_s = {move.name: move.pause.end_s for move in plan.moves if move.pause is not None}
    for move in plan.moves:
        if why := _unlikely(move, plan.makespan_s, ends_s):
            text = f"container {move.container}: its pause is predicted {why}"
            yield Finding(Code.PAUSE_UNLIKELY, text, move.container, move.source)
    if not policy.overlapping_pauses:
        yield from _overlaps(cluster, plan)


def _overlaps(cluster: Cluster, plan: Plan) -> Iterator[Finding]:
    """Pauses that begin on a link before an earlier one there has ended."""
    rows: dict[str, list[PlannedMove]] = {}
    for move in plan.moves:
        for link in _links(cluster, move):
            rows.setdefault(link, []).append(move)
    for link, row in rows.items():
        paused = sorted(
            (move.pause.start_s, move.pause.end_s, move.container) for move in row if move.pause is not None
        )
        last_s, last = -1.0, ""
        for start_s, end_s, container in paused:
            if start_s < last_s - ROUNDING_S:
                text = f"container {container}: {last} is paused on {link} too, {start_s:g} s after the begin"
                yield Finding(Code.PAUSES_OVERLAP, text, container)
            if end_s > last_s:
                last_s, last = end_s, container


def _unlikely(move: PlannedMove, makespan_s: float, ends_s: Mapping[str, float]) -> str:
    """What is wrong with the pause that is told of a move; `ends_s` are the ends of all pauses, by move."""
    if move.pause is None:
        return "at no time, and others' are"
    lasts_s = move.pause.end_s - move.pause.start_s
    if lasts_s < move.estimate.blackout_s - ROUNDING_S:
        return f"to last {lasts_s:g} s, and estimated at {move.estimate.blackout_s:g} s"
    if move.pause.end_s > makespan_s + ROUNDING_S:
        return f"to end at {move.pause.end_s:g} s, after the end of the plan"
    for other in move.waits_for:
        if ends_s.get(other, 0.0) > move.pause.start_s + ROUNDING_S:
            return f"to begin before the move of {other}, which it waits for, has ended"
    return ""


def _links(cluster: Cluster, move: PlannedMove) -> Iterator[str]:
    """Every link that a move's pages cross, with the way they go, as a person would name it."""
    yield f"the link from {move.source}"
    yield f"the link to {move.target}"
    for link in cluster.links:
        inside = (move.source in link.nodes, move.target in link.nodes)
        if inside == (True, False):
            yield f"link {link.name}, outwards"
        elif inside == (False, True):
            yield f"link {link.name}, inwards"
