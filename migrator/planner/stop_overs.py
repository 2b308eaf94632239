"""Stop-overs: on which nodes a container may be put aside on its way, and what that costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from migrator.model.estimate import Estimate
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.links import Crossings
from migrator.model.plan_policy import PlanPolicy
from migrator.model.predict import predict
from migrator.planner.barriers import Barriers
from migrator.planner.company import Company
from migrator.planner.ordering import Leg
from migrator.planner.placement import Mover
from migrator.planner.room import Load
from migrator.planner.rulebook import Rulebook
from migrator.planner.seats import Seats, is_seated

NODES_MAX = 16  # nodes that are looked at for one container, the roomiest first


@dataclass(frozen=True, slots=True)
class Stop:
    """A move to a stop-over and the move from there to the goal. `cost` is in bytes that cross links once more."""

    there: Leg
    on: Leg
    cost: int = 0
    more_s: float = 0.0
    used: int = 0
    room: int = 0

    @property
    def rank(self) -> tuple[int, float, int, int, str, str]:
        """Sorts stop-overs: the fewest bytes and seconds, then the node that fewest others need, then the roomiest."""
        return self.cost, self.more_s, self.used, -self.room, self.there.name, self.there.target


@dataclass
class Ground:
    """What moves are made on: the cluster, the room of its nodes before anything moves, and all that is to move.

    `closed` are nodes that nobody may be put aside on.
    """

    cluster: Cluster
    policy: PlanPolicy
    rooms: Mapping[str, Load]
    legs: Sequence[Leg]
    closed: Collection[str] = ()
    _apart: dict[str, frozenset[object]] = field(default_factory=dict, init=False)  # each ground has caches of its own
    _held: dict[str, frozenset[object]] = field(default_factory=dict, init=False)
    _open: dict[tuple[str, str, str], tuple[NodeFacts, ...]] = field(default_factory=dict, init=False)
    _rules: dict[tuple[str, str, str, str], bool] = field(default_factory=dict, init=False)

    def apart(self, mover: Mover) -> frozenset[object]:
        """What a container must not share with another on a node."""
        if mover.name not in self._apart:
            self._apart[mover.name] = self._company.apart(mover, self.policy)
        return self._apart[mover.name]

    def held(self, node: str) -> frozenset[object]:
        """The same of all that stays on a node."""
        if node not in self._held:
            stays = self._staying[node]
            movers = [Mover(c, c.descriptor, stays) for c in stays.containers if c.descriptor]
            self._held[node] = frozenset().union(*(self._company.apart(mover, self.policy) for mover in movers))
        return self._held[node]

    def stops(self, leg: Leg, made: Sequence[Stop] = ()) -> Iterator[Stop]:
        """Every stop-over of a move that machines and rules allow; room and company are not asked here.

        `made` are the stop-overs that the plan has already.
        """
        mover, goal = leg.mover, self._nodes[leg.target]
        direct = self._estimate(mover, mover.source, goal)
        for node in self._suitable(leg):
            if self._placing.rules and not self._ruled(leg, node):
                continue
            first, second = self._estimate(mover, mover.source, node), self._estimate(mover, node, goal)
            more_s = round(first.duration_s + second.duration_s - direct.duration_s, 3)
            there = replace(leg, target=node.name, way=self.policy.way(mover.source, node))
            onward = replace(mover, source=node)
            on = replace(leg, mover=onward, number=leg.number + 1, way=self.policy.way(node, goal))
            used = sum(stop.there.target == node.name for stop in made)
            yield Stop(there, on, first.bytes, more_s, used, self.rooms[node.name].limits.memory_bytes)

    def _estimate(self, mover: Mover, source: NodeFacts, target: NodeFacts) -> Estimate:
        shared = self._crossings.speeds(source.name, target.name)
        return predict(mover.container, source, target, self.policy, shared)

    def _suitable(self, leg: Leg) -> tuple[NodeFacts, ...]:
        """The nodes that machines and the predicted pauses allow, on both moves."""
        key = (leg.mover.name, leg.source, leg.target)
        if key not in self._open:
            found = list[NodeFacts]()
            for node in self._roomiest:
                if len(found) == NODES_MAX:
                    break
                if node.name in (leg.source, leg.target) or node.name == self._homes[leg.mover.name]:
                    continue
                if self._passes(leg.mover, node) and self._passes(
                    replace(leg.mover, source=node), self._staying[leg.target]
                ):
                    found.append(node)
            self._open[key] = tuple(found)
        return self._open[key]

    def _passes(self, mover: Mover, node: NodeFacts) -> bool:
        return not self._barriers.against(mover, node)

    def _ruled(self, leg: Leg, node: NodeFacts) -> bool:
        """Whether the rules that `seats` leave allow both moves, with every other container at its goal.

        None of these rules asks where others are on their way, so each pair of moves is asked once.
        """
        key = (leg.mover.name, leg.source, node.name, leg.target)
        if key not in self._rules:
            self._rules[key] = self._asked(leg, node)
        return self._rules[key]

    def _asked(self, leg: Leg, node: NodeFacts) -> bool:
        here = self._book(self.cluster.nodes, leg)
        if not here.allows(leg.mover, passing=True)[self._numbers[node.name]]:
            return False
        name = leg.mover.name
        left = tuple(
            replace(n, containers=tuple(c for c in n.containers if c.name != name)) for n in self.cluster.nodes
        )
        onward = self._book(left, leg)  # the second move waits for the first: the container has left its home
        onward.absent(leg.mover)
        return bool(onward.allows(replace(leg.mover, source=node))[self._numbers[leg.target]])

    def _book(self, nodes: Sequence[NodeFacts], leg: Leg) -> Rulebook:
        """The rules with every other container at its goal, beside who stays or leaves."""
        book = Rulebook(nodes, nodes, self._placing)
        for other in self.legs:
            if other.mover.name != leg.mover.name:
                book.place(other.mover, self._numbers[other.target])
        return book

    @cached_property
    def _company(self) -> Company:
        return Company.of(self.cluster)

    @cached_property
    def seats(self) -> Seats:
        """The rules that are asked of one move after the other."""
        return Seats(self.cluster.nodes, self.policy)

    @cached_property
    def _barriers(self) -> Barriers:
        return Barriers(self.policy, self._crossings)

    @cached_property
    def _crossings(self) -> Crossings:
        return Crossings(self.cluster.links)

    @cached_property
    def _placing(self) -> PlanPolicy:
        """The policy with the other rules."""
        return replace(self.policy, rules=tuple(rule for rule in self.policy.rules if not is_seated(rule)))

    @cached_property
    def _nodes(self) -> dict[str, NodeFacts]:
        return {node.name: node for node in self.cluster.nodes}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {node.name: number for number, node in enumerate(self.cluster.nodes)}

    @cached_property
    def _homes(self) -> dict[str, str]:
        return {leg.mover.name: leg.source for leg in self.legs}

    @cached_property
    def _staying(self) -> dict[str, NodeFacts]:
        """The nodes with what no move takes away."""
        return {
            node.name: replace(node, containers=tuple(c for c in node.containers if c.name not in self._homes))
            for node in self.cluster.nodes
        }

    @cached_property
    def _roomiest(self) -> list[NodeFacts]:
        """The nodes on which something may be put aside, those with the most free memory first."""
        usable = [n for n in self._staying.values() if n.answered and n.cordon is None and n.name not in self.closed]
        return sorted(usable, key=lambda node: (-self.rooms[node.name].limits.memory_bytes, node.name))
