"""Why a container cannot leave its node, in one line: what each class of the other nodes has against it.

Theory. A node is counted where it fails first: by its machine or the predicted pause, a rule, company that must not be,
room. Of the nodes that fail alike one speaks: of pauses the one with the shortest, of room the one that lacks least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from migrator.model.units import counted
from migrator.planner.arrays import MEMORY_COLUMNS, Ints, Mask, Targets, row
from migrator.planner.barriers import Barriers
from migrator.planner.placement import Mover, Site
from migrator.planner.room import stay_of

Say = Callable[[Ints], str]  # of the nodes of these indices


class Keepers:
    """Asked of many containers of one fleet, whose open nodes are the targets as they are."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self._barriers = Barriers(targets.policy, targets.crossings)

    def why(self, mover: Mover, leaving: Sequence[Mover], home: int) -> str:
        """What is against every node but the one of index `home`, which all of `leaving` leave together."""
        after = self.targets.closing([home])
        after.rules.leave(leaving)
        short = self._short(mover, after)
        lacking: Mask = np.any(short > 0, axis=1)
        asked: list[tuple[Mask, Say]] = [
            (after.unsuited(mover), lambda there: self._machine(mover, there)),
            (~after.rules.allows(mover), lambda there: after.rules.why_not(mover, int(there[0]))),
            (after.beside(mover), lambda there: self._lacking(mover, int(there[0]))),
            (lacking, lambda there: self._lacking(mover, _least(short, there))),
        ]
        told, left = [], after.open.copy()
        for closed, say in asked:
            there = np.flatnonzero(left & closed)
            if len(there):
                told.append(f"{_on(len(there), int(after.open.sum()))}{say(there)}")
            left &= ~closed
        return "; ".join(told) or "there is no other node that is open"

    def _machine(self, mover: Mover, there: Ints) -> str:
        """What the machines of these nodes have against it, by the one to which the pause is shortest."""
        kinds = {self.targets.kind(int(index)): int(index) for index in there[::-1]}
        nodes = [self.targets.nodes[index] for index in sorted(kinds.values())]
        best = min(nodes, key=lambda node: (self._barriers.pause_s(mover, node), node.name))
        return ", ".join(self._barriers.against(mover, best))

    def _lacking(self, mover: Mover, index: int) -> str:
        """What one node, of which its machine is not the reason, has against it."""
        node = self.targets.nodes[index]
        lacks = Site.of(node, self.targets.policy).lacks(mover)
        return lacks or ", ".join(self._barriers.against(mover, node)) or "it would not fit beside what is there"

    def _short(self, mover: Mover, after: Targets) -> Ints:
        """For each node and column by how much it would be too much; nothing or less where it fits."""
        need = np.array(row(stay_of(mover.container)), np.int64)
        short: Ints = need - after.room
        short[:, MEMORY_COLUMNS] += after.in_transit(mover)[:, None]
        return short


def _least(short: Ints, there: Ints) -> int:
    """Of these nodes the one that lacks least, of the resource of which it lacks most."""
    wanted = np.maximum(short[there], 0) / np.maximum(short.max(axis=0), 1)
    return int(there[int(np.argmin(wanted.max(axis=1)))])


def _on(count: int, others: int) -> str:
    """How many nodes a reason is of, where it is not of all."""
    return f"{counted(count, 'node')}: " if count < others else ""
