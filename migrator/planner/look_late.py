"""Why a move of a plan starts, or is paused, later than what it waits for would let it: whose turn it is before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.model.facts import Cluster
from migrator.model.plan import Plan, PlannedMove
from migrator.model.units import counted, format_seconds
from migrator.planner.graph import SWITCH, capacity_graph, ways_of
from migrator.planner.schedule import Edge, When

NAMES_MAX = 3


def turns_told(cluster: Cluster, plan: Plan, when: Mapping[str, When], move: PlannedMove) -> Iterator[str]:
    """In words: the node that has no turn free for its start, and the link on which others are paused before it.

    `when` is the plan's timeline. What it shares a link with, and is slower for, is not told.
    """
    mine = when[move.name]
    ready_s = max([move.start_s or 0.0, *(when[name].end_s for name in move.waits_for)])
    if mine.start_s > ready_s:
        for node in (move.source, move.target):
            yield from _start(plan, when, move, node, mine.start_s - ready_s)
    if not plan.policy.overlapping_pauses:
        ways = ways_of(capacity_graph(cluster, plan.policy), ((m.source, m.target) for m in plan.moves))
        yield from _pause(plan, when, move, ways)


def _start(plan: Plan, when: Mapping[str, When], move: PlannedMove, node: str, late_s: float) -> Iterator[str]:
    """If all turns of the node are taken until the move starts."""
    start_s = when[move.name].start_s
    there = [other for other in plan.moves if other is not move and node in (other.source, other.target)]
    before = [o.name for o in there if when[o.name].start_s < start_s <= when[o.name].end_s]
    ended = [name for name in before if when[name].end_s == start_s]
    if ended and len(before) >= plan.policy.moves_per_node_max:
        many = counted(plan.policy.moves_per_node_max, "move")
        yield (
            f"starts {format_seconds(late_s)} late: {node} takes part in {many} at one time (--parallel), "
            f"and its turn comes when {_some(ended)} ends"
        )


def _pause(
    plan: Plan, when: Mapping[str, When], move: PlannedMove, ways: Mapping[Edge, tuple[Edge, ...]]
) -> Iterator[str]:
    """If another is paused on one of its links until its own pause begins."""
    for edge in ways[move.source, move.target]:
        others = [o for o in plan.moves if o is not move and edge in ways[o.source, o.target]]
        ended = [o.name for o in others if when[o.name].end_s == when[move.name].pause_s]
        if ended:
            yield f"waits for its turn to pause: until then {_some(ended)} is paused on {_link(edge)}"
            return


def _link(edge: Edge) -> str:
    """A link in words, by its end that is no switch."""
    below, above = edge
    if not below.startswith(SWITCH):
        return f"the link up from {below}"
    if not above.startswith(SWITCH):
        return f"the link down to {above}"
    return f"the shared link {max(edge, key=len).removeprefix(SWITCH)}"


def _some(names: list[str]) -> str:
    more = f" or one of {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return f"{' or '.join(names[:NAMES_MAX])}{more}"
