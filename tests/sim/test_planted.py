"""The simulator is able to fail: each planted bug is found, by the seeds that `make test` plays."""

from __future__ import annotations

import pytest

from migrator.sim.loop import VirtualLoop
from migrator.sim.play import play
from migrator.sim.scenario import generate
from tests.sim.planted import PLANTED

SEEDS_MAX = 2000


def first_found(loop: VirtualLoop) -> int | None:
    for seed in range(SEEDS_MAX):
        if play(generate(seed), loop).violations:
            return seed
    return None


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[name](monkeypatch)
    assert first_found(VirtualLoop()) is not None


def test_there_are_enough_of_them() -> None:
    assert len(PLANTED) >= 15
