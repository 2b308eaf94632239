"""How many members of each group are in each failure domain, for the rules that count: all domains at once.

Theory. `now` is where containers are as far as it is decided; those that leave and have no place yet are nowhere.
`peak` also keeps every one where it came from: that many there may be at some moment, whatever the order of the moves.
A rule on the end of a plan reads `now`, a continuous one `peak`. Arrays are copied before they change, so that a copy
of all is cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from migrator.model.container import Descriptor
from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.rules import domain_of, selects
from migrator.planner.placement import Mover

Ints = NDArray[np.int64]
Table = dict[str, Ints]


class Crowds:
    """How many containers are on each of `nodes`: all, or those that a selector means, or (`but`) all but those."""

    def __init__(self, nodes: Sequence[NodeFacts], selector: str = "", but: bool = False) -> None:
        self.selector, self.but = selector, but
        self.number = {node.name: number for number, node in enumerate(nodes)}
        counts = [sum(self._counts(c.name, c.descriptor) for c in node.containers) for node in nodes]
        self.now: Ints = np.array(counts, np.int64)
        self.peak, self.before = self.now.copy(), self.now.copy()
        self._at: dict[str, int | None] = {}

    def copy(self) -> Crowds:
        """One to be changed by itself."""
        other = copy(self)
        other.now, other.peak, other._at = self.now.copy(), self.peak.copy(), dict(self._at)
        return other

    def put(self, mover: Mover, at: int | None) -> None:
        """The mover is now to be on the node of that number, or nowhere yet."""
        if not self.means(mover):
            return
        home = self.number.get(mover.source.name)
        for number, sign in ((self._at.get(mover.name, home), -1), (at, 1)):
            if number is not None:
                self.now[number] += sign
                if number != home:
                    self.peak[number] += sign
        self._at[mover.name] = at

    def means(self, mover: Mover) -> bool:
        """Whether a container is one of those that are counted."""
        return self._counts(mover.name, mover.descriptor)

    def _counts(self, name: str, descriptor: Descriptor | None) -> bool:
        labels = descriptor.labels if descriptor is not None else {}
        return not self.selector or selects(self.selector, name, labels) != self.but

    def absent(self, mover: Mover) -> None:
        """The mover is in no count."""
        self._at[mover.name] = None

    def others(self, mover: Mover) -> Ints:
        """Containers on each node, this one left out."""
        at = self._at.get(mover.name, self.number.get(mover.source.name))
        if at is None or not self.means(mover):
            return self.now
        counts = self.now.copy()
        counts[at] -= 1
        return counts


class Groups:
    """Containers by the value of `label`, counted in each `domain`. `codes` gives the domain of each of `nodes`."""

    def __init__(self, label: str, domain: str, nodes: Sequence[NodeFacts], everywhere: Iterable[NodeFacts]) -> None:
        self.label, self.domain = label, domain
        self._codes: dict[str, int] = {}
        self.names: list[str] = []
        everywhere = list(everywhere)
        for node in (*everywhere, *nodes):
            self.code(node)
        self.codes: NDArray[np.intp] = np.array([self.code(node) for node in nodes], np.intp)
        self.now: Table = {}
        for node in everywhere:
            for container in node.containers:
                self._first(container, self.code(node))
        self.peak, self.before = dict(self.now), dict(self.now)
        self._none: Ints = np.zeros(len(self.names), np.int64)
        self._at: dict[str, int | None] = {}  # where those are that are not at home: None is nowhere yet
        self._ways: dict[str, dict[str, tuple[int, int | None]]] = {}  # of each group who moves: from, and to
        self.strange: set[str] = set()  # those that `first` does not count

    def copy(self) -> Groups:
        """One to be changed by itself."""
        other = copy(self)
        other.now, other.peak, other._at = dict(self.now), dict(self.peak), dict(self._at)
        other._ways, other.strange = dict(self._ways), set(self.strange)
        return other

    def code(self, node: NodeFacts) -> int:
        name = domain_of(node.labels, node.name, self.domain)
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    def value(self, mover: Mover) -> str | None:
        """The group of a container; None if it is in none."""
        return mover.descriptor.labels.get(self.label)

    def here(self, mover: Mover) -> int:
        """The domain in which a container is; where it came from if it has no place yet."""
        at = self._at.get(mover.name)
        return self.code(mover.source) if at is None else at

    def others(self, mover: Mover, value: str) -> Ints:
        """Members of its group in each domain, itself left out."""
        counts, at = self.now.get(value, self._none), self._at.get(mover.name, self.code(mover.source))
        if at is None:
            return counts
        counts = counts.copy()
        counts[at] -= 1
        return counts

    def most(self, value: str) -> Ints:
        """Members that may be in each domain at some moment."""
        return self.peak.get(value, self._none)

    def first(self, value: str) -> Ints:
        """Members that were in each domain before anything moved."""
        return self.before.get(value, self._none)

    def size(self, mover: Mover, value: str) -> int:
        """How many members its group has, itself among them."""
        return int(self.first(value).sum()) + (mover.name in self.strange)

    def ways(self, mover: Mover, value: str) -> list[tuple[int, int | None]]:
        """From and to which domain the others of its group move; None is not known yet."""
        return [way for name, way in self._ways.get(value, {}).items() if name != mover.name]

    def forget(self, mover: Mover) -> None:
        """As if all were as it is now, with the mover nowhere."""
        self.before = dict(self.now)
        self._ways = {}
        self.strange.add(mover.name)

    def absent(self, mover: Mover) -> None:
        """The mover is in no count."""
        self._at[mover.name] = None
        self.strange.add(mover.name)

    def put(self, mover: Mover, node: NodeFacts | None) -> None:
        """The mover is now to be on that node, or nowhere yet."""
        value, at = self.value(mover), None if node is None else self.code(node)
        if value is None:
            return
        home = self.code(mover.source)
        was = self._at.get(mover.name, home)
        for code, sign in ((was, -1), (at, 1)):
            if code is not None:
                self._add(self.now, value, code, sign)
                if code != home:
                    self._add(self.peak, value, code, sign)
        self._at[mover.name] = at
        self._ways[value] = self._ways.get(value, {}) | {mover.name: (home, at)}

    def _add(self, table: Table, value: str, code: int, sign: int) -> None:
        counts = table.get(value, self._none).copy()
        counts[code] += sign
        table[value] = counts

    def _first(self, container: ContainerFacts, code: int) -> None:
        if container.descriptor is not None and self.label in container.descriptor.labels:
            value = container.descriptor.labels[self.label]
            if value not in self.now:
                self.now[value] = np.zeros(len(self.names), np.int64)
            self.now[value][code] += 1
