"""Ruin and recreate: one process goes to a machine that must make room; who has to leave finds another place.

Where machines are nearly full, a large process fits nowhere before several small ones have left, each of which makes
things worse by itself. A walk of single changes seldom gets over that. So: draw a machine; take processes off it, in an
order drawn too, until the one fits (those from elsewhere mostly first: going home is always possible for what is
transient); then put them back one by one, the large first, each where a heat bath says. All of it is one change of the
search, taken or left by its sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from migrator.roadef.arrays import FORBIDDEN, Bools, Floats, Ints
from migrator.roadef.chance import Chance
from migrator.roadef.state import State

OFF_MAX = 24  # processes that make room for one
LATER = 1000.0  # above any draw
GUESTS_FIRST = 0.7  # how often those from elsewhere have to leave before those at home


@dataclass(frozen=True)
class _Lifted:
    """Processes taken off, the one that is to get room first; rows and costs without them. N of them."""

    processes: list[int]
    places: Ints  # N: where they were
    firsts: Ints  # N
    home: Floats  # N x K
    away: Floats  # N x K
    rows: Floats  # M x K
    costs: Floats  # M
    price: Floats  # N x M: of being there beyond its load; FORBIDDEN where that must not be
    same: Bools  # N x N: of one service
    before: float  # what these processes cost where they were


class Rebuild:
    """The step on one state. It returns what it added to the cost; 0.0 if nothing changed."""

    def __init__(self, state: State, chance: Chance) -> None:
        self.state = state
        self.chance = chance
        arrays = state.arrays
        self._capacity = (arrays.weights >= FORBIDDEN).nonzero()[0]
        self._size = arrays.size
        self._only_grows = bool((arrays.away >= 0).all())  # to put a process somewhere never makes it cheaper there

    def step(self, p: int, temperature: float) -> float:
        """Room for p on a machine that the step draws."""
        state, arrays = self.state, self.state.arrays
        targets = arrays.fits[p].nonzero()[0]
        b = int(targets[self.chance.below(len(targets))])
        if b == state.place[p]:
            return 0.0
        legal = state.legal(p)
        if legal is not None and not legal[b] and not state.taken[arrays.service[p], b]:
            return 0.0
        limit = -temperature * self.chance.log_uniform() if temperature else 0.0  # the most that may be added
        leaving = self._leaving(p, b)
        if leaving is None or (self._only_grows and self._at_least(p, b, leaving) > limit):
            return 0.0
        rest = leaving[np.argsort(-self._size[leaving], kind="stable")]
        lifted = self._lift([p, *rest.tolist()])
        made = self._recreate(lifted, b, temperature, limit)
        if made is None:
            return 0.0
        moves, delta = made
        delta += state.service_cost(moves)
        if delta > limit or not state.moved_legally(moves):
            return 0.0
        state.put(moves)
        return delta

    def _leaving(self, p: int, b: int) -> Ints | None:
        """Who leaves b so that p fits: one of the same service, and then others in a drawn order. None: it cannot."""
        state, arrays, chance = self.state, self.state.arrays, self.chance
        there = (state.place_of == b).nonzero()[0]
        rank = chance.gumbel(len(there)).copy()
        if chance.uniform() < GUESTS_FIRST:
            rank[arrays.first[there] == b] += LATER
        must = 0
        if state.taken[arrays.service[p], b]:
            rank[arrays.service[there] == arrays.service[p]] = -LATER
            must = 1
        by_size = chance.below(3) - 1
        if by_size:
            rank += by_size * 2.0 * np.log1p(self._size[there])
        there = there[np.argsort(rank)][:OFF_MAX]
        row = (state.rows[b] + (arrays.home[p] if b == arrays.first[p] else arrays.away[p]))[self._capacity]
        adds = state.adds[there][:, self._capacity]
        freed = np.cumsum(adds, axis=0)
        if must == 0 and (row <= 0).all():
            return np.empty(0, dtype=np.int64)
        enough = (row <= freed).all(axis=1).nonzero()[0]
        if not len(enough):
            return None
        count = int(enough[0]) + 1
        spare = freed[count - 1] - row
        leaves = np.ones(count, dtype=np.bool_)
        for i in (adds[must:count] <= spare).all(axis=1).nonzero()[0] + must:  # who can stay after all
            if (adds[i] <= spare).all():
                spare -= adds[i]
                leaves[i] = False
        leaving: Ints = there[:count][leaves]
        return leaving

    def _at_least(self, p: int, b: int, leaving: Ints) -> float:
        """What the change adds at least: as if all that leave found places for nothing, and no move cost anything."""
        state, arrays = self.state, self.state.arrays
        a, home = state.place[p], int(arrays.first[p])
        rows = state.rows[[a, b]]
        rows[0] -= state.adds[p]
        rows[1] += arrays.home[p] if b == home else arrays.away[p]
        rows[1] -= state.adds[leaving].sum(axis=0)
        after = float((np.maximum(rows, 0.0, out=rows) @ arrays.weights).sum())
        saved = arrays.price(leaving, b).sum() + arrays.price(p, a)
        return after - float(state.costs[a] + state.costs[b]) - float(saved) - arrays.service_weight

    def _lift(self, processes: list[int]) -> _Lifted:
        state, arrays = self.state, self.state.arrays
        many = np.array(processes, dtype=np.int64)
        each = np.arange(len(many))
        places, firsts, services = state.place_of[many], arrays.first[many], arrays.service[many]
        rows, costs = state.rows.copy(), state.costs.copy()
        np.subtract.at(rows, places, state.adds[many])
        touched = np.array(sorted(set(places.tolist())))
        costs[touched] = np.maximum(rows[touched], 0.0) @ arrays.weights
        price = arrays.travel_cost[firsts] + arrays.leave_cost[many, None]
        price[each, firsts] -= arrays.leave_cost[many]
        before = float(state.costs[touched].sum() - costs[touched].sum() + price[each, places].sum())
        same = services[:, None] == services
        taken = state.taken[services]
        taken[each, places] = 0.0
        if same.sum() > len(many):
            for i, j in zip(*same.nonzero(), strict=True):
                taken[i, places[j]] = 0.0
        price += taken
        np.putmask(price, ~arrays.fits[many], FORBIDDEN)
        for i in range(1, len(processes)):
            legal = None if same[0, i] else state.legal(processes[i])
            if legal is not None:
                np.putmask(price[i], ~legal, FORBIDDEN)
        return _Lifted(
            processes, places, firsts, arrays.home[many], arrays.away[many], rows, costs, price, same, before
        )

    def _recreate(
        self, lifted: _Lifted, target: int, temperature: float, limit: float
    ) -> tuple[Sequence[tuple[int, int]], float] | None:
        """Places for all, in order: the moves and what they add. None: somebody finds none, or it is too dear."""
        weights = self.state.arrays.weights
        rows, price, firsts = lifted.rows, lifted.price, lifted.firsts
        count = len(lifted.processes)
        each = np.arange(count)
        entered = rows + lifted.away[:, None, :]
        entered[each, firsts] = rows[firsts] + lifted.home
        added = np.maximum(entered, 0.0, out=entered) @ weights
        added -= lifted.costs
        added += price
        noise = temperature * self.chance.gumbel(added.size).reshape(added.shape) if temperature else 0.0 * added
        delta, moves, m = -lifted.before, [], target
        dear = limit + self.state.arrays.service_weight if self._only_grows else FORBIDDEN / 4
        for i, p in enumerate(lifted.processes):
            if i:
                m = int((added[i] - noise[i]).argmin())
            delta += float(added[i, m])
            if delta > dear or added[i, m] > FORBIDDEN / 4:
                return None
            if m != lifted.places[i]:
                moves.append((p, m))
            row = rows[m]
            row += lifted.home[i] if firsts[i] == m else lifted.away[i]
            after = slice(i + 1, count)
            came = lifted.away[after] + row
            back = firsts[after] == m
            if back.any():
                came[back] = lifted.home[after][back] + row
            price[after, m][lifted.same[i, after]] = FORBIDDEN
            cost = np.maximum(row, 0.0) @ weights
            added[after, m] = np.maximum(came, 0.0, out=came) @ weights + (price[after, m] - cost)
        return moves, delta
