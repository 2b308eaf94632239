"""The search: simulated annealing whose steps look at many changes at once.

Processes differ in size by four orders of magnitude. While it is hot only the large ones are moved: where those end is
decided then, and small ones that wander about by chance would only stand in their way. So a process takes part once
the temperature is under its size (what its needs cost over the safety capacity) over `SIZE_OVER_TEMPERATURE`.

It ends cold: the last part of the way cools fast to where nothing but improvements is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from migrator.roadef.arrays import arrays_of
from migrator.roadef.chance import Chance
from migrator.roadef.instance import Instance
from migrator.roadef.neighbours import Steps
from migrator.roadef.rebuild import Rebuild
from migrator.roadef.state import State

# Temperatures are in units of the mean size of a process: at the beginning, at `KNEE` of the way, at the end.
HOT, COOL, COLD = 0.5, 1e-3, 1e-5
KNEE = 0.85
SIZE_OVER_TEMPERATURE = 3.0
ACTIVE_MIN = 30
BLOCK = 64  # steps between looks at the clock
PARTNERS = 1000  # processes that one is asked to change places with
REBUILD, MOVE = 0.6, 0.15  # shares of the steps; the rest are swaps

Progress = Callable[[int], float]


@dataclass(frozen=True)
class Found:
    """The best assignment, its cost as the search counts it, and how many steps were taken."""

    places: list[int]
    cost: float
    iterations: int


def search(instance: Instance, start: Sequence[int], seed: int, progress: Progress) -> Found:
    """Looks for a better assignment than the valid one given.

    `progress` says how much of the way is done after so many steps, 0 to 1; at 1 or above the search ends. Where it
    depends on nothing but the steps, equal seeds give equal answers.
    """
    arrays = arrays_of(instance, start)
    state, chance = State(arrays, start), Chance(seed)
    steps, rebuild = Steps(state, chance), Rebuild(state, chance)
    largest = np.argsort(-arrays.size, kind="stable")
    sizes = arrays.size[largest]
    unit = float(sizes.mean())
    partners = _Partners(chance)
    cost = best = state.cost()
    places = list(start)
    iterations = 0
    rnd = 0
    while (done := progress(iterations)) < 1:
        now, temperature = _round(done)
        temperature *= unit
        if now != rnd:
            rnd = now
            state = State(arrays, places)
            cost = state.cost()
            steps, rebuild = Steps(state, chance), Rebuild(state, chance)
        active = int(np.searchsorted(-sizes, -SIZE_OVER_TEMPERATURE * temperature))
        active = max(min(ACTIVE_MIN, len(sizes)), active)
        partners.among(largest[:active])
        for _ in range(BLOCK):
            p = int(largest[chance.below(active)])
            kind = chance.uniform()
            if kind < REBUILD:
                cost += rebuild.step(p, temperature)
            elif kind < REBUILD + MOVE:
                cost += steps.move(p, temperature)
            else:
                cost += steps.swap(p, partners.next(), temperature)
        iterations += BLOCK
        if cost < best:
            best, places = cost, list(state.place)
    return Found(places, best, iterations)


HOTS = (0.5, 0.2, 0.1, 0.05, 0.03, 0.02)
FIRST = 0.4


def _round(done: float) -> tuple[int, float]:
    if done < FIRST:
        return 0, _temperature(done / FIRST, HOTS[0])
    part = (done - FIRST) / (1 - FIRST) * (len(HOTS) - 1)
    i = min(int(part), len(HOTS) - 2)
    return i + 1, _temperature(part - i, HOTS[i + 1])


def _temperature(done: float, HOT: float) -> float:
    if done < KNEE:
        return float(HOT * (COOL / HOT) ** (done / KNEE))
    return float(COOL * (COLD / COOL) ** ((done - KNEE) / (1 - KNEE)))


class _Partners:
    """Lots of processes, in an order that is drawn anew when all were had."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._active = self._order = np.empty(0, dtype=np.int64)
        self._at = 0

    def among(self, active: np.ndarray) -> None:
        if len(active) != len(self._active):
            self._active, self._order = active, active
            self._at = len(active)

    def next(self) -> np.ndarray:
        if self._at + PARTNERS > len(self._active):
            self._order = self._active[self._chance.shuffled(len(self._active))]
            self._at = 0
        self._at += PARTNERS
        return self._order[self._at - PARTNERS : self._at]
