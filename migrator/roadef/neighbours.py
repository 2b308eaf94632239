"""Steps of the search: one process against all machines, or against many others to change places with.

Each is one draw of a heat bath: of all that is possible, "nothing" among it, a change that adds d to the cost is chosen
with a probability in proportion to exp(-d / temperature). To choose the least of d - temperature * g, with independent
g of the standard Gumbel distribution, is that draw (the Gumbel-max trick); and it stays one where the chosen turns out
to break a rule and the next is taken, which is done `TRIES` times at most.
"""

from __future__ import annotations

import numpy as np

from migrator.roadef.arrays import FORBIDDEN, Ints
from migrator.roadef.chance import Chance
from migrator.roadef.state import State

TRIES = 8


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
        self._leave: list[float] = arrays.leave_cost.tolist()
        self._unfit = ~arrays.fits
        self._buffer = np.empty_like(arrays.empty)
        self._machines = len(arrays.empty)

    def _stay(self, p: int) -> float:
        """What the moves of a process cost where it is."""
        home, a = self._first[p], self.state.place[p]
        return 0.0 if home == a else self._leave[p] + float(self._arrays.travel_cost[home, a])

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
        added += arrays.travel_cost[home]
        added[home] -= self._leave[p]
        row = state.rows[a] - state.adds[p]
        left = np.maximum(row, 0.0, out=row) @ self._weights
        base = float(left - state.costs[a]) + self._leave[p] - self._stay(p)
        np.putmask(added, self._unfit[p], FORBIDDEN)
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

    def swap(self, p: int, others: Ints, temperature: float, limit: int = 128) -> float:
        """One process with one of others."""
        state, arrays, weights = self.state, self._arrays, self._weights
        a, home, s = state.place[p], self._first[p], self._service[p]
        places = state.place_of[others]
        possible = arrays.fits[p][places]
        possible &= arrays.fitting[a][others]
        possible &= places != a
        legal = state.legal(p)
        if legal is not None:
            possible &= legal[places]
        chosen = possible.nonzero()[0][:limit]
        if not len(chosen):
            return 0.0
        others, places = others[chosen], places[chosen]
        adds = state.adds[others]
        here = arrays.away[others]
        came = arrays.first[others] == a
        if came.any():
            here[came] = arrays.home[others[came]]
        here += state.rows[a] - state.adds[p]
        there = state.rows[places]
        there -= adds
        there += arrays.away[p]
        if a != home:
            back = places == home
            if back.any():
                there[back] += arrays.home[p] - arrays.away[p]
        np.maximum(here, 0.0, out=here)
        np.maximum(there, 0.0, out=there)
        here += there
        added = here @ weights
        added -= state.costs[places]
        services = arrays.service[others]
        taken = np.maximum(state.taken[s, places], state.taken[services, a])
        taken[services == s] = 0.0  # each goes where the other was
        added += taken
        added += arrays.price(p, places)
        added += arrays.price(others, a)
        added -= arrays.price(others, places)
        base = -self._stay(p) - float(state.costs[a])
        noisy = added - temperature * self.chance.gumbel(len(others)) if temperature else added
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

    def _accepts(self, extra: float, temperature: float) -> bool:
        """The cost of service moves is not in the arrays: one more draw, after the heat bath's."""
        if extra <= 0:
            return True
        return temperature > 0 and extra < -temperature * self.chance.log_uniform()
