"""Time windows in a plan: when each move may start, given when the plan does, and who can never be moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from migrator.model.estimate import estimate_move
from migrator.model.facts import NodeFacts
from migrator.model.plan import PlannedMove, Reason, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Window
from migrator.model.units import counted, format_seconds
from migrator.model.windows import opens_in_s, windows_of
from migrator.planner.ordering import Leg
from migrator.planner.placement import Mover

Hold = Callable[[PlannedMove, float], float]
Labels = Mapping[str, Mapping[str, str]]


def hold_of(labels: Labels, policy: PlanPolicy) -> Hold | None:
    """How long a move has to wait for its window at so many seconds of the plan; None if no rule asks for that."""
    if not any(isinstance(rule, Window) for rule in policy.rules):
        return None
    start = datetime.fromisoformat(policy.start)

    def hold(move: PlannedMove, now_s: float) -> float:
        windows = windows_of(policy.rules, move.container, labels.get(move.container, {}))
        if not windows:
            return 0.0
        at_s = round(now_s, 3)  # as the plan will tell it
        wait_s = opens_in_s(windows, start + timedelta(seconds=at_s), move.estimate.duration_s)
        return math.ceil((at_s + wait_s) * 1000) / 1000 - now_s if wait_s else 0.0  # what never opens was refused

    return hold


def labels_of(nodes: Iterable[NodeFacts]) -> Labels:
    """The labels of every container."""
    return {c.name: c.descriptor.labels for node in nodes for c in node.containers if c.descriptor}


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


def shut_out(legs: Sequence[Leg], nodes: Mapping[str, NodeFacts], policy: PlanPolicy) -> list[Stuck]:
    """The containers whose windows are never open for as long as their move is estimated to take."""
    found = []
    for leg in legs:
        why = why_never(leg.mover, nodes[leg.target], policy)
        if why:
            found.append(Stuck(leg.name, leg.source, (Reason(why),)))
    return sorted(found, key=lambda stuck: stuck.container)


def why_never(mover: Mover, target: NodeFacts, policy: PlanPolicy) -> str:
    """Why a container can be moved to a node at no time; empty if it can."""
    windows = windows_of(policy.rules, mover.name, mover.descriptor.labels)
    if not windows:
        return ""
    rates = policy.rates(mover.source.name, target.name)
    needs_s = estimate_move(mover.container, mover.source.link, target.link, rates).duration_s
    if opens_in_s(windows, datetime.fromisoformat(policy.start), needs_s) is not None:
        return ""
    hours = " and ".join(f"{', '.join(window.open)} {window.zone}" for window in windows)
    return f"rule window: its move takes about {format_seconds(needs_s)}, and {hours} is never open for so long"
