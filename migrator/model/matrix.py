"""Nodes beside one another, check by check: what each has, and where containers of one could not go on on another.

Theory. A fleet has few kinds of machines, and what is told of two kinds holds for all nodes of them: so nodes are
folded to kinds before they are compared, and a large fleet is as quickly told as a small one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from migrator.model.compatibility import lacks, without_runtime
from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.sameness import CHECKS, FIRM, KERNEL_FEATURES, RUNTIME, offered


class Verdict(StrEnum):
    """Of one check: nothing is against it in the first three; the last two are against it, one without effect."""

    SAME = "same"
    DIFFERS = "differs"
    UNKNOWN = "not told"
    WAIVED = "waived"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Compared:
    """One check of two nodes: what each has, in words, and `against`, why not, with what to do. `firm`: see Check."""

    check: str
    source: str
    target: str
    verdict: Verdict
    against: tuple[str, ...] = ()
    firm: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """Nodes that are alike in all that is compared, sorted by name; the first speaks for all."""

    nodes: tuple[NodeFacts, ...]

    @property
    def first(self) -> NodeFacts:
        return self.nodes[0]

    @property
    def name(self) -> str:
        """The first node's, and how many more there are."""
        return self.first.name + (f" +{len(self.nodes) - 1}" if len(self.nodes) > 1 else "")


def kinds(nodes: Iterable[NodeFacts]) -> tuple[Kind, ...]:
    """The nodes that answered, folded: the largest kind first, and of equal ones the first by name."""
    found: dict[object, list[NodeFacts]] = {}
    for node in sorted(nodes, key=lambda node: node.name):
        if node.answered:
            found.setdefault(tuple(check.value(node) for check in CHECKS), []).append(node)
    alike = [Kind(tuple(group)) for group in found.values()]
    return tuple(sorted(alike, key=lambda kind: (-len(kind.nodes), kind.first.name)))


def compare(
    source: NodeFacts, target: NodeFacts, waived: Collection[str] = (), container: ContainerFacts | None = None
) -> tuple[Compared, ...]:
    """Every check of two nodes, for any container of the source, or for this one."""
    rows = []
    for check in CHECKS:
        against = [offered(check.name, why) for why in check.against(source, target)]
        ours, theirs, more = check.value(source), check.value(target), ""
        if check.name == RUNTIME and container is not None:
            against += without_runtime(container, target)
            more = f"; {container.name} is made by {container.runtime}"
        if check.name == KERNEL_FEATURES and container is not None:
            against += [why for why in lacks(container, target) if why not in without_runtime(container, target)]
            more = f"; {container.name} uses {', '.join(container.needs)}" if container.needs else ""
        verdict = _verdict(ours, theirs, bool(against), check.name in waived and not check.firm)
        rows.append(Compared(check.name, ours + more, theirs, verdict, tuple(against), FIRM.get(check.name, "")))
    return tuple(rows)


def _verdict(ours: str, theirs: str, against: bool, waived: bool) -> Verdict:
    if against:
        return Verdict.WAIVED if waived else Verdict.REFUSED
    if ours == theirs:
        return Verdict.SAME
    return Verdict.DIFFERS if ours and theirs else Verdict.UNKNOWN
