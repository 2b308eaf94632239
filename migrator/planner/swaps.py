"""Exchanges of two containers, for fleets in which no single move helps any more.

Theory. Where every node holds as many containers as the others, or has no room to spare, only an exchange evens out
the rest. All pairs are too many: each node looks at those that are least like it, since an exchange between nodes
that are alike gains nothing. An exchange is two moves one after the other, each of which has room by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from migrator.planner.arrays import Floats, Ints
from migrator.planner.score import Spread

PARTNERS = 48  # nodes that each node looks at


def unlike(spread: Spread, node: int) -> Ints:
    """The nodes that are least like this one, the first by name where equal."""
    apart = (spread.weighted() * (spread.shares - spread.shares[node]) ** 2).sum(axis=1)
    order = np.argsort(-np.round(apart, 12), kind="stable")
    partners: Ints = order[order != node][:PARTNERS]
    return partners


def exchanges(
    spread: Spread, node: int, at: Ints, amount: Ints, worth: Floats, least: float
) -> Iterator[tuple[int, int]]:
    """Pairs of a container on the node and one elsewhere that are worth at least so much, the best first.

    `at` and `amount` are the node and the load of each container; `worth` what else its moving is worth, which is its
    price, negative.
    """
    mine = np.flatnonzero(at == node)
    others = np.flatnonzero(np.isin(at, unlike(spread, node)))
    if not len(mine) or not len(others):
        return
    first, second = (grid.ravel() for grid in np.meshgrid(mine, others, indexing="ij"))
    gains = spread.pair_gains(amount[first] - amount[second], at[first], at[second])
    gains = np.round(gains + worth[first] + worth[second], 12)
    good = np.flatnonzero(gains >= least)
    for index in good[np.argsort(-gains[good], kind="stable")]:
        yield int(first[index]), int(second[index])
