"""Hard rules that count at every moment, asked of one move after the other: seats in domains and on nodes.

Theory. A continuous spread gives every failure domain so many seats for each group, a limit of containers every node
so many for all. A lonely kind and all others take seats of two kinds on a node, and none of one while there is one of
the other. A container that moves takes its seat at the latest when it comes, and gives one up when it has surely left.
So a move may start when those before it have left seats enough; in a plan it waits for them, and whoever comes later to
the same place waits for it. Where seats are enough for all that comes beside all that is there, nobody waits. What a
move leaves behind is asked too: domains enough for its group (thinning.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Crowd, Lonely, Rule, Spread, domain_of, selected, selects
from migrator.planner.thinning import Member, Thinning, is_kept

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
    return _is_seated(rule) or is_kept(rule)


def _is_seated(rule: Rule) -> bool:
    return isinstance(rule, Seated) and not rule.soft and rule.continuous


@dataclass
class Taken:
    """What is taken at one moment: seats, and by whom domains are kept."""

    seats: Counter[Seat]
    members: Counter[Member]

    def copy(self) -> Taken:
        """One to be changed by itself."""
        return Taken(self.seats.copy(), self.members.copy())


class Seats:
    """`first` is what is taken before anything moves."""

    def __init__(self, nodes: Sequence[NodeFacts], policy: PlanPolicy) -> None:
        rules = enumerate(policy.rules)
        self._rules = [(i, rule) for i, rule in rules if isinstance(rule, Seated) and _is_seated(rule)]
        self._nodes = {node.name: node for node in nodes} if self._rules else {}
        self._thinning = Thinning(nodes, policy)
        self.first = Taken(Counter[Seat](), self._thinning.first)
        for node in self._nodes.values():
            for container in node.containers:
                labels = container.descriptor.labels if container.descriptor else {}
                self.first.seats.update(seat for _, seat in self._of(container.name, labels, node))

    def __bool__(self) -> bool:
        return bool(self._rules or self._thinning)

    def free(self, taken: Taken, leg: Leg) -> bool:
        """Whether a move finds the seats that it needs, and leaves domains enough behind."""
        if any(taken.seats[seat] > most for seat, most, _ in self._asked(leg)):
            return False
        return not self._thinning.broken(taken.members, leg)

    def shift(self, taken: Taken, leg: Leg) -> None:
        """Books a move that has been made."""
        name, labels = leg.mover.name, leg.mover.descriptor.labels
        if self._rules:
            taken.seats.subtract(seat for _, seat in self._of(name, labels, self._nodes[leg.source]))
            taken.seats.update(seat for _, seat in self._of(name, labels, self._nodes[leg.target]))
        for _, here, there in self._thinning.by(leg):
            taken.members.subtract((here,))
            taken.members.update((there,))

    def lacking(self, taken: Taken, leg: Leg) -> str:
        """Why a move finds no seat, or would leave too few domains, in words; empty if neither."""
        full = dict.fromkeys(seat.rule for seat, most, _ in self._asked(leg) if taken.seats[seat] > most)
        names = [(rule.rule, "leave") for i, rule in self._rules if i in full]
        names += [("spread", "come") for _ in self._thinning.broken(taken.members, leg)]
        return "; ".join(f"rule {name}: others have to {do} first" for name, do in names)

    def queue(self, legs: Sequence[Leg]) -> dict[str, set[str]]:
        """For each move, of moves in an order in which each finds its seats, those that must have ended before it."""
        tight, found = self._tight(legs), self._thinning.queue(legs)
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
            if self.first.seats[seat] + come[seat] - itself > most
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
