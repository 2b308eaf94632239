"""Groups that are to stay together: their members are placed one after the other, the first where all have room.

Theory. Once one of a group has a place, the rules (rulebook.py) keep the others beside it. So all depends on the first:
it goes where the sum of the group fits, and every member by itself; for a domain of several nodes the sum is held
against their room together, which is necessary and not sufficient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from migrator.model.rules import Affinity
from migrator.planner.arrays import MEMORY_COLUMNS, Floats, Mask, Targets, row
from migrator.planner.placement import Mover
from migrator.planner.room import stay_of
from migrator.planner.rulebook import Rulebook

Group = tuple[Affinity, str]


class Together:
    """Which of the movers belong together, by the rules of affinity that look at the end of a plan."""

    def __init__(self, movers: Iterable[Mover], book: Rulebook) -> None:
        self.members: dict[Group, list[Mover]] = defaultdict(list)
        self.groups: dict[str, list[Group]] = defaultdict(list)
        rules = [rule for rule in book.rules if isinstance(rule, Affinity) and not rule.continuous]
        for mover in movers if rules else ():
            for rule in rules:
                value = mover.descriptor.labels.get(rule.label)
                if value is not None:
                    self.members[rule, value].append(mover)
                    self.groups[mover.name].append((rule, value))

    def order(self, movers: Sequence[Mover]) -> Sequence[Mover]:
        """The same movers, each with all that are joined to it right after it."""
        if not self.groups:
            return movers
        done: dict[str, Mover] = {}
        for mover in movers:
            for joined in self._joined(mover, done):
                done[joined.name] = joined
        return list(done.values())

    def narrowed(self, mover: Mover, targets: Targets, fits: Mask) -> Mask:
        """Of the nodes that take the mover those that take its groups, where none of these has a place yet."""
        for rule, value in self.groups.get(mover.name, ()):
            if not rule.soft and (some := fits & self._takes(rule, value, mover, targets)).any():
                fits = some
        return fits

    def price(self, mover: Mover, targets: Targets) -> Floats:
        """What it costs on each node that a group of a soft rule would not find room beside it."""
        price = np.zeros(len(targets.nodes))
        for rule, value in self.groups.get(mover.name, ()):
            if rule.soft:
                price += rule.weight * ~self._takes(rule, value, mover, targets)
        return price

    def _takes(self, rule: Affinity, value: str, mover: Mover, targets: Targets) -> Mask:
        """Where the whole group would find room; everywhere if one of it has a place already."""
        groups, members = targets.rules.groups[rule.label, rule.domain], self.members[rule, value]
        if len(members) < 2 or groups.others(mover, value).any():
            return np.ones(len(targets.nodes), bool)
        need = np.array([row(stay_of(m.container)) for m in members], np.int64).sum(axis=0)
        transit = np.max([targets.in_transit(m) for m in members], axis=0)
        if not rule.domain:
            rest = targets.room - need
            rest[:, list(MEMORY_COLUMNS)] -= transit[:, None]
            takes: Mask = (rest >= 0).all(axis=1)
            for member in members:
                takes &= targets.fitting(member)
            return takes
        need[list(MEMORY_COLUMNS)] += min(transit.tolist(), default=0)
        domains = len(groups.names)
        room = np.zeros((domains, targets.room.shape[1]))
        np.add.at(room, groups.codes, np.where(targets.open[:, None], targets.room.clip(min=0), 0))
        enough: Mask = (room >= need).all(axis=1)
        for member in members:
            enough &= np.bincount(groups.codes, targets.fitting(member), domains) > 0
        return enough[groups.codes]

    def _joined(self, mover: Mover, done: dict[str, Mover]) -> Iterator[Mover]:
        """The mover and all that are in a group with it, or in one with these; those that are done left out."""
        found, left = {mover.name}, [mover]
        while left:
            one = left.pop(0)
            if one.name not in done:
                yield one
            for group in self.groups.get(one.name, ()):
                for other in self.members[group]:
                    if other.name not in found:
                        found.add(other.name)
                        left.append(other)
