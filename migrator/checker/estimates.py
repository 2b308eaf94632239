"""Estimates: are bytes and seconds that the plan tells those that the facts let expect, and do its totals follow?

Facts are another a second later, so each number has a tolerance, and nothing here makes a plan stale. The makespan
is held against the plan's own pauses, the bound against the bytes that its moves tell and the speeds of the links.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from migrator.checker.findings import Code, Finding
from migrator.checker.pauses import ROUNDING_S, estimated, expected_modes, links_of
from migrator.checker.ways import streams
from migrator.model.estimate import Estimate
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import SEND_BYTES_PER_S
from migrator.model.units import format_bytes

SHARE = 0.25  # by which an estimate may be off
LITTLE_BYTES = 4 << 20
LITTLE_S = 0.05
BOUND_SHARE = 0.01


def estimate_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Moves whose estimate is far from what the facts give, and totals that do not follow from the moves."""
    facts = estimated(cluster, plan, policy)
    for move in plan.moves:
        if move.name in facts and (why := _far(move, facts[move.name])):
            text = f"container {move.container}: its move is estimated {why}"
            yield Finding(Code.ESTIMATE, text, move.container, move.source)
    yield from _ways(cluster, plan, policy)
    yield from _modes(cluster, plan, policy)
    bound_s = _bound_s(cluster, plan, policy)
    if abs(plan.makespan_bound_s - bound_s) > BOUND_SHARE * bound_s + 2 * ROUNDING_S:
        text = f"the bound of the makespan is told as {plan.makespan_bound_s:g} s, the busiest link needs {bound_s:g} s"
        yield Finding(Code.MAKESPAN, text)
    ends_s = [move.pause.end_s + move.follows_s for move in plan.moves if move.pause is not None]
    if ends_s or not plan.moves:
        last_s = max([plan.makespan_bound_s, *ends_s])
        if abs(plan.makespan_s - last_s) > ROUNDING_S:
            text = f"the makespan is told as {plan.makespan_s:g} s, by its moves and its bound it is {last_s:g} s"
            yield Finding(Code.MAKESPAN, text)


def _ways(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Moves whose memory is told to go another way than by what their nodes say."""
    nodes = {node.name: node for node in cluster.nodes}
    for move in plan.moves:
        source, target = nodes.get(move.source), nodes.get(move.target)
        if source is None or target is None or source.error or target.error:
            continue
        streamed = streams(source, target, policy)
        if streamed != (move.memory_way == "stream"):
            words = ("goes by images", "can be streamed") if streamed else ("is streamed", "can only go by images")
            text = (
                f"container {move.container}: the plan says that its memory {words[0]}, but by what is known of "
                f"{move.source} and {move.target} it {words[1]}"
            )
            yield Finding(Code.ESTIMATE, text, move.container, move.source)


def _modes(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Moves that are counted by another mode than by the policy and what their nodes can."""
    modes = expected_modes(cluster, plan, policy)
    for move in plan.moves:
        if (mode := modes.get(move.name, move.mode)) != move.mode:
            text = (
                f"container {move.container}: the plan counts it by {move.mode}, under its policy it would go by {mode}"
            )
            yield Finding(Code.ESTIMATE, text, move.container, move.source)


def _far(move: PlannedMove, facts: Estimate) -> str:
    """What of an estimate is far from that of the facts; empty if nothing is."""
    told = move.estimate
    for what, told_bytes, facts_bytes in (
        ("memory", told.memory_bytes, facts.memory_bytes),
        ("files", told.files_bytes, facts.files_bytes),
    ):
        if abs(told_bytes - facts_bytes) > SHARE * facts_bytes + LITTLE_BYTES:
            return f"to send {format_bytes(told_bytes)} of {what}, and there are {format_bytes(facts_bytes)}"
    for what, told_s, facts_s in (
        ("to pause it for", told.blackout_s, facts.blackout_s),
        ("to take", told.duration_s, facts.duration_s),
    ):
        if abs(told_s - facts_s) > SHARE * facts_s + LITTLE_S:
            return f"{what} {told_s:g} s, by the facts {facts_s:g} s"
    for what, told_bytes, facts_bytes in (
        ("before its pause", told.ahead_bytes, facts.ahead_bytes),
        ("after its pause", told.following_bytes, facts.following_bytes),
    ):
        if abs(told_bytes - facts_bytes) > SHARE * facts_bytes + LITTLE_BYTES:
            return f"to send {format_bytes(told_bytes)} of memory {what}, by the facts {format_bytes(facts_bytes)}"
    if told.rounds != facts.rounds:
        times = "once" if facts.rounds == 1 else f"{facts.rounds} times"
        return f"to send its memory {told.rounds} times, and it is sent {times}"
    return ""


def _bound_s(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> float:
    """The busiest link's bytes, as the moves tell them, over its speed."""
    speeds = _speeds(cluster, policy)
    sent_bytes: dict[str, int] = defaultdict(int)
    for move in plan.moves:
        for link in links_of(cluster, move):
            sent_bytes[link] += move.estimate.bytes
    return max((count / speeds[link] for link, count in sent_bytes.items()), default=0.0)


def _speeds(cluster: Cluster, policy: PlanPolicy) -> dict[str, float]:
    """Bytes a second of every link, by the name that `links_of` gives it.

    A node's link of unknown speed has the most that its moves were seen or are assumed to reach.
    """
    reached: dict[str, int] = {}
    for source, targets in policy.learnt.items():
        for target, rates in targets.items():
            for name in (source, target):
                reached[name] = max(reached.get(name, SEND_BYTES_PER_S), rates.send_bytes_per_s)
    found: dict[str, float] = {}
    for node in cluster.nodes:
        assumed = reached.get(node.name, SEND_BYTES_PER_S)
        found[f"the link from {node.name}"] = node.link.up_bytes_per_s or assumed
        found[f"the link to {node.name}"] = node.link.down_bytes_per_s or assumed
    for link in cluster.links:
        found[f"link {link.name}, outwards"] = link.up_bytes_per_s or math.inf
        found[f"link {link.name}, inwards"] = link.down_bytes_per_s or math.inf
    return found
