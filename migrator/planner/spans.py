"""At least so many failure domains: where a container may come without its group being in too few of them.

Theory. At the end of a plan the domains are counted in which somebody is; of those that have no place yet each may
still bring one. At every moment is harder: whoever moves is in one of two domains, and nobody knows in which. The
fewest domains that a group can be in at some moment are those where somebody stays, and of the others the fewest that
meet every way: a least vertex cover of the graph whose edges are the ways. Rules ask for few domains, so it is looked
for no further than that. What was too few before may stay so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from migrator.model.rules import DomainsMin
from migrator.planner.counting import Groups
from migrator.planner.placement import Mover

Way = tuple[int, int]


def too_few(rule: DomainsMin, groups: Groups, mover: Mover, ordered: bool = False) -> NDArray[np.bool_]:
    """For each node: whether the group of the container would be in too few domains if it came there.

    With `ordered` at the end alone: the order of the moves is asked then (thinning.py).
    """
    value = groups.value(mover)
    nowhere = np.zeros(len(groups.codes), bool)
    if value is None:
        return nowhere
    first, others = groups.first(value), groups.others(mover, value)
    size = groups.size(mover, value)
    wanted = min(rule.at_least, size)
    if mover.name not in groups.strange:
        wanted = min(wanted, int(np.count_nonzero(first)))
    open_ways = sum(to is None for _, to in groups.ways(mover, value))
    least = int(np.count_nonzero(others)) + open_ways
    closed: NDArray[np.bool_] = least + (others == 0) < wanted
    if rule.continuous and not ordered and mover.name not in groups.strange and not closed.all():
        closed = closed | _at_some_moment(groups, mover, value, wanted - open_ways)
    return closed[groups.codes]


def _at_some_moment(groups: Groups, mover: Mover, value: str, wanted: int) -> NDArray[np.bool_]:
    """For each domain: whether some order of the moves has a moment with fewer than so many, if it goes there."""
    first, home = groups.first(value), groups.code(mover.source)
    staying = first.copy()
    staying[home] -= 1
    ways: list[Way] = []
    for source, to in groups.ways(mover, value):
        if to == source:
            continue
        staying[source] -= 1
        if to is not None:
            ways.append((source, to))
    held = frozenset(int(code) for code in np.flatnonzero(staying > 0))
    closed = np.zeros(len(first), bool)
    if fewest(held, ways, wanted) >= wanted:
        return closed
    touched = {home, *held, *(code for way in ways for code in way)}
    unknown = next((code for code in range(len(first)) if code not in touched), None)
    if unknown is not None:  # all domains that nobody has to do with are alike
        closed[:] = fewest(held, [*ways, (home, unknown)], wanted) < wanted
    for code in touched:
        closed[code] = fewest(held | {home} if code == home else held, [*ways, (home, code)], wanted) < wanted
    return closed


def fewest(held: frozenset[int], ways: Sequence[Way], enough: int) -> int:
    """The fewest domains that can be in use if each way uses one of its two; `enough` if it is that or more."""
    if len(held) >= enough:
        return enough
    way = next((way for way in ways if not held & {*way}), None)
    if way is None:
        return len(held)
    left = [other for other in ways if not held & {*other}]
    return min(fewest(held | {code}, left, enough) for code in way)
