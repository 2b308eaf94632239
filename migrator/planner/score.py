"""How evenly a fleet is loaded, as one number, and how it changes when containers move.

Theory. A share is what a node has in use of one resource over what it has; there is one for each limit (CPU, memory,
disk), for measured memory and disk, and for the number of containers over the fleet's mean number. The score is

    sum over resources of  weight * ( sqrt(variance of the shares + TOLERANCE^2)  +  worst share / nodes )

and lower is better. The deviations are those of hbal(1), which adds up the standard deviations of node metrics and
counts every container as one unit of load for each of CPU, memory, disk and network that nobody measures; hence the
weight of numbers. The tolerance makes differences of that size count for little: a fleet that is nearly even is left
alone. The worst share stands beside the deviation so that of equal spreads the one without a hot spot is better.

Gains are told in shares of one node: nodes * (score before - score after). Moving a share c away from a node that is
e above another improves the sum of squares by 2c(e - c), and the score by about c(e - c) / deviation shares of a
node, so "one percent" means the same in a fleet of ten nodes and in one of ten thousand.

A policy may weigh a resource: its shares are multiplied, so that a node counts as that many times as full of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.plan_policy import EVEN, Weights
from migrator.planner.arrays import Floats, Ints

RESOURCES = ("CPU", "memory", "disk", "measured memory", "measured disk", "containers")
CONTAINERS = len(RESOURCES) - 1
WEIGHTS: Floats = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 4.0])
TOLERANCE = 0.01
DIGITS = 12  # of a gain: what is behind them is noise of the arithmetic, and decides nothing


class Change(NamedTuple):
    """One container from one node to another, by their numbers."""

    amount: Ints
    source: int
    target: int


def amounts(container: ContainerFacts) -> list[int]:
    """What a container adds to a node, in the columns of RESOURCES."""
    demand = container.reserved
    return [
        demand.cpu_milli,
        demand.memory_bytes,
        demand.disk_bytes,
        container.anon_bytes,
        container.files_bytes,
        1,
    ]


class Spread:
    """The load of some nodes: `used` of `whole`, one row a node, one column a resource; `shares` with their weights."""

    def __init__(self, nodes: Sequence[NodeFacts], weights: Weights = EVEN) -> None:
        count = len(nodes)
        self.used: Ints = np.array([_used(node) for node in nodes], np.int64).reshape(count, len(RESOURCES))
        self.whole: Floats = np.array([_whole(node) for node in nodes], float).reshape(count, len(RESOURCES))
        if count:
            self.whole[:, CONTAINERS] = max(1.0, float(self.used[:, CONTAINERS].sum()) / count)
        self.per: Floats = np.divide(1.0, self.whole, out=np.zeros_like(self.whole), where=self.whole > 0)
        self.per *= (weights.cpu, weights.memory, weights.disk, weights.memory, weights.disk, weights.containers)
        self.shares: Floats = self.used * self.per
        self._per_column: Floats = np.ascontiguousarray(self.per.T)
        self._share_column: Floats = np.ascontiguousarray(self.shares.T)
        self._sum_up()

    @property
    def score(self) -> float:
        """Of the fleet as it stands; 0.0 for one without nodes."""
        return round(float(self.parts.sum()), DIGITS)

    @property
    def full(self) -> Floats:
        """How full each node is of each resource, as shares without weights."""
        return np.divide(self.used, self.whole, out=np.zeros_like(self.whole), where=self.whole > 0)

    @property
    def parts(self) -> Floats:
        """The score by resource."""
        count = len(self.shares)
        if not count:
            return np.zeros(len(RESOURCES))
        parts: Floats = WEIGHTS * (self._deviations() + self.shares.max(axis=0) / count)
        return parts

    def move(self, change: Change) -> None:
        """Books one container that has gone from one node to another."""
        self.used[change.source] -= change.amount
        self.used[change.target] += change.amount
        for index in (change.source, change.target):
            self.shares[index] = self.used[index] * self.per[index]
            self._share_column[:, index] = self.shares[index]
        self._sum_up()

    def gains(self, amount: Ints, sources: Ints) -> Floats:
        """What every move is worth: one row a container, one column a node that it might go to, in shares of a node.

        `amount` has a row of RESOURCES for each container, `sources` the number of the node that it is on. What
        would stay where it is gains nothing, and so does nothing here when there is no room: that is asked elsewhere.
        """
        count, resources = self.shares.shape
        total = np.zeros((len(amount), count))
        for column in range(resources):
            if not amount[:, column].any():
                continue
            total += WEIGHTS[column] * self._one(column, amount[:, column], sources)
        total[np.arange(len(amount)), sources] = 0.0
        return np.round(total, DIGITS)

    def gains_of_one(self, amount: Ints, source: int) -> Floats:
        """`gains` of one container, all resources at once: one number a node."""
        some, count = np.flatnonzero(amount), len(self.shares)
        shares, here, before = self._share_column[some], self.shares[source, some], self._deviations()[some]
        left = here - amount[some] * self.per[source, some]
        comes = amount[some, None] * self._per_column[some]
        there = shares + comes
        squared = (self.squares[some] - here**2 + left**2)[:, None] + comes * (shares + there)
        sums = (self.sums[some] - here + left)[:, None] + comes
        after = _deviation(squared / count - (sums / count) ** 2)
        first, highest = self.worst[0, some], self.shares[self.worst[0, some], some]
        second = self.shares[self.worst[1, some], some] if len(self.worst) > 1 else np.zeros(len(some))
        worst = np.maximum(np.maximum(np.where(first == source, second, highest), left)[:, None], there)
        gained = count * (before[:, None] - after) + (highest[:, None] - worst)
        total: Floats = (WEIGHTS[some, None] * gained).sum(axis=0)
        total[source] = 0.0
        return np.round(total, DIGITS)

    def pair_gains(self, amount: Ints, sources: Ints, targets: Ints) -> Floats:
        """What it is worth to take each amount from its source to its target; parts of an amount may be negative."""
        count, total = len(self.shares), np.zeros(len(amount))
        before = self._deviations()
        for column in map(int, np.flatnonzero(amount.any(axis=0))):
            shares, per = self.shares[:, column], self.per[:, column]
            here, there = shares[sources], shares[targets]
            left, come = here - amount[:, column] * per[sources], there + amount[:, column] * per[targets]
            squares = self.squares[column] - here**2 - there**2 + left**2 + come**2
            sums = self.sums[column] - here - there + left + come
            after = _deviation(squares / count - (sums / count) ** 2)
            worst = np.maximum(np.maximum(left, come), self._worst_of_others(column, sources, targets))
            total += WEIGHTS[column] * (count * (before[column] - after) + (shares.max() - worst))
        return total

    def weighted(self) -> Floats:
        """How much a small difference of the squares of shares is worth now, for each resource."""
        weighted: Floats = WEIGHTS / self._deviations()
        return weighted

    def gain_of(self, changes: Sequence[Change]) -> float:
        """What some moves are worth together, in shares of a node."""
        before = self.score
        for change in changes:
            self.move(change)
        after = self.score
        for amount, source, target in reversed(changes):
            self.move(Change(amount, target, source))
        return round(len(self.shares) * (before - after), DIGITS)

    def _one(self, column: int, amount: Ints, sources: Ints) -> Floats:
        """The gains in one resource, without its weight."""
        count = len(self.shares)
        shares, per = self.shares[:, column], self.per[:, column]
        here = shares[sources]
        left = here - amount * per[sources]
        squares = self.squares[column] - here**2 + left**2
        sums = self.sums[column] - here + left
        comes = amount[:, None] * per[None, :]
        there = shares[None, :] + comes
        worst = np.maximum(np.maximum(self._worst_without(column, sources), left)[:, None], there)
        squared = squares[:, None] + comes * (shares[None, :] + there)
        after = _deviation(squared / count - ((sums[:, None] + comes) / count) ** 2)
        before = self._deviations()[column]
        gained: Floats = count * (before - after) + (shares.max() - worst)
        return gained

    def _worst_without(self, column: int, sources: Ints) -> Floats:
        """For each node of `sources`: the worst share of the others; 0.0 where there are none."""
        shares, first = self.shares[:, column], self.worst[0, column]
        second = shares[self.worst[1, column]] if len(self.worst) > 1 else 0.0
        return np.where(sources == first, second, shares[first])

    def _worst_of_others(self, column: int, sources: Ints, targets: Ints) -> Floats:
        """For each pair of nodes: the worst share of the others; 0.0 where there are none."""
        shares = self.shares[:, column]
        worst = np.zeros(len(sources))
        for node in np.argsort(shares, kind="stable")[-3:]:  # of three, one at least is neither
            worst = np.where((node == sources) | (node == targets), worst, shares[node])
        return worst

    def _sum_up(self) -> None:
        self.sums: Floats = self.shares.sum(axis=0)
        self.squares: Floats = (self.shares**2).sum(axis=0)
        if len(self.shares):
            kept = [-1, -2][: len(self.shares)]
            self.worst = np.argpartition(self.shares, kept, axis=0)[kept]  # the fullest node and the next, by resource

    def _deviations(self) -> Floats:
        count = len(self.shares)
        return _deviation(self.squares / count - (self.sums / count) ** 2)


def _deviation(variance: Floats) -> Floats:
    deviation: Floats = np.sqrt(np.maximum(variance, 0.0) + TOLERANCE**2)
    return deviation


def _used(node: NodeFacts) -> list[int]:
    reserved = node.reserved
    return [
        reserved.cpu_milli,
        reserved.memory_bytes,
        reserved.disk_bytes,
        node.memory_bytes - node.memory_available_bytes,
        node.disk_bytes - node.disk_available_bytes,
        len(node.containers),
    ]


def _whole(node: NodeFacts) -> list[int]:
    whole = node.capacity
    return [whole.cpu_milli, whole.memory_bytes, whole.disk_bytes, node.memory_bytes, node.disk_bytes, 1]
