"""N+1 by the checker's own packing: is there room for what any one node holds, if it is lost?

The proof that is asked for is the one that docs/plan-format.md describes, so that planner and checker call the same
plans safe: who may be on the fewest nodes first, of these the largest container, each to the node that it leaves least
room on; or else the one with most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from migrator.checker.findings import Code, Finding
from migrator.checker.pairs import machine_looks, suits
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Fence, Pin, SurviveLoss, selected, selects

Held = Mapping[str, Sequence[ContainerFacts]]
Amounts = NDArray[np.int64]
Flags = NDArray[np.bool_]


def survival_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Nodes whose loss would leave containers without room after the plan: more of them than before it."""
    for number, rule in policy.numbered():
        if not isinstance(rule, SurviveLoss):
            continue
        after, before = _held(cluster, plan), _held(cluster, None)
        emptied = set(plan.empties)
        there = [n for n in cluster.nodes if not n.error and n.cordon is None]
        kept = [n for n in there if n.name not in emptied]
        now = _Packing(there, before, rule, _Allowed(there, policy))
        then = _Packing(kept, after, rule, _Allowed(kept, policy))
        for node in cluster.nodes:
            if node.error or (rule.nodes and not selected(rule.nodes, node.name, node.labels)):
                continue
            left = then.left_without(node)
            if not left or len(left) <= len(now.left_without(node)):
                continue
            text = f"if {node.name} is lost at the end, {', '.join(left[:3])} of it fit nowhere"
            if not rule.soft:
                yield Finding(Code.NOT_SURVIVED, text, node=node.name)
            elif not any(note.startswith(f"soft rule {number} ") for note in plan.notes):
                yield Finding(Code.SOFT_UNSAID, f"{text}, and the plan does not say so", node=node.name)
                break


def _held(cluster: Cluster, plan: Plan | None) -> Held:
    """What each node holds, before the plan if none is given, else after it."""
    ways = plan.ways() if plan is not None else {}
    targets = {(way[0].source, name): way[-1].target for name, way in ways.items()}
    held: dict[str, list[ContainerFacts]] = {node.name: [] for node in cluster.nodes}
    for node in cluster.nodes:
        for container in node.containers:
            held[targets.get((node.name, container.name), node.name)].append(container)
    return held


class _Allowed:
    """On which of these nodes a container of a lost one may be begun again, asked once for all that are alike."""

    def __init__(self, nodes: Sequence[NodeFacts], policy: PlanPolicy) -> None:
        self.nodes, self.names = nodes, np.array([node.name for node in nodes])
        self.policy = policy
        self.rules = [rule for rule in policy.rules if isinstance(rule, (Ban, Fence, Pin)) and not rule.soft]
        self.looks: dict[str, object] = {}
        self.found: dict[object, Flags] = {}

    def after(self, lost: NodeFacts, container: ContainerFacts) -> Flags:
        """For each of the nodes, whether it may be there; the lost one is out."""
        looks = self.looks.get(lost.name) or self.looks.setdefault(lost.name, machine_looks(lost))
        mine = container.descriptor
        rules = [r for r in self.rules if selects(r.containers, container.name, mine.labels if mine else {})]
        of_files = (mine.volumes, mine.devices, mine.nics) if mine else None
        alike = (looks, container.needs, container.runtime, of_files, tuple(map(id, rules)))
        if alike not in self.found:
            may = [_keep(rules, node) and suits(lost, container, node, self.policy) for node in self.nodes]
            self.found[alike] = np.array(may, bool)
        flags: Flags = self.found[alike] & (self.names != lost.name)
        return flags


def _keep(rules: Sequence[Ban | Fence | Pin], node: NodeFacts) -> bool:
    """Whether these rules, which mean a container that is to be begun anew, let it be on the node."""
    for rule in rules:
        if isinstance(rule, Pin) or selected(rule.nodes, node.name, node.labels) != isinstance(rule, Fence):
            return False
    return True


class _Packing:
    """The nodes that may take what a lost one held, a row each, and what they have left of each resource."""

    def __init__(self, nodes: Sequence[NodeFacts], held: Held, rule: SurviveLoss, allowed: _Allowed) -> None:
        self.held, self.resources, self.allowed = held, rule.resources, allowed
        whole = np.array([self._amount(node.capacity) for node in nodes], np.int64)
        whole = whole.reshape(len(nodes), len(rule.resources))
        used = [sum((self._amount(c.reserved) for c in held[node.name]), self._amount(Resources())) for node in nodes]
        self.free = whole - np.array(used, np.int64).reshape(whole.shape)
        self.scale = 1 / whole.max(axis=0, initial=1)

    def left_without(self, lost: NodeFacts) -> list[str]:
        """Containers of this node that find no room, by the packing that leaves fewer."""
        needs = {c.name: self._amount(c.reserved) for c in self.held[lost.name]}
        may = {c.name: self.allowed.after(lost, c) for c in self.held[lost.name]}

        def turn(name: str) -> tuple[int, float, str]:
            return int(may[name].sum()), -(needs[name] * self.scale).max(), name

        leaving = sorted(needs, key=turn)
        tight = self._packed(leaving, needs, may, sign=1)
        if not tight:
            return []
        return min(tight, self._packed(leaving, needs, may, sign=-1), key=len)

    def _packed(
        self, leaving: Sequence[str], needs: Mapping[str, Amounts], may: Mapping[str, Flags], sign: int
    ) -> list[str]:
        """Those left over if each goes where least room is left (sign 1) or most (-1), the first by name if equal."""
        free, left = self.free.copy(), []
        for name in leaving:
            after = free - needs[name]
            shares = np.round((after * self.scale).max(axis=1, initial=-np.inf), 12) * sign
            shares[~may[name] | (after < 0).any(axis=1)] = np.inf
            if not len(shares) or np.isinf(shares.min()):
                left.append(name)
            else:
                free[shares.argmin()] -= needs[name]
        return left

    def _amount(self, amount: Resources) -> Amounts:
        known = {"cpu": amount.cpu_milli, "memory": amount.memory_bytes, "disk": amount.disk_bytes}
        return np.array([known[name] for name in self.resources], np.int64)
