"""N+1: whether any one node may be lost and its containers still find room on the others.

Theory. Whether they fit is bin packing, so a proof is a packing: the containers of the lost node, largest first, each
to the node that it leaves the least room on, and if that fails to the one with the most room. What is packed so fits;
what is not might still, by an arrangement that nobody tried. Who has the fewest nodes to go to (refuges.py) goes first,
for a larger one can be elsewhere. Only limits are asked, against the whole capacity: the headroom is there for such a
day, and who may be beside whom is not asked then. A node that is cordoned or emptied is no refuge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migrator.model.facts import ContainerFacts, NodeFacts, Resources
from migrator.model.plan import Reason
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import SurviveLoss, selected
from migrator.planner.refuges import Mask, Refuges

Ints = NDArray[np.int64]
COLUMNS = {"cpu": 0, "memory": 1, "disk": 2}
NAMES_MAX = 3


@dataclass(frozen=True, slots=True)
class State:
    """Where every container is: before a plan, or after it. `refuges` take of a lost node what `may` be there."""

    held: Mapping[str, Sequence[ContainerFacts]]
    nodes: Sequence[NodeFacts]
    refuges: Sequence[NodeFacts]
    may: Refuges


def state(may: Refuges, moved: Mapping[str, str], empties: Collection[str]) -> State:
    """The nodes once the containers in `moved` are on those that it names, and `empties` are cordoned."""
    held: dict[str, list[ContainerFacts]] = defaultdict(list)
    nodes = may.nodes
    for node in nodes:
        for container in node.containers:
            held[moved.get(container.name, node.name)].append(container)
    refuges = [n for n in nodes if n.answered and n.cordon is None and n.name not in empties]
    return State(held, [n for n in nodes if n.answered], refuges, may)


def homeless(at: State, rule: SurviveLoss) -> dict[str, tuple[str, ...]]:
    """For each node whose loss is not survived: containers of it that a packing found no room for."""
    columns = [COLUMNS[name] for name in rule.resources]
    room = np.array([_row(n.capacity) for n in at.refuges], np.int64).reshape(-1, 3)
    for index, node in enumerate(at.refuges):
        for container in at.held.get(node.name, ()):
            room[index] -= _row(container.reserved)
    room = room[:, columns]
    numbers = {node.name: index for index, node in enumerate(at.refuges)}
    largest = np.array([_row(n.capacity) for n in at.refuges], float).reshape(-1, 3)[:, columns]
    per = 1 / np.maximum(largest.max(axis=0), 1) if len(largest) else np.ones(len(columns))
    rows = np.array([at.may.rows[n.name] for n in at.refuges], np.intp)
    found = {}
    for node in at.nodes:
        there = at.held.get(node.name, ())
        if there and (not rule.nodes or selected(rule.nodes, node.name, node.labels)):
            may = [mask if mask is None else mask[rows] for mask in (at.may.of(c, node.name) for c in there)]
            left = _left(there, room, may, numbers.get(node.name), columns, per)
            if left:
                found[node.name] = left
    return found


def worse(before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes whose loss was survived and no longer is, or leaves more containers without room than it did."""
    return [name for name, left in after.items() if len(left) > len(before.get(name, ()))]


class Watch:
    """The rules of this kind of a policy, and what of them did not hold before the plan."""

    def __init__(self, nodes: Sequence[NodeFacts], policy: PlanPolicy) -> None:
        self.rules = [r for r in policy.rules if isinstance(r, SurviveLoss)]
        if self.rules:
            self._may = Refuges(nodes, policy)
            now = state(self._may, {}, ())
            self.before = [homeless(now, rule) for rule in self.rules]

    def worse(self, moved: Mapping[str, str], empties: Collection[str], *, soft: bool) -> list[Reason]:
        """What a placement makes worse, by rule and node: of the soft rules too, or of the hard ones alone."""
        if not self.rules:
            return []
        after, reasons = state(self._may, moved, empties), []
        for rule, before in zip(self.rules, self.before, strict=True):
            if rule.soft and not soft:
                continue
            left = homeless(after, rule)
            reasons += [Reason(f"rule {rule.rule}: {said(name, left[name])}", name) for name in worse(before, left)]
        return reasons


def said(node: str, left: Sequence[str]) -> str:
    """What the loss of a node would do."""
    more = f" and {len(left) - NAMES_MAX} more" if len(left) > NAMES_MAX else ""
    return f"without {node} no room was found for {', '.join(left[:NAMES_MAX])}{more}"


def survival_notes(
    nodes: Sequence[NodeFacts], policy: PlanPolicy, moved: Mapping[str, str], empties: Collection[str]
) -> Iterator[str]:
    """Nodes whose loss is not survived, before the plan or after it, where that is no reason to refuse."""
    rules = [(number, rule) for number, rule in policy.numbered() if isinstance(rule, SurviveLoss)]
    may = Refuges(nodes if rules else (), policy)
    for number, rule in rules:
        before, after = homeless(state(may, {}, ()), rule), homeless(state(may, moved, empties), rule)
        texts = [said(name, left) for name, left in (after or before).items()]
        more = f"; and {len(texts) - NAMES_MAX} more" if len(texts) > NAMES_MAX else ""
        told = f"{'; '.join(texts[:NAMES_MAX])}{more}"
        if rule.soft and after:
            by = "is broken by this plan" if worse(before, after) else "is broken already and stays so"
            yield f"soft rule {number} ({rule.rule}, weight {rule.weight:g}) {by}: {told}"
        elif not rule.soft and before:
            end = "stays so" if after else "is mended by this plan"
            yield f"rule {number} ({rule.rule}) is broken already and {end}: {told}"


def _left(
    containers: Sequence[ContainerFacts],
    room: Ints,
    may: Sequence[Mask | None],
    lost: int | None,
    columns: list[int],
    per: NDArray[np.float64],
) -> tuple[str, ...]:
    """The containers that the better of two packings leaves without room. `may`: where each may be, None anywhere."""
    needs = np.array([_row(c.reserved) for c in containers], np.int64)[:, columns]
    sizes = (needs * per).max(axis=1)
    choices = [_choices(mask, len(room), lost) for mask in may]
    order = sorted(range(len(containers)), key=lambda i: (choices[i], -sizes[i], containers[i].name))
    best: list[int] | None = None
    for most in (False, True):
        free, left = room.copy(), []
        if lost is not None:
            free[lost] = -1
        for i in order:
            rest, mask = free - needs[i], may[i]
            fits = np.flatnonzero((rest >= 0).all(axis=1) if mask is None else (rest >= 0).all(axis=1) & mask)
            if not len(fits):
                left.append(i)
                continue
            share = np.round((rest[fits] * per).max(axis=1), 12)
            at = int(fits[np.argmax(share) if most else np.argmin(share)])
            free[at] = rest[at]
        if not left:
            return ()
        if best is None or len(left) < len(best):
            best = left
    return tuple(containers[i].name for i in best or ())


def _choices(mask: Mask | None, count: int, lost: int | None) -> int:
    """How many of the refuges but the lost node a container may be on."""
    if mask is None:
        return count - (lost is not None)
    return int(np.count_nonzero(mask)) - (lost is not None and bool(mask[lost]))


def _row(amount: Resources) -> list[int]:
    return [amount.cpu_milli, amount.memory_bytes, amount.disk_bytes]
