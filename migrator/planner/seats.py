"""Hard rules that count at every moment, asked of one move after the other: seats in domains and on nodes.

Theory. A continuous spread gives every failure domain so many seats for each group, a limit of containers every node
so many for all. A lonely kind and all others take seats of two kinds on a node, and none of one while there is one of
the other. A container that moves takes its seat at the latest when it comes, and gives one up when it has surely left.
So a move may start when those before it have left seats enough; in a plan it waits for them, and whoever comes later to
the same place waits for it. Where seats are enough for all that comes beside all that is there, nobody waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Crowd, Lonely, Rule, Spread, domain_of, selected, selects

if TYPE_CHECKING:
    from migrator.planner.ordering import Leg

Seated = Spread | Crowd | Lonely
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seat:
    """What a container takes at one place: a group's domain or a node, and of a lonely kind on which side it is."""

    rule: int
    place: tuple[str, ...]
    meant: bool = True


def is_seated(rule: Rule) -> bool:
    """Whether a rule is one of those that are asked here."""
    return isinstance(rule, Seated) and not rule.soft and rule.continuous


class Seats:
    """`first` are the seats that are taken before anything moves."""

    def __init__(self, nodes: Sequence[NodeFacts], policy: PlanPolicy) -> None:
        self._rules = [(i, rule) for i, rule in enumerate(policy.rules) if isinstance(rule, Seated) and is_seated(rule)]
        self._nodes = {node.name: node for node in nodes} if self._rules else {}
        self.first = Counter[Seat]()
        for node in self._nodes.values():
            for container in node.containers:
                labels = container.descriptor.labels if container.descriptor else {}
                self.first.update(seat for _, seat in self._of(container.name, labels, node))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def free(self, taken: Counter[Seat], leg: Leg) -> bool:
        """Whether a move finds the seats that it needs."""
        return all(taken[seat] <= most for seat, most, _ in self._asked(leg))

    def shift(self, taken: Counter[Seat], leg: Leg) -> None:
        """Books a move that has been made."""
        name, labels = leg.mover.name, leg.mover.descriptor.labels
        taken.subtract(seat for _, seat in self._of(name, labels, self._nodes[leg.source]))
        taken.update(seat for _, seat in self._of(name, labels, self._nodes[leg.target]))

    def lacking(self, taken: Counter[Seat], leg: Leg) -> str:
        """Why a move finds no seat, in words; empty if it does."""
        full = dict.fromkeys(seat.rule for seat, most, _ in self._asked(leg) if taken[seat] > most)
        names = [rule.rule for i, rule in self._rules if i in full]
        return "; ".join(f"rule {name}: others have to leave first" for name in names)

    def queue(self, legs: Sequence[Leg]) -> dict[str, set[str]]:
        """For each move, of moves in an order in which each finds its seats, those that must have ended before it."""
        tight, found = self._tight(legs), dict[str, set[str]]()
        last: dict[tuple[int, tuple[str, ...]], str] = {}
        left: dict[tuple[int, tuple[str, ...]], set[str]] = {}
        for leg in legs if tight else ():
            name, labels = leg.mover.name, leg.mover.descriptor.labels
            here, there = ({s for _, s in self._of(name, labels, self._nodes[n])} for n in (leg.source, leg.target))
            for at in sorted({(seat.rule, seat.place) for seat in there - here} & tight):
                found.setdefault(leg.name, set()).update(left.pop(at, ()), {last[at]} if at in last else ())
                last[at] = leg.name
            for at in {(seat.rule, seat.place) for seat in here - there} & tight:
                left.setdefault(at, set()).add(leg.name)
        return found

    def _tight(self, legs: Sequence[Leg]) -> set[tuple[int, tuple[str, ...]]]:
        """The places that have no seats for all that comes while nobody has left."""
        if not self._rules:
            return set()
        come = Counter[Seat]()
        for leg in legs:
            labels = leg.mover.descriptor.labels
            here = {seat for _, seat in self._of(leg.mover.name, labels, self._nodes[leg.source])}
            come.update(
                seat for _, seat in self._of(leg.mover.name, labels, self._nodes[leg.target]) if seat not in here
            )
        return {
            (seat.rule, seat.place)
            for leg in legs
            for seat, most, itself in self._asked(leg)
            if self.first[seat] + come[seat] - itself > most
        }

    def _asked(self, leg: Leg) -> Iterator[tuple[Seat, int, int]]:
        """The seats that a move needs, with how many such may be taken at most before it, and how many it takes."""
        name, labels = leg.mover.name, leg.mover.descriptor.labels
        if not self._rules:
            return
        here = {seat for _, seat in self._of(name, labels, self._nodes[leg.source])}
        for rule, seat in self._of(name, labels, self._nodes[leg.target]):
            if seat in here:
                continue
            if isinstance(rule, Lonely):
                yield Seat(seat.rule, seat.place, not seat.meant), 0, 0
            else:
                yield seat, rule.at_most - 1, 1

    def _of(self, name: str, labels: Labels, node: NodeFacts) -> Iterator[tuple[Seated, Seat]]:
        """The seats that a container takes on a node."""
        for i, rule in self._rules:
            match rule:
                case Spread() if rule.label in labels:
                    yield rule, Seat(i, (labels[rule.label], domain_of(node.labels, node.name, rule.domain)))
                case Crowd() if not rule.nodes or selected(rule.nodes, node.name, node.labels):
                    yield rule, Seat(i, (node.name,))
                case Lonely():
                    yield rule, Seat(i, (node.name,), selects(rule.containers, name, labels))
