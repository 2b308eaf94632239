"""The simulator is able to fail: each planted bug is found by what it breaks, within the lives of `make test`."""

from __future__ import annotations

from itertools import chain

import pytest

from migrator.sim.laws import Law
from migrator.sim.loop import VirtualLoop
from migrator.sim.play import play
from migrator.sim.run import load_scenario
from migrator.sim.scenario import generate
from tests.sim.planted import PLANTED
from tests.sim.test_seeds import KEPT

SEEDS_MAX = 2000


def first_that_breaks(laws: frozenset[Law], loop: VirtualLoop) -> str | None:
    lives = ((str(seed), generate(seed)) for seed in range(SEEDS_MAX))
    kept = ((path.stem, load_scenario(path)) for path in KEPT)
    for name, life in chain(kept, lives):
        if any(violation.law in laws for violation in play(life, loop).violations):
            return name
    return None


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_by_the_law_that_it_breaks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = PLANTED[name]
    bug.put(monkeypatch)
    assert first_that_breaks(bug.breaks, VirtualLoop()) is not None


def test_there_are_enough_of_them_and_every_law_can_be_broken() -> None:
    assert len(PLANTED) >= 15
    assert {law for bug in PLANTED.values() for law in bug.breaks} == set(Law)
