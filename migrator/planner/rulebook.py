"""The rules of a policy as the planner keeps them: answers for one container and every node at once.

Theory. Ban, fence and pin look at one container and one node: a mask for each set of rules that means the container.
Spread and the crowd limit count: a domain's or a node's members now and those that come. Who leaves is not counted
off, so that no order of the moves can break them; a move inside one domain changes nothing there and always may.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Crowd, Fence, Pin, Spread, selected, selects
from migrator.planner.placement import Mover

Mask = NDArray[np.bool_]


class Rulebook:
    """`everywhere` are all nodes of the cluster, whose containers count; answers are for `nodes`, the targets."""

    def __init__(self, nodes: Sequence[NodeFacts], everywhere: Iterable[NodeFacts], policy: PlanPolicy) -> None:
        self.nodes = nodes
        self.fixed = tuple(rule for rule in policy.rules if isinstance(rule, (Ban, Fence, Pin)))
        self.spreads = tuple(rule for rule in policy.rules if isinstance(rule, Spread))
        self.counts = np.array([len(node.containers) for node in nodes], np.int64)
        self.limits = np.full(len(nodes), np.iinfo(np.int64).max)
        for rule in policy.rules:
            if isinstance(rule, Crowd):
                inside = [not rule.nodes or selected(rule.nodes, n.name, n.labels) for n in nodes]
                self.limits = np.where(inside, np.minimum(self.limits, rule.at_most), self.limits)
        self._masks: dict[tuple[int, ...], Mask] = {}
        self._domains = [np.array([domain_of(node, rule.domain) for node in nodes]) for rule in self.spreads]
        self._members = [defaultdict[tuple[str, str], int](int) for _ in self.spreads]
        if self.spreads:
            for node in everywhere:
                for container in node.containers:
                    self._count(container, node)

    def copy(self) -> Rulebook:
        """One to be filled by itself."""
        other = copy(self)
        other.counts = self.counts.copy()
        other._members = [members.copy() for members in self._members]
        return other

    def allows(self, mover: Mover) -> Mask:
        """The nodes that no rule closes to this container, beside all that has come."""
        mask = self._fixed(mover) & (self.counts < self.limits)
        for rule, domains, members in zip(self.spreads, self._domains, self._members, strict=True):
            value = mover.descriptor.labels.get(rule.label)
            if value is not None:
                own = domain_of(mover.source, rule.domain)
                full = [d for (v, d), count in members.items() if v == value and count >= rule.at_most and d != own]
                mask &= ~np.isin(domains, full)
        return mask

    def why_not(self, mover: Mover, index: int) -> str:
        """The rule that closes a node to a container, in words; empty if none does."""
        node, name, labels = self.nodes[index], mover.name, mover.descriptor.labels
        for rule in self.fixed:
            if not selects(rule.containers, name, labels):
                continue
            if isinstance(rule, Pin):
                return f"rule pin: {rule.containers} stays where it is"
            inside = selected(rule.nodes, node.name, node.labels)
            if isinstance(rule, Ban) and inside:
                return f"rule ban: {rule.containers} never on {', '.join(rule.nodes)}"
            if isinstance(rule, Fence) and not inside:
                return f"rule fence: {rule.containers} only on {', '.join(rule.nodes)}"
        if self.counts[index] >= self.limits[index]:
            return f"rule containers-per-node: at most {self.limits[index]}, {self.counts[index]} are there or come"
        for spread, members in zip(self.spreads, self._members, strict=True):
            value, domain = labels.get(spread.label), domain_of(node, spread.domain)
            if value is None or domain == domain_of(mover.source, spread.domain):
                continue
            if members[value, domain] >= spread.at_most:
                there = (
                    f"{members[value, domain]} of {spread.label}={value} are in {spread.domain}={domain} or come there"
                )
                return f"rule spread: at most {spread.at_most}, {there}"
        return ""

    def place(self, mover: Mover, index: int) -> None:
        """Counts a container that comes to a node."""
        self._arrive(mover, index, 1)

    def move(self, mover: Mover, source: int, target: int) -> None:
        """Counts a container that goes from one of the nodes to another: it stays counted where it was at first."""
        self._arrive(mover, source, -1)
        self._arrive(mover, target, 1)

    def _arrive(self, mover: Mover, index: int, sign: int) -> None:
        node = self.nodes[index]
        if node.name != mover.source.name:
            self.counts[index] += sign
        for rule, members in zip(self.spreads, self._members, strict=True):
            value, domain = mover.descriptor.labels.get(rule.label), domain_of(node, rule.domain)
            if value is not None and domain != domain_of(mover.source, rule.domain):
                members[value, domain] += sign

    def _count(self, container: ContainerFacts, node: NodeFacts) -> None:
        for rule, members in zip(self.spreads, self._members, strict=True):
            if container.descriptor is not None and rule.label in container.descriptor.labels:
                members[container.descriptor.labels[rule.label], domain_of(node, rule.domain)] += 1

    def _fixed(self, mover: Mover) -> Mask:
        """Nodes that ban, fence and pin leave open; one mask for each set of rules that means a container."""
        key = tuple(
            number
            for number, rule in enumerate(self.fixed)
            if selects(rule.containers, mover.name, mover.descriptor.labels)
        )
        if key not in self._masks:
            mask = np.ones(len(self.nodes), bool)
            for rule in (self.fixed[number] for number in key):
                if isinstance(rule, Pin):
                    mask[:] = False
                else:
                    inside = np.array([selected(rule.nodes, n.name, n.labels) for n in self.nodes], bool)
                    mask &= inside if isinstance(rule, Fence) else ~inside
            self._masks[key] = mask
        return self._masks[key]


def domain_of(node: NodeFacts, label: str) -> str:
    """The failure domain of a node; without the label it is one of its own."""
    return node.labels.get(label, f"the node {node.name}")
