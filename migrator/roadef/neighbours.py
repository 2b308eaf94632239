"""Steps of the search: one process against all machines, or against many others to change places with.

Each is one draw of a heat bath: of all that is possible, "nothing" among it, a change that adds d to the cost is chosen
with a probability in proportion to exp(-d / temperature). To choose the least of d - temperature * g, with independent
g of the standard Gumbel distribution, is that draw (the Gumbel-max trick); and it stays one where the chosen turns out
to break a rule and the next is taken, which is done `TRIES` times at most.
"""

from __future__ import annotations

import numpy as np

from migrator.roadef.arrays import FORBIDDEN, Floats, Ints
from migrator.roadef.chance import Chance
from migrator.roadef.state import State

TRIES = 8
PAIRS_MAX = 128


class Steps:
    """The steps on one state. They return what they added to the cost; 0.0 if nothing changed."""

    def __init__(self, state: State, chance: Chance) -> None:
        self.state = state
        self.chance = chance
        arrays = state.arrays
        self._arrays = arrays
        self._weights = arrays.weights
        self._first: list[int] = arrays.first.tolist()
        self._service: list[int] = arrays.service.tolist()
        self._buffer = np.empty_like(arrays.empty)
        self._pairs = np.empty((2 * PAIRS_MAX, arrays.empty.shape[1]))
        self._adds = np.empty((PAIRS_MAX, arrays.empty.shape[1]))
        self._machines = len(arrays.empty)

    def move(self, p: int, temperature: float) -> float:
        """One process to any machine."""
        state, arrays, buffer = self.state, self._arrays, self._buffer
        a, home, s = state.place[p], self._first[p], self._service[p]
        np.add(state.rows, arrays.away[p], out=buffer)
        if a != home:
            np.add(state.rows[home], arrays.home[p], out=buffer[home])
        np.maximum(buffer, 0.0, out=buffer)
        added = buffer @ self._weights
        added -= state.costs
        added += state.taken[s]
        added += arrays.prices[p]
        row = state.rows[a] - state.adds[p]
        left = np.maximum(row, 0.0, out=row) @ self._weights
        base = float(left - state.costs[a]) - float(state.stay[p])
        legal = state.legal(p)
        if legal is not None:
            np.putmask(added, ~legal, FORBIDDEN)
        added[a] = -base
        noisy = added - temperature * self.chance.gumbel(self._machines) if temperature else added
        for _ in range(TRIES):
            b = int(noisy.argmin())
            if b == a:
                return 0.0
            delta = float(added[b]) + base
            if delta >= FORBIDDEN / 2:
                return 0.0
            extra = state.service_cost(((p, b),))
            if self._accepts(extra, temperature) and state.moved_legally(((p, b),)):
                state.put(((p, b),))
                return delta + extra
            noisy[b] = FORBIDDEN * 4
        return 0.0

    def swap(self, p: int, others: Ints, temperature: float) -> float:
        """One process with one of the first `PAIRS_MAX` of others that fit where it is, and it where they are."""
        state, arrays = self.state, self._arrays
        a = state.place[p]
        possible = arrays.fits[p].copy()
        possible[a] = False
        legal = state.legal(p)
        if legal is not None:
            possible &= legal
        asked = possible.take(state.place_of.take(others))
        asked &= arrays.fitting[a].take(others)
        others = others.take(asked.nonzero()[0][:PAIRS_MAX])
        if not len(others):
            return 0.0
        places = state.place_of.take(others)
        added = self._exchanged(p, others, places)
        base = -float(state.stay[p]) - float(state.costs[a])
        noisy = added - temperature * self.chance.gumbel(len(others)) if temperature else added.copy()
        nothing = -base - (temperature * float(self.chance.gumbel(1)[0]) if temperature else 0.0)
        for _ in range(TRIES):
            i = int(noisy.argmin())
            if noisy[i] >= nothing:
                return 0.0
            delta = float(added[i]) + base
            q, b = int(others[i]), int(places[i])
            moves = ((p, b), (q, a))
            extra = state.service_cost(moves)
            if self._accepts(extra, temperature) and state.moved_legally(moves):
                state.put(moves)
                return delta + extra
            noisy[i] = FORBIDDEN * 4
        return 0.0

    def _exchanged(self, p: int, others: Ints, places: Ints) -> Floats:
        """What is added by changing places with each, but for what p's machine and move cost now."""
        state, arrays = self.state, self._arrays
        count, a, home, s = len(others), state.place[p], self._first[p], self._service[p]
        pairs = self._pairs[: 2 * count]
        here, there, adds = pairs[:count], pairs[count:], self._adds[:count]
        # mode="clip" lets NumPy write into `out` directly; every index is in range
        arrays.away.take(others, axis=0, out=here, mode="clip")
        came = arrays.first.take(others) == a
        if came.any():
            here[came] = arrays.home[others[came]]
        here += state.rows[a] - state.adds[p]
        state.rows.take(places, axis=0, out=there, mode="clip")
        there -= state.adds.take(others, axis=0, out=adds, mode="clip")
        there += arrays.away[p]
        if a != home:
            back = places == home
            if back.any():
                there[back] += arrays.home[p] - arrays.away[p]
        np.maximum(pairs, 0.0, out=pairs)
        costs = pairs @ self._weights
        services = arrays.service.take(others)
        taken = np.maximum(state.taken[s].take(places), state.taken_on[a].take(services))
        taken[services == s] = 0.0  # each goes where the other was
        added: Floats = costs[:count] + costs[count:]
        added -= state.costs.take(places)
        added += taken
        added += arrays.prices[p].take(places)
        added += arrays.prices_on[a].take(others)
        added -= state.stay.take(others)
        return added

    def _accepts(self, extra: float, temperature: float) -> bool:
        """The cost of service moves is not in the arrays: one more draw, after the heat bath's."""
        if extra <= 0:
            return True
        return temperature > 0 and extra < -temperature * self.chance.log_uniform()
