"""Where a container may be once the node that it is on is lost: by what both are, whatever room there is.

Theory. The machines have to be as for a move from the lost node, volumes have to be there, and a hard fence, ban or pin
goes on holding. So containers are of few kinds, and nodes are of few kinds; each pair of these is asked once for all
nodes, and where every node will do nothing is asked of a container any more.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from migrator.model.compatibility import differences, lacks, machine_of
from migrator.model.confinement import devices_lacking
from migrator.model.container import Descriptor
from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.init import lacks_group
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Fence, Pin, selected, selects
from migrator.model.volume import lacking

Mask = NDArray[np.bool_]


class Refuges:
    """Asked of the containers of these nodes, wherever they are by now, under one policy."""

    def __init__(self, nodes: Sequence[NodeFacts], policy: PlanPolicy) -> None:
        self.nodes = nodes
        self.rows = {node.name: row for row, node in enumerate(nodes)}
        self._rules = [r for r in policy.rules if isinstance(r, (Ban, Fence, Pin)) and not r.soft]
        self._waived = policy.checks_waived
        machines: dict[object, int] = {}
        self._machines = [machines.setdefault(machine_of(node), len(machines)) for node in nodes]
        kinds: dict[Hashable, int] = {}
        self._examples: list[ContainerFacts] = []
        self._kinds: dict[int, int] = {}  # by identity: of a container on the move there are two of one name
        for node in nodes:
            for container in node.containers:
                kind = kinds.setdefault(self._sign(container), len(kinds))
                if kind == len(self._examples):
                    self._examples.append(container)
                self._kinds[id(container)] = kind
        self._known: dict[tuple[int, int], Mask | None] = {}

    def of(self, container: ContainerFacts, lost: str) -> Mask | None:
        """For each of the nodes, whether the container may be there after the loss of one; None if on every one."""
        row = self.rows[lost]
        key = (self._kinds[id(container)], self._machines[row])
        if key not in self._known:
            allowed = self._asked(self._examples[key[0]], self.nodes[row])
            self._known[key] = None if allowed.all() else allowed
        return self._known[key]

    def _sign(self, container: ContainerFacts) -> Hashable:
        """Equal for containers that may be on the same nodes."""
        ct = container.descriptor
        labels = ct.labels if ct else {}
        meant = tuple(i for i, r in enumerate(self._rules) if selects(r.containers, container.name, labels))
        names = (tuple(volume.name for volume in ct.volumes), ct.devices, _bridges(ct), ct.init) if ct else ()
        return container.needs, container.runtime, meant, names

    def _asked(self, container: ContainerFacts, lost: NodeFacts) -> Mask:
        return np.array([self._may(container, lost, node) for node in self.nodes], bool)

    def _may(self, container: ContainerFacts, lost: NodeFacts, node: NodeFacts) -> bool:
        ct = container.descriptor
        if any(differences(lost, node, self._waived)) or any(lacks(container, node, self._waived)):
            return False
        if ct and (any(lacking(ct.volumes, node.volumes)) or any(devices_lacking(ct.devices, node.devices))):
            return False
        if ct and (lacks_group(ct, node.cgroup_version) or not _bridges(ct) <= set(node.bridges)):
            return False
        mine = [r for r in self._rules if selects(r.containers, container.name, ct.labels if ct else {})]
        return all(_kept(rule, node) for rule in mine)


def _bridges(ct: Descriptor) -> frozenset[str]:
    return frozenset(nic.bridge for nic in ct.nics)


def _kept(rule: Ban | Fence | Pin, node: NodeFacts) -> bool:
    """Whether a rule that means a container lets it be on another node than it was on."""
    match rule:
        case Pin():
            return False
        case Fence():
            return selected(rule.nodes, node.name, node.labels)
        case Ban():
            return not selected(rule.nodes, node.name, node.labels)
