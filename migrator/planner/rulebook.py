"""The rules of a policy as the planner keeps them: answers for one container and every node at once.

Theory. Ban, fence and pin look at one container and one node. Spread, affinity and the crowd limit count a domain's or
a node's members (counting.py): a continuous rule counts who leaves until the end of the plan, so that no order of the
moves can break it; a rule on the end counts where all are then. What was broken before may stay as broken as it was. A
soft rule closes no node, but has a price there, in shares of a node's load.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Affinity, Ban, Crowd, DomainsMin, Fence, Lonely, Pin, Spread, selected, selects
from migrator.planner.counting import Crowds, Groups
from migrator.planner.placement import Mover
from migrator.planner.rule_notes import within
from migrator.planner.spans import too_few

Placing = Ban | Fence | Pin | Spread | DomainsMin | Crowd | Lonely | Affinity
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Rulebook:
    """`everywhere` are all nodes of the cluster, whose containers count; answers are for `nodes`, the targets.

    `ordered` is for moves whose order is asked for these rules too (seats.py): what has left does not count then.
    """

    def __init__(
        self, nodes: Sequence[NodeFacts], everywhere: Iterable[NodeFacts], policy: PlanPolicy, ordered: bool = False
    ) -> None:
        self.nodes, self.ordered = nodes, ordered
        self.rules = tuple(rule for rule in policy.rules if isinstance(rule, Placing))
        self.hard = tuple(rule for rule in self.rules if not rule.soft)
        self.soft = tuple(rule for rule in self.rules if rule.soft)
        self.crowds = Crowds(nodes if any(isinstance(rule, Crowd) for rule in self.rules) else ())
        self.kinds = {
            (rule.containers, but): Crowds(nodes, rule.containers, but)
            for rule in self.rules
            if isinstance(rule, Lonely)
            for but in (False, True)
        }
        self.groups: dict[tuple[str, str], Groups] = {}
        everywhere = tuple(everywhere)
        self._everywhere = everywhere
        for rule in self.rules:
            if isinstance(rule, (Spread, DomainsMin, Affinity)) and (rule.label, rule.domain) not in self.groups:
                self.groups[rule.label, rule.domain] = Groups(rule.label, rule.domain, nodes, everywhere)
        self._everything: Mask = np.ones(len(nodes), bool)
        self._nothing: Mask = np.zeros(len(nodes), bool)
        self._inside: dict[tuple[str, ...], Mask] = {}

    def copy(self) -> Rulebook:
        """One to be filled by itself."""
        other = copy(self)
        other.crowds = self.crowds.copy()
        other.kinds = {key: crowds.copy() for key, crowds in self.kinds.items()}
        other.groups = {key: groups.copy() for key, groups in self.groups.items()}
        return other

    def allows(self, mover: Mover, *, passing: bool = False) -> Mask:
        """The nodes that no hard rule closes to this container, beside all that has come.

        Rules on the end of a plan say nothing of a node that it is only `passing`.
        """
        mask = self._everything
        for rule in self.hard:
            if not passing or getattr(rule, "continuous", True):
                mask = mask & ~self.closed(rule, mover)
        return mask

    def price(self, mover: Mover, hard: float = 0.0) -> Floats:
        """What the rules that it breaks on each node cost together; `hard` is what a hard one would cost."""
        price = np.zeros(len(self.nodes))
        for rule in self.rules if hard else self.soft:
            times = self._unlike(rule, mover).now if isinstance(rule, Lonely) else self._broken(rule, mover)
            price += times * (rule.weight if rule.soft else hard)
        return price

    def why_not(self, mover: Mover, index: int) -> str:
        """The hard rules that close a node to a container, in words; empty if none does."""
        closing = (rule for rule in self.hard if self.closed(rule, mover)[index])
        return "; ".join(f"rule {rule.rule}: {self._said(rule, mover, index)}" for rule in closing)

    def leave(self, movers: Iterable[Mover]) -> None:
        """These will leave where they are, and have no place yet."""
        if self.groups or self.kinds or len(self.crowds.now):
            for mover in movers:
                self._put(mover, None)

    def forget(self, mover: Mover) -> None:
        """As if it had been nowhere at first: what is told of other nodes is then about it beside all the others."""
        self.leave([mover])
        for groups in self.groups.values():
            groups.forget(mover)

    def absent(self, mover: Mover) -> None:
        """The container is on none of the nodes, as they were given."""
        for crowds in self._all_crowds():
            crowds.absent(mover)
        for groups in self.groups.values():
            groups.absent(mover)

    def place(self, mover: Mover, index: int) -> None:
        """Counts a container that comes to a node."""
        self._put(mover, index)

    def move(self, mover: Mover, source: int, target: int) -> None:
        """Counts a container that goes from one of the nodes to another."""
        self._put(mover, target)

    def closed(self, rule: Placing, mover: Mover) -> Mask:
        """Where a rule, if it is hard, does not let a container come."""
        match rule:
            case Spread():
                return self._closed_by_spread(rule, mover)
            case DomainsMin():
                return too_few(rule, self.groups[rule.label, rule.domain], mover, self.ordered)
            case Affinity():
                return self._closed_by_affinity(rule, mover)
            case Crowd():
                if rule.continuous:
                    full: Mask = (self.crowds.others(mover) if self.ordered else self.crowds.peak) >= rule.at_most
                else:
                    full = self.crowds.others(mover) >= np.maximum(rule.at_most, self.crowds.before)
                return full & self._of(rule.nodes) if rule.nodes else full
            case Lonely() if rule.continuous:
                crowds = self._unlike(rule, mover)
                unlike: Mask = (crowds.now if self.ordered else crowds.peak) > 0
                return unlike
            case Pin() if selects(rule.containers, mover.name, mover.descriptor.labels):
                return self._everything
            case _:
                return self._broken(rule, mover)

    def _closed_by_spread(self, rule: Spread, mover: Mover) -> Mask:
        groups = self.groups[rule.label, rule.domain]
        value = groups.value(mover)
        if value is None:
            return self._nothing
        if rule.continuous:
            full: Mask = (groups.others(mover, value) if self.ordered else groups.most(value)) >= rule.at_most
            full[groups.here(mover) if self.ordered else groups.code(mover.source)] = False  # inside nothing changes
        else:
            full = groups.others(mover, value) >= np.maximum(rule.at_most, groups.first(value))
        return full[groups.codes]

    def _closed_by_affinity(self, rule: Affinity, mover: Mover) -> Mask:
        groups = self.groups[rule.label, rule.domain]
        value = groups.value(mover)
        if value is None:
            return self._nothing
        first, others = groups.first(value), groups.others(mover, value)
        if rule.continuous:
            empty: Mask = first == 0
        elif int(np.count_nonzero(others)) < max(1, int(np.count_nonzero(first))):
            return self._nothing
        else:
            empty = others == 0
        return empty[groups.codes]

    def _broken(self, rule: Placing, mover: Mover) -> Mask:
        """Where a container breaks a rule once more than if it were nowhere."""
        match rule:
            case Spread() | DomainsMin() | Affinity():
                groups = self.groups[rule.label, rule.domain]
                value = groups.value(mover)
                if value is None:
                    return self._nothing
                others = groups.others(mover, value)
                if isinstance(rule, DomainsMin):
                    short = np.count_nonzero(others) < min(rule.at_least, groups.size(mover, value))
                    return (others > 0)[groups.codes] if short else self._nothing
                if isinstance(rule, Spread):
                    return (others >= rule.at_most)[groups.codes]
                return (others == 0)[groups.codes] if others.any() else self._nothing
            case Crowd():
                full = self.crowds.others(mover) >= rule.at_most
                return full & self._of(rule.nodes) if rule.nodes else full
            case Lonely():
                unlike: Mask = self._unlike(rule, mover).now > 0
                return unlike
        if not selects(rule.containers, mover.name, mover.descriptor.labels):
            return self._nothing
        match rule:
            case Pin():
                return ~self._of((mover.source.name,))
            case Ban():
                return self._of(rule.nodes)
            case _:
                return ~self._of(rule.nodes)

    def _said(self, rule: Placing, mover: Mover, index: int) -> str:
        """Why a rule closes a node to a container."""
        node = self.nodes[index]
        match rule:
            case Pin():
                return f"{rule.containers} stays where it is"
            case Ban():
                return f"{rule.containers} never on {', '.join(rule.nodes)}"
            case Fence():
                places = ", ".join(rule.nodes)
                some = any(selected(rule.nodes, other.name, other.labels) for other in self._everywhere)
                return f"{rule.containers} only on {places}{'' if some else f' (no node is {places})'}"
            case Lonely():
                return f"{rule.containers} alone, and others than this one are there or come"
            case Crowd():
                peak = rule.continuous and not self.ordered
                count = (self.crowds.peak if peak else self.crowds.others(mover))[index]
                return f"at most {rule.at_most}, {count} are there or come"
        groups = self.groups[rule.label, rule.domain]
        value = groups.value(mover) or ""
        if isinstance(rule, Spread):
            peak = rule.continuous and not self.ordered
            counts = groups.most(value) if peak else groups.others(mover, value)
            where = within(rule.domain, [groups.names[groups.code(node)]])
            there = f"{counts[groups.code(node)]} of {rule.label}={value} are {where} or come there"
            return f"at most {rule.at_most}, {there}"
        if isinstance(rule, DomainsMin):
            return f"at least {rule.at_least} of {rule.domain}, and {rule.label}={value} would be in fewer"
        counts = groups.first(value) if rule.continuous else groups.others(mover, value)
        homes = [name for name, count in zip(groups.names, counts, strict=True) if count]
        return f"others of {rule.label}={value} are {within(rule.domain, homes[:3])} or come there"

    def _all_crowds(self) -> Iterable[Crowds]:
        return (*((self.crowds,) if len(self.crowds.now) else ()), *self.kinds.values())

    def _unlike(self, rule: Lonely, mover: Mover) -> Crowds:
        """Those that the container must not be beside."""
        return self.kinds[rule.containers, self.kinds[rule.containers, False].means(mover)]

    def _put(self, mover: Mover, index: int | None) -> None:
        for crowds in self._all_crowds():
            crowds.put(mover, index)
        for groups in self.groups.values():
            groups.put(mover, None if index is None else self.nodes[index])

    def _of(self, selectors: tuple[str, ...]) -> Mask:
        """The nodes that these selectors mean."""
        if selectors not in self._inside:
            inside = [selected(selectors, node.name, node.labels) for node in self.nodes]
            self._inside[selectors] = np.array(inside, bool)
        return self._inside[selectors]
