"""Makes a failing scenario smaller: what it fails without is left out, one thing at a time, until all is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from migrator.sim.scenario import Scenario

TRIES_MAX = 400


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], tries: int = TRIES_MAX) -> Scenario:
    """The smallest scenario found that still fails. `fails` plays one; at most `tries` are played."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _simpler(scenario):
            tries -= 1
            if tries < 0:
                return scenario
            if fails(candidate):
                scenario, smaller = candidate, True
                break
    return scenario


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario that is one thing simpler, the boldest first."""
    faults = scenario.faults
    if len(faults) > 2:
        half = len(faults) // 2
        yield replace(scenario, faults=faults[:half])
        yield replace(scenario, faults=faults[half:])
    for index in range(len(faults)):
        yield replace(scenario, faults=faults[:index] + faults[index + 1 :])
    if scenario.second:
        yield replace(scenario, second="", second_at=0, backup_at=0)
    plain = Scenario(seed=scenario.seed)
    for name in ("patience_s", "early", "back", "templates", "hooks", "deadline_s"):
        if getattr(scenario, name) != getattr(plain, name):
            yield replace(scenario, **{name: getattr(plain, name)})
    if scenario.ring > 2:
        yield replace(scenario, ring=2, nodes=3, containers=2)
    if scenario.ring:
        return  # it is as small as a ring can be
    if scenario.nodes > 2 and not scenario.drained:
        yield replace(scenario, nodes=2)
    if scenario.containers > 1:
        yield replace(scenario, containers=scenario.containers // 2)
