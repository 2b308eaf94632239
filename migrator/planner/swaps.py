"""Exchanges of two containers, for fleets in which no single move helps any more.

Theory. Where every node holds as many containers as the others, or has no room to spare, only an exchange evens out
the rest. All pairs are too many: each node looks at those that are least like it, since an exchange between nodes
that are alike gains nothing; and at those with which it has exchanged already, where one of the two may go home and
another go in its place. An exchange is two moves one after the other, each of which has room by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from migrator.planner.arrays import Floats, Ints, Mask
from migrator.planner.score import Spread

PARTNERS = 48  # nodes that each node looks at


class Wanted(NamedTuple):
    """Of each container: its node, the one it came from, its load; what its moving is worth beside that, which is its
    toll, negative; what it is worth if it goes home; and whether it may move.
    """

    at: Ints
    homes: Ints
    amount: Ints
    worth: Floats
    refund: Floats
    free: Mask


def unlike(spread: Spread, node: int) -> Ints:
    """The nodes that are least like this one, the first by name where equal."""
    apart = (spread.weighted() * (spread.shares - spread.shares[node]) ** 2).sum(axis=1)
    order = np.argsort(-np.round(apart, 12), kind="stable")
    partners: Ints = order[order != node][:PARTNERS]
    return partners


def exchanges(spread: Spread, node: int, wanted: Wanted, least: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of a container on the node and one elsewhere that are worth at least so much, the best first, with that."""
    at, homes = wanted.at, wanted.homes
    mine = np.flatnonzero((at == node) & wanted.free)
    known = np.concatenate([homes[mine], at[homes == node], unlike(spread, node)])
    others = np.flatnonzero(np.isin(at, known[known != node]) & wanted.free)
    if not len(mine) or not len(others):
        return
    first, second = (grid.ravel() for grid in np.meshgrid(mine, others, indexing="ij"))
    gains = spread.pair_gains(wanted.amount[first] - wanted.amount[second], at[first], at[second])
    gains += wanted.worth[first] + np.where(homes[first] == at[second], wanted.refund[first], 0.0)
    gains += wanted.worth[second] + np.where(homes[second] == node, wanted.refund[second], 0.0)
    gains = np.round(gains, 12)
    good = np.flatnonzero(gains >= least)
    for index in good[np.argsort(-gains[good], kind="stable")]:
        yield int(first[index]), int(second[index]), float(gains[index])
