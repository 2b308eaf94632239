"""A site's hooks under faults: whoever comes after tells it where the container is."""

from __future__ import annotations

import re

import pytest

from migrator.sim.loop import VirtualLoop
from migrator.sim.play import Outcome, play
from migrator.sim.scenario import Fault, Scenario

BEGUN, ENDED, RELEASED = 17, 18, 24  # the writes of an orchestrator's notes about its hooks
VERIFIED = 149  # the moment at which the comparison is over


def lived(*faults: Fault, back: bool = False) -> Outcome:
    outcome = play(Scenario(1, hooks=True, back=back, faults=faults), VirtualLoop(), trace=True)
    assert outcome.violations == [], "\n".join(outcome.trace[-40:])
    return outcome


def told(outcome: Outcome) -> list[str]:
    """The moments at which the site was told something, and what: "before_commit n2"."""
    found = (re.search(r": hook (\w+) of ct0: (\w+)$", line) for line in outcome.trace)
    return [f"{hook[1]} {hook[2]}" for hook in found if hook]


def test_a_quiet_move_tells_the_site_twice() -> None:
    assert told(lived()) == ["before_commit n2", "after_release n2"]


@pytest.mark.parametrize("kind", ["hook-fails", "hook-hangs"])
def test_a_site_that_refuses_or_hangs_has_the_container_where_it_was(kind: str) -> None:
    outcome = lived(Fault(kind, 1))
    assert told(outcome)[-1] == "after_rollback n1"
    assert outcome.run == "failed"


@pytest.mark.parametrize("write", [BEGUN, ENDED])
def test_an_orchestrator_that_dies_while_the_site_is_asked_is_followed_by_one_that_takes_it_back(write: int) -> None:
    assert told(lived(Fault("kill-after-write", write), back=True))[-1] == "after_rollback n1"


def test_a_death_in_the_hook_after_the_release_has_it_told_twice() -> None:
    assert told(lived(Fault("kill-before-write", RELEASED + 1))) == [
        "before_commit n2",
        "after_release n2",
        "after_release n2",
    ]


def test_a_copy_that_is_the_last_one_is_told_of_before_it_is_committed_to() -> None:
    # The source loses its power, and then the orchestrator dies as the hook is to begin: there is no way back.
    outcome = lived(Fault("kill-after-write", BEGUN), Fault("crash", VERIFIED, node="n1", seconds=5.0))
    assert told(outcome) == ["before_commit n2", "after_release n2"]
