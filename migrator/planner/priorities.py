"""Priorities: who goes first when it has to move, and stays when it need not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrator.model.rules import Priority, Rule, selects
from migrator.planner.placement import Mover

USUAL = 1  # of a container that no rule means


def priority(mover: Mover, rules: Iterable[Rule]) -> int:
    """The highest that a rule gives to a container."""
    given = (
        rule.level
        for rule in rules
        if isinstance(rule, Priority) and selects(rule.containers, mover.name, mover.descriptor.labels)
    )
    return max(given, default=USUAL)


def classes(movers: Sequence[Mover], rules: Sequence[Rule]) -> dict[str, int]:
    """For each container the number of its class, those that go first have 0; empty if all are alike."""
    if not any(isinstance(rule, Priority) for rule in rules):
        return {}
    values = {mover.name: priority(mover, rules) for mover in movers}
    order = sorted(set(values.values()), reverse=True)
    return {name: order.index(value) for name, value in values.items()}
