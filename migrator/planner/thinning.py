"""Hard rules of at least so many domains at every moment, asked of one move after the other: who would leave too few?

Theory. Whoever moves is in either of two domains meanwhile, so the moments that count are those before and after each
move. Where all moves of a group may be under way at one time (spans.py) nobody waits; else they go one after the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from migrator.model.container import Descriptor
from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import DomainsMin, Rule, domain_of
from migrator.planner.spans import Way, fewest

if TYPE_CHECKING:
    from migrator.planner.ordering import Leg


class Member(NamedTuple):
    """What is counted: one of a group, in one domain, for the rule of that number."""

    rule: int
    value: str
    domain: str


def is_kept(rule: Rule) -> bool:
    """Whether a rule is one of those that are asked here."""
    return isinstance(rule, DomainsMin) and not rule.soft and rule.continuous


class Thinning:
    """`first` are the members of all groups, each in its domain, before anything moves."""

    def __init__(self, nodes: Sequence[NodeFacts], policy: PlanPolicy) -> None:
        rules = enumerate(policy.rules)
        self._rules = [(i, rule) for i, rule in rules if isinstance(rule, DomainsMin) and is_kept(rule)]
        self._nodes = {node.name: node for node in nodes} if self._rules else {}
        self.first = Counter(
            member
            for node in self._nodes.values()
            for container in node.containers
            for _, member in self.of(container.descriptor, node)
        )
        self._domains = Counter((member.rule, member.value) for member in self.first)  # how many each group is in

    def __bool__(self) -> bool:
        return bool(self._rules)

    def of(self, descriptor: Descriptor | None, node: NodeFacts) -> Iterator[tuple[DomainsMin, Member]]:
        """What a container counts as on a node."""
        for i, rule in self._rules if descriptor else ():
            if descriptor and rule.label in descriptor.labels:
                domain = domain_of(node.labels, node.name, rule.domain)
                yield rule, Member(i, descriptor.labels[rule.label], domain)

    def by(self, leg: Leg) -> Iterator[tuple[DomainsMin, Member, Member]]:
        """What a move changes: of which member it makes which."""
        for (rule, here), (_, there) in zip(
            self.of(leg.mover.descriptor, self._nodes[leg.source]) if self else (),
            self.of(leg.mover.descriptor, self._nodes[leg.target]) if self else (),
            strict=True,
        ):
            if here != there:
                yield rule, here, there

    def broken(self, taken: Counter[Member], leg: Leg) -> list[int]:
        """The rules whose group would be in too few domains after a move."""
        found = []
        for rule, here, there in self.by(leg):
            if taken[here] == 1 and taken[there] > 0:  # else it is in as many as before
                held = sum(count > 0 for member, count in taken.items() if member[:2] == here[:2])
                if held - 1 < self._wanted(rule, here):
                    found.append(here.rule)
        return found

    def queue(self, legs: Sequence[Leg]) -> dict[str, set[str]]:
        """For each move of a group that could be in too few domains if all were under way, the move before it.

        The moves are given in an order in which none is `broken`.
        """
        groups: dict[tuple[int, str], list[tuple[DomainsMin, Leg, Member, Member]]] = defaultdict(list)
        for leg in legs:
            for rule, here, there in self.by(leg):
                groups[here.rule, here.value].append((rule, leg, here, there))
        found: dict[str, set[str]] = defaultdict(set)
        for moves in groups.values():
            if self._may_thin(moves):
                for (_, before, *_), (_, leg, *_) in pairwise(moves):
                    found[leg.name].add(before.name)
        return found

    def _may_thin(self, moves: Sequence[tuple[DomainsMin, Leg, Member, Member]]) -> bool:
        """Whether the moves of a group, each under way or not, could leave it in too few domains."""
        rule, _, member, _ = moves[0]
        if len({leg.mover.name for _, leg, *_ in moves}) < len(moves):
            return True  # some go by a stop-over, and may be in any of three
        stay = Counter({m.domain: n for m, n in self.first.items() if m[:2] == member[:2]})
        stay.subtract(here.domain for *_, here, _ in moves)
        domains = dict.fromkeys((*stay, *(there.domain for *_, there in moves)))
        number = {domain: code for code, domain in enumerate(domains)}
        held = frozenset(number[domain] for domain, count in stay.items() if count > 0)
        ways: list[Way] = [(number[here.domain], number[there.domain]) for *_, here, there in moves]
        wanted = self._wanted(rule, member)
        return fewest(held, ways, wanted) < wanted

    def _wanted(self, rule: DomainsMin, member: Member) -> int:
        """In how many domains its group is to stay: in no more than it is at first."""
        return min(rule.at_least, self._domains[member.rule, member.value])
