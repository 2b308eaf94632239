"""A fleet as arrays: one row a node, one column a resource, so that a question to all nodes is one operation.

Theory. The first three columns are the ledger of limits (CPU, memory, disk), the last two that of what was measured
(memory, disk), as in room.py. Nodes that are alike as machines share a class, and what keeps containers of one class
from another is asked once a pair of classes. Integers throughout: a plan is the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from migrator.model.compatibility import differences, lacks, machine_of
from migrator.model.confinement import devices_lacking
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.init import lacks_group
from migrator.model.links import Crossings
from migrator.model.plan_policy import PlanPolicy
from migrator.model.predict import predicted
from migrator.model.rates import Rates, Way
from migrator.model.volume import lacking
from migrator.planner.placement import Mover
from migrator.planner.room import Load, room_of, stay_of, transit_in_bytes, transit_out_bytes, usable
from migrator.planner.rulebook import Rulebook

Key = TypeVar("Key")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
MEMORY_COLUMNS = (1, 3)  # where what is in transit counts, beside the containers


def row(load: Load) -> list[int]:
    """A load as columns."""
    limits, measured = load.limits, load.measured
    return [
        limits.cpu_milli,
        limits.memory_bytes,
        limits.disk_bytes,
        measured.memory_bytes,
        measured.disk_bytes,
    ]


@dataclass(frozen=True, slots=True)
class _Terms:
    """Of moves from one node to each class of nodes: whether the machines are `alike`, and which of the `distinct`
    rates and speeds of links (with one of the nodes that have them) the pause is predicted by.
    """

    alike: Mask
    of_class: NDArray[np.intp]
    distinct: tuple[tuple[NodeFacts, Rates, tuple[int, ...]], ...]


class Targets:
    """The nodes that may take containers, and what has come to them so far.

    `room` is what each can still take, `used` what of `whole` (its limits without headroom) is in use; `transit` is
    the most memory that one of all that come to it takes while it is under way; `inflow_s` is how long its link is
    busy with all that comes. Nothing comes to a node that is not `open`; `ordered` is for the rules (rulebook.py).
    `cluster` tells what the nodes share, and whose containers count for rules over domains; without it `nodes` are all.
    What is counted is copied before it changes, so that a copy of all is cheap.
    """

    def __init__(
        self,
        nodes: Sequence[NodeFacts],
        policy: PlanPolicy,
        cluster: Cluster | None = None,
        ordered: bool = False,
    ) -> None:
        count = len(nodes)
        self.nodes, self.policy = nodes, policy
        self.room: Ints = np.array([row(room_of(n, policy)) for n in nodes], np.int64).reshape(count, 5)
        self.used: Ints = np.array([row(Load(n.reserved))[:3] for n in nodes], np.int64).reshape(count, 3)
        self.whole: Floats = np.array([row(Load(usable(n, policy)))[:3] for n in nodes], float).reshape(count, 3)
        self.transit: Ints = np.zeros(count, np.int64)
        self.inflow_s: Floats = np.zeros(count)
        self.open: Mask = np.ones(count, bool)
        self.rules = Rulebook(nodes, nodes if cluster is None else cluster.nodes, policy, ordered)
        self.crossings = Crossings(cluster.links if cluster else ())
        self._classes: dict[object, int] = {}
        self._learnt = {name for targets in policy.learnt.values() for name in targets}
        self._of_class: list[NodeFacts] = []
        self._kinds = np.array([self._kind(node) for node in nodes], np.intp)
        self._groups: dict[tuple[str, str], Counter[int]] = {}
        self._ids: dict[int, Counter[int]] = {}
        self._kept_ids: dict[int, Counter[int]] = {}
        self._names: dict[str, Counter[int]] = {}
        self._ports: dict[str, Counter[int]] = {}
        self._equipments: dict[tuple[object, ...], Mask] = {}
        self._terms_from: dict[object, _Terms] = {}
        self._signs: dict[str, object] = {}
        self._capable: dict[tuple[str, ...], Mask] = {}
        self._streamed_from: dict[str, Mask] = {}
        for index, node in enumerate(nodes):
            for container in node.containers:
                self._note(index, container, 1)

    def closing(self, indices: Sequence[int] = ()) -> Self:
        """A copy, to be filled by itself, in which these nodes take nothing."""
        other = copy(self)
        for name in ("room", "used", "transit", "inflow_s", "open"):
            setattr(other, name, getattr(self, name).copy())
        for name in ("_groups", "_ids", "_kept_ids", "_names", "_ports"):
            setattr(other, name, dict(getattr(self, name)))
        other.rules = self.rules.copy()
        other.open[list(indices)] = False
        return other

    @property
    def largest(self) -> Floats:
        """Of each limit the most that an open node has."""
        return self.whole[self.open].max(axis=0) if self.open.any() else np.zeros(3)

    def fitting(self, mover: Mover) -> Mask:
        """The nodes that can take it beside all that has come, whatever the order in which they come."""
        need = np.array(row(stay_of(mover.container)), np.int64)
        transit = np.maximum(self.transit, self.in_transit(mover))
        rest = self.room - need
        fits: Mask = np.logical_and.reduce([rest[:, column] >= 0 for column in range(rest.shape[1])])
        fits &= self.open
        for column in MEMORY_COLUMNS:
            fits &= rest[:, column] >= transit
        fits &= self._suited(mover)[self._kinds]
        fits &= self._equipped(mover)
        for taken in self._taken(mover):
            fits[list(taken)] = False
        return fits & self.rules.allows(mover)

    def unsuited(self, mover: Mover) -> Mask:
        """The nodes whose machine, volumes, devices or predicted pause do not suit it."""
        unsuited: Mask = ~(self._suited(mover)[self._kinds] & self._equipped(mover))
        return unsuited

    def beside(self, mover: Mover) -> Mask:
        """The nodes where something is that must not be beside it."""
        found = np.zeros(len(self.nodes), bool)
        for taken in self._taken(mover):
            found[list(taken)] = True
        return found

    def kind(self, index: int) -> int:
        """A number that is equal for nodes that are alike as machines and in how fast moves go there."""
        return int(self._kinds[index])

    def fits(self, mover: Mover, index: int) -> bool:
        """Whether one node can take it: `fitting` for that node alone."""
        rest = self.room[index] - np.array(row(stay_of(mover.container)), np.int64)
        transit = max(int(self.transit[index]), self._in_bytes(mover, index))
        return bool(
            self.open[index]
            and (rest >= 0).all()
            and all(rest[column] >= transit for column in MEMORY_COLUMNS)
            and not any(index in taken for taken in self._taken(mover))
            and not any(self.rules.closed(rule, mover)[index] for rule in self.rules.hard)
            and self._suited(mover)[self._kinds[index]]
            and self._equipped(mover)[index]
        )

    def share(self, mover: Mover) -> Floats:
        """Use of each node's fullest resource once this container has come."""
        after = self.used + np.array(row(Load(mover.container.reserved))[:3], np.int64)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(self.whole > 0, after / self.whole, np.where(after > 0, 1.0, 0.0))
        cpu, memory, disk = shares.T  # column by column: far quicker than along rows of three
        fullest: Floats = np.maximum(np.maximum(cpu, memory), disk)
        return fullest

    def place(self, mover: Mover, index: int, sending_s: float) -> None:
        """Books a container that comes to a node; `sending_s` is how long its bytes keep the node's link busy."""
        self._book(index, mover.container, 1)
        self.expect(mover, index)
        self.inflow_s[index] += sending_s
        self.rules.place(mover, index)

    def expect(self, mover: Mover, index: int) -> None:
        """Counts what a container that comes to a node takes there while it is under way."""
        self.transit[index] = max(self.transit[index], self._in_bytes(mover, index))

    def in_transit(self, mover: Mover) -> Ints:
        """For each node, the memory that it takes there while it is under way, beside what stays."""
        amounts = (transit_in_bytes(mover.container, way, self.policy.mode) for way in ("stream", "images"))
        found: Ints = np.where(self._streamed(mover.source), *amounts)[self._kinds]
        return found

    def move(self, mover: Mover, source: int, target: int) -> None:
        """Books a container that has gone from one of the nodes to another, nothing of it in transit any more."""
        self._book(source, mover.container, -1)
        self._book(target, mover.container, 1)
        self.rules.move(mover, source, target)

    def leaving(self, mover: Mover, index: int) -> Mask:
        """For each node, whether the one where the container is has room to send it there."""
        taken = (transit_out_bytes(mover.container, way, self.policy.mode) for way in ("stream", "images"))
        room = (count <= self.room[index, 3] for count in taken)
        sent: Mask = np.where(self._streamed(mover.source), *room)[self._kinds]
        return sent

    def streaming(self, mover: Mover) -> Mask:
        """For each node, whether the container's memory is streamed there from where it is."""
        streamed: Mask = self._streamed(mover.source)[self._kinds]
        return streamed

    def unlike(self, source: NodeFacts) -> Iterator[NodeFacts]:
        """One node of each kind that differs in how fast moves from this one go there."""
        return (node for node, _, _ in self._terms(source).distinct)

    def best_way(self, source: NodeFacts) -> Way:
        """How memory goes from this node where it goes best: streamed, if it is to any of those that take something."""
        return "stream" if self._streamed(source)[self._kinds[self.open]].any() else "images"

    def _in_bytes(self, mover: Mover, index: int) -> int:
        way: Way = "stream" if self._streamed(mover.source)[self._kinds[index]] else "images"
        return transit_in_bytes(mover.container, way, self.policy.mode)

    def _streamed(self, source: NodeFacts) -> Mask:
        """For each class of nodes: whether memory is streamed there from this one."""
        if source.stream_out not in self._streamed_from:
            streamed = [self.policy.way(source, node) == "stream" for node in self._of_class]
            self._streamed_from[source.stream_out] = np.array(streamed, bool)
        return self._streamed_from[source.stream_out]

    def _book(self, index: int, container: ContainerFacts, sign: int) -> None:
        self.room[index] -= sign * np.array(row(stay_of(container)), np.int64)
        self.used[index] += sign * np.array(row(Load(container.reserved))[:3], np.int64)
        self._note(index, container, sign)

    def _note(self, index: int, container: ContainerFacts, sign: int) -> None:
        """Remembers, or forgets, what must not be beside this container on a node."""
        _count(self._names, container.name, index, sign)
        if container.descriptor is not None:
            labels = container.descriptor.labels
            _count(self._ids, container.descriptor.id_index, index, sign)
            if container.descriptor.volumes:
                _count(self._kept_ids, container.descriptor.id_index, index, sign)
            for mark in (mark for port in container.descriptor.published for mark in port.marks):
                _count(self._ports, mark, index, sign)
            for key in self.policy.anti_affinity:
                if key in labels:
                    _count(self._groups, (key, labels[key]), index, sign)

    def _taken(self, mover: Mover) -> Iterable[Collection[int]]:
        """Nodes where something is that must not be beside it."""
        yield self._names.get(mover.name, ())
        ids = self._ids if mover.descriptor.volumes else self._kept_ids  # else the one that comes second is shifted
        yield ids.get(mover.descriptor.id_index, ())
        for port in mover.descriptor.published:
            yield from (self._ports.get(mark, ()) for mark in port.sights)
        for key in self.policy.anti_affinity:
            if key in mover.descriptor.labels:
                yield self._groups.get((key, mover.descriptor.labels[key]), ())

    def _equipped(self, mover: Mover) -> Mask:
        """The nodes that have its volumes, devices and bridges, and groups as its init needs them."""
        ct = mover.descriptor
        bridges = tuple(nic.bridge for nic in ct.nics)
        key = (tuple(volume.name for volume in ct.volumes), ct.devices, bridges, ct.init)
        if key not in self._equipments:
            has = [
                next(lacking(ct.volumes, node.volumes), None) is None
                and next(devices_lacking(ct.devices, node.devices), None) is None
                and set(bridges) <= set(node.bridges)
                and not lacks_group(ct, node.cgroup_version)
                for node in self.nodes
            ]
            self._equipments[key] = np.array(has, bool)
        return self._equipments[key]

    def _suited(self, mover: Mover) -> Mask:
        """For each class of nodes: whether machine and predicted pause suit this container."""
        needs, terms = (*mover.container.needs, mover.container.runtime), self._terms(mover.source)
        if needs not in self._capable:
            waived = self.policy.checks_waived
            able = [next(lacks(mover.container, node, waived), None) is None for node in self._of_class]
            self._capable[needs] = np.array(able, bool)
        short = [
            predicted(mover.container, mover.source.link, node.link, rates, shared, self.policy)[1].blackout_s
            <= self.policy.blackout_s_max
            for node, rates, shared in terms.distinct
        ]
        suited: Mask = self._capable[needs] & terms.alike & np.array(short, bool)[terms.of_class]
        return suited

    def _terms(self, source: NodeFacts) -> _Terms:
        """What a move from this node to each class rests on; the same for sources that are alike."""
        if source.name not in self._signs:
            own = source.name if source.name in self.policy.learnt else ""
            shared = self.crossings.behind(source.name)
            self._signs[source.name] = (machine_of(source), source.link, shared, source.stream_out, own)
        sign = self._signs[source.name]
        if sign not in self._terms_from:
            self._terms_from[sign] = self._terms_of(source)
        return self._terms_from[sign]

    def _terms_of(self, source: NodeFacts) -> _Terms:
        alike, of_class = [], []
        distinct: dict[object, tuple[int, NodeFacts, Rates, tuple[int, ...]]] = {}
        for node in self._of_class:
            rates = self.policy.rates_between(source, node)
            shared = self.crossings.speeds(source.name, node.name)
            key = (node.link, rates, min(shared, default=0))
            of_class.append(distinct.setdefault(key, (len(distinct), node, rates, shared))[0])
            alike.append(next(differences(source, node, self.policy.checks_waived), None) is None)
        speeds = tuple((node, rates, shared) for _, node, rates, shared in distinct.values())
        return _Terms(np.array(alike, bool), np.array(of_class, np.intp), speeds)

    def _kind(self, node: NodeFacts) -> int:
        own, shared = node.name if node.name in self._learnt else "", self.crossings.behind(node.name)
        key = (machine_of(node), node.link, node.stream_in, own, shared)
        if key not in self._classes:
            self._classes[key] = len(self._of_class)
            self._of_class.append(node)
        return self._classes[key]


def _count(there: dict[Key, Counter[int]], key: Key, index: int, sign: int) -> None:
    """Counts one more or one less on a node, in a copy: another holder of the old counts does not see it."""
    counts = there[key].copy() if key in there else Counter[int]()
    counts[index] += sign
    if not counts[index]:
        del counts[index]
    there[key] = counts
