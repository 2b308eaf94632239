"""An instance as arrays, so that one operation asks about all machines, or about many processes.

Loads and balances are made one thing. A machine's *row* has a number a resource, what is used over the safety capacity;
a number a balance, what is missing; and again one a resource, what is used over the capacity. A process adds a fixed
vector to the row of the machine that it is on (a balance misses target * free - other free, which is linear in what
is used). So the cost of a machine is its row's positive part times the weights, and a machine is overfull where that
product reaches `FORBIDDEN`, the weight of the last numbers.

What a process needs of a transient resource stays on the machine where it began, there or gone. So it is in the row
from the beginning, and a process adds to the row of its first machine only what is not transient (`home`), elsewhere
all (`away`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migrator.roadef.instance import Instance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FORBIDDEN = 2.0**60  # above any cost, which `parse_model` holds under 2**53


@dataclass(frozen=True)
class Arrays:
    """K numbers a row, P processes, M machines, S services."""

    away: Floats  # P x K
    home: Floats  # P x K
    empty: Floats  # M x K: the rows without any process, but with the transient needs of those that began there
    weights: Floats  # K
    size: Floats  # P: what its needs cost where all of them are over the safety capacity
    first: Ints  # P: where each process began
    service: Ints  # P
    location: Ints  # M, numbered from 0
    neighbourhood: Ints  # M, numbered from 0
    leave_cost: Floats  # P: of the process's move, weighted
    travel_cost: Floats  # M x M: of the machine's move, weighted
    service_weight: float
    spread: tuple[int, ...]
    prices: Floats  # P x M: what `price` says, and `FORBIDDEN` where a process does not fit
    prices_on: Floats  # M x P, the same
    fits: Bools  # P x M: whether the process fits on the machine beside what is transient there and never leaves
    fitting: Bools  # M x P, the same
    needs: tuple[tuple[int, ...], ...]  # a service: those that it depends on
    needed_by: tuple[tuple[int, ...], ...]  # and those that depend on it

    def price(self, processes: Ints | int, places: Ints | int) -> Floats:
        """What the moves of these processes cost when they are at these places, but for the cost of service moves."""
        firsts = self.first[processes]
        cost: Floats = self.travel_cost[firsts, places] + self.leave_cost[processes] * (places != firsts)
        return cost


def arrays_of(instance: Instance, start: Sequence[int]) -> Arrays:
    """Everything about an instance and its first assignment that does not change."""
    needs = np.array([process.needs for process in instance.processes], dtype=np.float64)
    capacity = np.array([machine.capacity for machine in instance.machines], dtype=np.float64)
    safety = np.array([machine.safety for machine in instance.machines], dtype=np.float64)
    transient = np.array([resource.transient for resource in instance.resources])
    first = np.array(start, dtype=np.int64)
    balance = np.zeros((len(instance.resources), len(instance.balances)))  # what a unit used adds to what is missing
    for b, entry in enumerate(instance.balances):
        balance[entry.first, b] -= entry.target
        balance[entry.second, b] += 1
    over = np.where(transient, 0.0, needs)
    began = np.zeros_like(capacity)
    np.add.at(began, first, needs - over)
    fits = np.ones((len(first), len(capacity)), dtype=np.bool_)
    for r in range(len(instance.resources)):
        fits &= needs[:, r, None] <= (capacity - began)[None, :, r]
    fits[np.arange(len(first)), first] = True
    needed_by: list[list[int]] = [[] for _ in instance.services]
    for s, service in enumerate(instance.services):
        for other in service.depends_on:
            needed_by[other].append(s)
    leave_cost = np.array([float(p.move_cost * instance.process_move_weight) for p in instance.processes])
    travel_cost = (
        np.array([machine.move_cost for machine in instance.machines], dtype=np.float64) * instance.machine_move_weight
    )
    prices = travel_cost[first] + leave_cost[:, None]
    prices[np.arange(len(first)), first] -= leave_cost
    np.putmask(prices, ~fits, FORBIDDEN)
    load_weights = [float(resource.load_weight) for resource in instance.resources]
    return Arrays(
        away=np.hstack([needs, needs @ balance, needs]),
        home=np.hstack([needs, needs @ balance, over]),
        empty=np.hstack([-safety, -(capacity @ balance), began - capacity]),
        weights=np.array(
            [*load_weights, *(float(b.weight) for b in instance.balances), *[FORBIDDEN] * len(instance.resources)]
        ),
        size=needs @ np.array(load_weights),
        first=first,
        service=np.array([process.service for process in instance.processes], dtype=np.int64),
        location=_numbered([machine.location for machine in instance.machines]),
        neighbourhood=_numbered([machine.neighbourhood for machine in instance.machines]),
        leave_cost=leave_cost,
        travel_cost=travel_cost,
        service_weight=float(instance.service_move_weight),
        spread=tuple(service.spread for service in instance.services),
        prices=prices,
        prices_on=np.ascontiguousarray(prices.T),
        fits=fits,
        fitting=np.ascontiguousarray(fits.T),
        needs=tuple(tuple(sorted(set(service.depends_on) - {s})) for s, service in enumerate(instance.services)),
        needed_by=tuple(tuple(sorted(set(users) - {s})) for s, users in enumerate(needed_by)),
    )


def _numbered(names: Sequence[int]) -> Ints:
    return np.unique(np.array(names, dtype=np.int64), return_inverse=True)[1].reshape(-1).astype(np.int64)
