"""Disruption budgets: of one service no more than so many containers in motion at one time, by waiting.

Theory. The moves of a group are dealt, in their order, into as many rows as may be in motion; in a row each waits for
the one before it. Of any moves that are under way together no two are in one row, so there are at most as many as rows
(Dilworth): that holds however long each takes. Each goes into the row that is predicted to be free first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from migrator.model.rules import Budget, Rule

if TYPE_CHECKING:
    from migrator.planner.ordering import Leg


def turns(legs: Sequence[Leg], rules: Iterable[Rule]) -> dict[str, set[str]]:
    """For each move those of its groups that must have ended before it starts: earlier ones in the order."""
    found: dict[str, set[str]] = {}
    for rule in rules:
        if not isinstance(rule, Budget):
            continue
        rows: dict[str, list[tuple[float, str]]] = {}
        for leg in legs:
            value = leg.mover.descriptor.labels.get(rule.label)
            if value is None:
                continue
            mine = rows.setdefault(value, [(0.0, "")] * rule.at_most)
            free = min(range(rule.at_most), key=lambda row: mine[row][0])
            free_s, last = mine[free]
            if last:
                found.setdefault(leg.name, set()).add(last)
            mine[free] = (free_s + leg.duration_s, leg.name)
    return found
