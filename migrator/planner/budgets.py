"""Budgets: of one service, or over one link, no more than so many containers in motion at one time, by waiting.

Theory. The moves of a group are dealt, in their order, into as many rows as may be in motion; in a row each waits for
the one before it. Of any moves that are under way together no two are in one row, so there are at most as many as rows
(Dilworth): that holds however long each takes. Each goes into the row that is predicted to be free first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from migrator.model.facts import SharedLink
from migrator.model.rules import Budget, Rule

if TYPE_CHECKING:
    from migrator.planner.ordering import Leg


def turns(legs: Sequence[Leg], rules: Iterable[Rule], links: Iterable[SharedLink] = ()) -> dict[str, set[str]]:
    """For each move those of its groups that must have ended before it starts: earlier ones in the order."""
    found: dict[str, set[str]] = {}
    for rule in rules:
        if isinstance(rule, Budget):
            groups: dict[str, list[Leg]] = {}
            for leg in legs:
                if rule.label in leg.mover.descriptor.labels:
                    groups.setdefault(leg.mover.descriptor.labels[rule.label], []).append(leg)
            for group in groups.values():
                _queue(group, rule.at_most, found)
    for link in links:
        if link.moves_max is not None:
            _queue([leg for leg in legs if link.crossed(leg.source, leg.target)], link.moves_max, found)
    return found


def _queue(legs: Sequence[Leg], at_most: int, found: dict[str, set[str]]) -> None:
    """Deals moves into rows; each waits for the one before it in its row."""
    rows = [(0.0, "")] * min(at_most, len(legs))
    for leg in legs:
        row = min(range(len(rows)), key=lambda number: rows[number][0])
        free_s, last = rows[row]
        if last:
            found.setdefault(leg.name, set()).add(last)
        rows[row] = (free_s + leg.duration_s, leg.name)
