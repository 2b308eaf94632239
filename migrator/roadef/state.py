"""An assignment under change: rows and costs of machines, and what the rules of services count, kept up to date."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from migrator.roadef.arrays import FORBIDDEN, Arrays, Bools, Ints


class State:
    """A valid assignment. Every number in it is what a count from nothing would give."""

    def __init__(self, arrays: Arrays, places: Sequence[int]) -> None:
        self.arrays = arrays
        self.place: list[int] = list(places)
        self.place_of: Ints = np.array(places, dtype=np.int64)  # the same, to index with
        at_home = self.place_of == arrays.first
        self.adds = np.where(at_home[:, None], arrays.home, arrays.away)  # to the row of where each process is
        self.rows = arrays.empty.copy()
        np.add.at(self.rows, self.place_of, self.adds)
        self.costs = np.maximum(self.rows, 0) @ arrays.weights
        machines, services = len(arrays.empty), len(arrays.spread)
        self.stay = arrays.price(np.arange(len(self.place)), self.place_of)  # of each process where it is
        self.taken = np.zeros((services, machines))  # FORBIDDEN where the service has a process
        self.taken[arrays.service, self.place_of] = FORBIDDEN
        self.taken_on = np.ascontiguousarray(self.taken.T)
        self.at_location = [[0] * (int(arrays.location.max()) + 1) for _ in range(services)]
        self.near = [[0] * (int(arrays.neighbourhood.max()) + 1) for _ in range(services)]
        self.moved = [0] * services
        self._service: list[int] = arrays.service.tolist()
        self._first: list[int] = arrays.first.tolist()
        self._location: list[int] = arrays.location.tolist()
        self._neighbourhood: list[int] = arrays.neighbourhood.tolist()
        for p, m in enumerate(self.place):
            s = self._service[p]
            self.at_location[s][self._location[m]] += 1
            self.near[s][self._neighbourhood[m]] += 1
            self.moved[s] += m != self._first[p]
        self.locations = [sum(map(bool, counts)) for counts in self.at_location]
        # how many services have so many moved processes; the highest of them that is not 0 is what counts
        self._with_moved = [0] * (len(self.place) + 1)
        for count in self.moved:
            self._with_moved[count] += 1
        self.moved_most = max(self.moved)
        self._free = [
            spread <= 1 and not needs and not by
            for spread, needs, by in zip(arrays.spread, arrays.needs, arrays.needed_by, strict=True)
        ]

    def cost(self) -> float:
        """The whole objective, from the kept costs of machines."""
        return float(self.costs.sum() + self.stay.sum() + self.arrays.service_weight * self.moved_most)

    def service_cost(self, moves: Sequence[tuple[int, int]]) -> float:
        """What these moves of different processes add to the cost of service moves."""
        steps: dict[int, int] = {}
        for p, b in moves:
            home, s = self._first[p], self._service[p]
            steps[s] = steps.get(s, 0) + (b != home) - (self.place[p] != home)
        highest, having = 0, self._with_moved[self.moved_most]
        for s, step in steps.items():
            if step:
                count = self.moved[s]
                highest = max(highest, count + step)
                having += (count + step == self.moved_most) - (count == self.moved_most)
        if highest > self.moved_most:
            most = highest
        elif having:
            return 0.0
        else:
            most = self._most_without(steps)
        return self.arrays.service_weight * (most - self.moved_most)

    def _most_without(self, steps: dict[int, int]) -> int:
        """The most moves of a service when all that have the most lose some."""
        most = max(self.moved[s] + step for s, step in steps.items())
        counts = list(self._with_moved)
        for s in steps:
            counts[self.moved[s]] -= 1
        return max(most, max((n for n in range(self.moved_most, -1, -1) if counts[n]), default=0))

    def moved_legally(self, moves: Sequence[tuple[int, int]]) -> bool:
        """Counts these moves in, if spread and dependencies then hold; else changes nothing."""
        changed = [(self._service[p], self.place[p], b) for p, b in moves]
        for s, a, b in changed:
            self._count(s, a, b)
        for s, a, b in changed:
            if not self._free[s] and not self._holds(s, a, b):
                for t, c, d in changed:
                    self._count(t, d, c)
                return False
        return True

    def legal(self, p: int) -> Bools | None:
        """Where spread and dependencies let p go while all others stay, an entry a machine; None: anywhere."""
        s, a = self._service[p], self.place[p]
        if self._free[s]:
            return None
        arrays, near = self.arrays, self.near
        old, here = self._neighbourhood[a], self._location[a]
        allowed: Bools | None = None
        if near[s][old] == 1 and any(near[other][old] for other in arrays.needed_by[s]):
            allowed = arrays.neighbourhood == old
        elif arrays.needs[s]:
            fewest = [min(counts) for counts in zip(*(near[other] for other in arrays.needs[s]), strict=True)]
            if not all(fewest):
                allowed = np.array(fewest, dtype=np.bool_)[arrays.neighbourhood]
        counts = self.at_location[s]
        if self.locations[s] == arrays.spread[s] and counts[here] == 1:
            new = np.array(counts) == 0
            new[here] = True
            allowed = new[arrays.location] if allowed is None else allowed & new[arrays.location]
        return allowed

    def _count(self, s: int, a: int, b: int) -> None:
        near = self.near[s]
        near[self._neighbourhood[a]] -= 1
        near[self._neighbourhood[b]] += 1
        old, new = self._location[a], self._location[b]
        if old != new:
            counts = self.at_location[s]
            counts[old] -= 1
            if not counts[old]:
                self.locations[s] -= 1
            if not counts[new]:
                self.locations[s] += 1
            counts[new] += 1

    def _holds(self, s: int, a: int, b: int) -> bool:
        """After a process of s went from a to b, and all other counts are in."""
        arrays, near = self.arrays, self.near
        if self.locations[s] < arrays.spread[s]:
            return False
        old, new = self._neighbourhood[a], self._neighbourhood[b]
        if old == new:
            return True
        if not all(near[other][new] for other in arrays.needs[s]):
            return False
        return bool(near[s][old]) or not any(near[other][old] for other in arrays.needed_by[s])

    def put(self, moves: Sequence[tuple[int, int]]) -> None:
        """Moves processes whose counts are in already, and counts the costs of the machines anew."""
        arrays = self.arrays
        touched = []
        for p, b in moves:
            a = self.place[p]
            s = self._service[p]
            self.taken[s, a] = self.taken_on[a, s] = 0
            self.rows[a] -= self.adds[p]
            self.adds[p] = arrays.home[p] if b == self._first[p] else arrays.away[p]
            self.rows[b] += self.adds[p]
            self._count_moved(p, a, b)
            self.place[p] = b
            self.place_of[p] = b
            touched += [a, b]
        for p, b in moves:
            s = self._service[p]
            self.taken[s, b] = self.taken_on[b, s] = FORBIDDEN
            self.stay[p] = arrays.prices[p, b]
        for m in set(touched):
            self.costs[m] = np.maximum(self.rows[m], 0) @ arrays.weights

    def _count_moved(self, p: int, a: int, b: int) -> None:
        home, s = self._first[p], self._service[p]
        step = (b != home) - (a != home)
        if not step:
            return
        count = self.moved[s] + step
        self._with_moved[count - step] -= 1
        self._with_moved[count] += 1
        self.moved[s] = count
        self.moved_most = max(self.moved_most, count)
        while not self._with_moved[self.moved_most]:
            self.moved_most -= 1
