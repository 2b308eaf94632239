"""The order in which the moves of a rebalance are worth most: who stops half-way has the best part of it.

Theory. A search finds its moves in an order of its own, and changes them later. From the fleet as it is, the move that
is worth most there goes first, then the one that is worth most after it, and so on; a broken group before all. The
order is a wish: what has no room yet goes later.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from migrator.planner.arrays import Floats, Ints
from migrator.planner.balance import MENDED, Balance
from migrator.planner.movers import Group
from migrator.planner.score import DIGITS, Change, Spread


def worth_first(search: Balance) -> list[int]:
    """The numbers of the movers that are away from home, the one whose move is worth most first."""
    left: Ints = np.array(sorted(search.moved), np.int64)
    spread = Spread(search.nodes, search.policy.weights)
    beside = _Company(search)
    order = []
    while len(left):
        worth = spread.pair_gains(search.amount[left], search.homes[left], search.at[left])
        best = int(np.argmax(np.round(worth + MENDED * beside.crowded[left], DIGITS)))
        i = int(left[best])
        spread.move(Change(search.amount[i], int(search.homes[i]), int(search.at[i])))
        beside.leave(i)
        order.append(i)
        left = np.delete(left, best)
    return order


class _Company:
    """In how many groups each mover that has not left yet is beside another, at home."""

    def __init__(self, search: Balance) -> None:
        self.search = search
        self.names = [node.name for node in search.nodes]
        self.together: Counter[tuple[str, Group]] = search.at_first.copy()
        self.crowded: Floats = np.zeros(len(search.movers))
        for i in search.moved:
            self._count(i)

    def leave(self, i: int) -> None:
        """Books one that goes to its goal."""
        home, goal = int(self.search.homes[i]), int(self.search.at[i])
        for group in self.search.groups[i]:
            self.together[self.names[home], group] -= 1
            self.together[self.names[goal], group] += 1
            for other in self.search.members[group]:
                if self.search.homes[other] == home:
                    self._count(other)

    def _count(self, i: int) -> None:
        home = self.names[self.search.homes[i]]
        self.crowded[i] = sum(self.together[home, group] > 1 for group in self.search.groups[i])
