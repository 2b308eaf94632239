"""Pauses: does the plan's own timeline keep those on one link apart, and give each as long as it is estimated to take?

A plan tells when each container is predicted to be paused. By own counting: of every link (a node's up, a node's down,
and what nodes share, each way) the pauses on it are laid in a row. When a run is really made the executor keeps pauses
apart, so nothing here makes a plan stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.checker.findings import Code, Finding
from migrator.checker.ways import expected, speeds_by_facts
from migrator.model.estimate import Estimate
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.modes import AUTO, Mode
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy

ROUNDING_S = 0.0025  # begin, end and estimate are each told to a millisecond


def pause_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Pauses that are not told, overlap on a link without being let, are too short, or not within the plan."""
    if plan.moves and all(move.pause is None for move in plan.moves):
        yield Finding(Code.PAUSE_UNLIKELY, "the plan does not tell when its containers are paused")
        return
    ends_s = {move.name: move.pause.end_s + move.follows_s for move in plan.moves if move.pause is not None}
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
        for link in links_of(cluster, move):
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
    if move.follows_s < move.estimate.following_s - ROUNDING_S:
        return f"to be followed by its memory for {move.follows_s:g} s, and that needs {move.estimate.following_s:g} s"
    if move.pause.end_s > makespan_s + ROUNDING_S:
        return f"to end at {move.pause.end_s:g} s, after the end of the plan"
    for other in move.waits_for:
        if ends_s.get(other, 0.0) > move.pause.start_s + ROUNDING_S:
            return f"to begin before the move of {other}, which it waits for, has ended"
    return ""


def estimated(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> dict[str, Estimate]:
    """What each move is estimated at by these facts; of containers and nodes that they have."""
    return {name: estimate for name, (_, estimate) in _expected(cluster, plan, policy).items()}


def expected_modes(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> dict[str, Mode]:
    """The mode of each move by these facts. Where nothing else is asked for or allowed, nobody has to be asked."""
    if policy.mode == AUTO and not policy.allow:
        return {move.name: Mode.STOP_AND_COPY for move in plan.moves}
    return {name: mode for name, (mode, _) in _expected(cluster, plan, policy).items()}


def _expected(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> dict[str, tuple[Mode, Estimate]]:
    nodes = {node.name: node for node in cluster.nodes}
    homes = {move.container: nodes.get(move.source) for move in plan.moves if move.leg == 1}
    found: dict[str, tuple[Mode, Estimate]] = {}
    between = speeds_by_facts(cluster)
    for move in plan.moves:
        source, target, container = nodes.get(move.source), nodes.get(move.target), _facts_of(move, homes)
        if source is not None and target is not None and container is not None:
            found[move.name] = expected(container, source, target, policy, between(source.name, target.name))
    return found


def _facts_of(move: PlannedMove, homes: Mapping[str, NodeFacts | None]) -> ContainerFacts | None:
    home = homes.get(move.container)
    return None if home is None else home.container(move.container)


def replayed_ends_s(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> dict[str, float]:
    """When each move ends at the earliest, in seconds of the plan, by estimates from the facts, turns counted.

    Moves start when they are told to or when what they wait for has ended, have the links to themselves but for the
    pauses, and those take turns in the order in which the plan tells them.
    """
    facts = estimated(cluster, plan, policy)
    free_s: dict[str, float] = {}
    ends_s: dict[str, float] = {}

    def ready_s(move: PlannedMove) -> float:
        estimate = facts.get(move.name, move.estimate)
        return (move.start_s or 0.0) + estimate.ready_s

    for move in sorted(plan.moves, key=lambda move: ready_s(move) if move.pause is None else move.pause.start_s):
        estimate, links = facts.get(move.name, move.estimate), tuple(links_of(cluster, move))
        waited_s = max((ends_s.get(other, 0.0) for other in move.waits_for), default=0.0)
        pause_s = max(ready_s(move), waited_s + estimate.ready_s)
        if not policy.overlapping_pauses:
            pause_s = max(pause_s, *(free_s.get(link, 0.0) for link in links))
        free_s |= dict.fromkeys(links, round(pause_s + estimate.blackout_s, 3))
        ends_s[move.name] = round(pause_s + estimate.blackout_s + estimate.following_s, 3)
    return ends_s


def links_of(cluster: Cluster, move: PlannedMove) -> Iterator[str]:
    """Every link that a move's pages cross, with the way they go, as a person would name it."""
    yield f"the link from {move.source}"
    yield f"the link to {move.target}"
    for link in cluster.links:
        inside = (move.source in link.nodes, move.target in link.nodes)
        if inside == (True, False):
            yield f"link {link.name}, outwards"
        elif inside == (False, True):
            yield f"link {link.name}, inwards"
