"""The search: simulated annealing whose steps look at many changes at once.

Processes differ in size by four orders of magnitude. While it is hot only the large ones are moved: where those end is
decided then, and small ones that wander about by chance would only stand in their way. So a process takes part once
its size (what its needs cost over the safety capacity) is `SIZE_OVER_TEMPERATURE` times the temperature.

It goes in rounds. Each begins with the best assignment so far, hot, and ends so cold that nothing but improvements is
left. A short one, cold from its beginning, looks near the start: where that is good but for a few processes, what the
moves of all others cost is never won back. The next is of everything, and takes most of the time: twice as slow a
cooling gives more than as many rounds do, and where the large ones end is decided while it is hot. In each of the
others only what is on a few machines, drawn, is active: so much can be turned over without losing what is good
elsewhere.

Where machines are nearly full and little may move, nothing is found without making room; elsewhere many quick exchanges
do more. What an instance is like is not known before, so there are two mixes of steps, for searches side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from migrator.roadef.arrays import Arrays, Ints, arrays_of
from migrator.roadef.chance import Chance
from migrator.roadef.instance import Instance
from migrator.roadef.neighbours import Steps
from migrator.roadef.rebuild import Rebuild
from migrator.roadef.state import State

# Temperatures are in units of the mean size of a process. The first round is of everything.
NEAR_PART, NEAR_HOT, NEAR_COLD = 0.05, 1e-4, 1e-7  # of the round near the start
FIRST_PART, FIRST_HOT = 0.83, 2.0
ROUNDS = 16  # that follow, each of a part of the machines, with one of these temperatures to begin with
HOTS = (0.1, 0.02)
MACHINES_PART, MACHINES_MIN = 0.1, 4
COOL, COLD = 1e-3, 1e-6  # the temperature at the knee of a round, and at its end
KNEE = 0.85
SIZE_OVER_TEMPERATURE = 3.0
ACTIVE_MIN = 30
BLOCK = 64  # steps between looks at the clock
PARTNERS = 1000  # processes that one is asked to change places with
SHUFFLE_EVERY = 64

Progress = Callable[[int], float]


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of steps; the rest are swaps."""

    rebuild: float
    move: float


MIXES = (Mix(0.2, 0.25), Mix(0.08, 0.3))


@dataclass(frozen=True)
class Found:
    """The best assignment, its cost as the search counts it, and how many steps were taken."""

    places: list[int]
    cost: float
    iterations: int


def search(instance: Instance, start: Sequence[int], seed: int, progress: Progress, mix: Mix = MIXES[0]) -> Found:
    """Looks for a better assignment than the valid one given.

    `progress` says how much of the way is done after so many steps, 0 to 1; at 1 or above the search ends. Where it
    depends on nothing but the steps, equal seeds give equal answers.
    """
    arrays, chance = arrays_of(instance, start), Chance(seed)
    walk = _Walk(arrays, start, chance, mix)
    largest = by_size = np.argsort(-arrays.size, kind="stable")
    sizes = arrays.size[largest]
    unit = float(sizes.mean())
    best, places = walk.cost, list(start)
    iterations = current = 0
    while (done := progress(iterations)) < 1:
        number, temperature = temperature_at(done)
        temperature *= unit
        if number != current:
            current = number
            walk = _Walk(arrays, places, chance, mix)
            largest = by_size if number == 1 else walk.on_some_machines()
            sizes = arrays.size[largest]
        active = int(np.searchsorted(-sizes, -SIZE_OVER_TEMPERATURE * temperature))
        walk.block(largest[: max(min(ACTIVE_MIN, len(sizes)), active)], temperature)
        iterations += BLOCK
        if walk.cost < best:
            best, places = walk.cost, list(walk.state.place)
    return Found(places, best, iterations)


def temperature_at(done: float) -> tuple[int, float]:
    """The round that is under way when so much is done (0 to below 1), and the temperature in mean sizes."""
    if done < NEAR_PART:
        return 0, float(NEAR_HOT * (NEAR_COLD / NEAR_HOT) ** (done / NEAR_PART))
    done -= NEAR_PART
    if done < FIRST_PART:
        number, part, hot = 1, done / FIRST_PART, FIRST_HOT
    else:
        rounds = (done - FIRST_PART) / (1 - NEAR_PART - FIRST_PART) * ROUNDS
        number = int(rounds) + 2
        part, hot = rounds - int(rounds), HOTS[number % len(HOTS)]
    if part < KNEE:
        return number, float(hot * (COOL / hot) ** (part / KNEE))
    return number, float(COOL * (COLD / COOL) ** ((part - KNEE) / (1 - KNEE)))


class _Walk:
    """A state on its way, and the cost of it as the steps add up."""

    def __init__(self, arrays: Arrays, places: Sequence[int], chance: Chance, mix: Mix) -> None:
        self.state = State(arrays, places)
        self.cost = self.state.cost()
        self._chance = chance
        self._mix = mix
        self._steps, self._rebuild = Steps(self.state, chance), Rebuild(self.state, chance)
        self._order: Ints = np.empty(0, dtype=np.int64)
        self._ring: Ints = self._order  # the same, shuffled, and its beginning once more
        self._uses = 0  # of that, before it is shuffled anew

    def on_some_machines(self) -> Ints:
        """The processes on a few machines, the largest first: one that costs much, and others by chance."""
        state, chance = self.state, self._chance
        count = len(state.costs)
        dear = int((state.costs + state.costs.mean() * chance.gumbel(count)).argmax())
        some = chance.shuffled(count)[: max(MACHINES_MIN, int(MACHINES_PART * count))]
        chosen = np.isin(state.place_of, np.append(some, dear)).nonzero()[0]
        ordered: Ints = chosen[np.argsort(-state.arrays.size[chosen], kind="stable")]
        return ordered if len(ordered) else np.arange(len(state.place))

    def block(self, active: Ints, temperature: float) -> None:
        """`BLOCK` steps of the processes that are active."""
        if len(active) != len(self._order):
            self._order, self._uses = active, 0
        chance, mix = self._chance, self._mix
        for _ in range(BLOCK):
            p = int(active[chance.below(len(active))])
            kind = chance.uniform()
            if kind < mix.rebuild:
                self.cost += self._rebuild.step(p, temperature)
            elif kind < mix.rebuild + mix.move:
                self.cost += self._steps.move(p, temperature)
            else:
                self.cost += self._steps.swap(p, self._partners(), temperature)

    def _partners(self) -> Ints:
        """Some of the active processes, from anywhere in an order that is drawn anew every now and then."""
        count = len(self._order)
        if not self._uses:
            shuffled = self._order[self._chance.shuffled(count)]
            self._ring = np.append(shuffled, shuffled[:PARTNERS])
            self._uses = SHUFFLE_EVERY
        self._uses -= 1
        at = self._chance.below(count)
        return self._ring[at : at + min(PARTNERS, count)]
