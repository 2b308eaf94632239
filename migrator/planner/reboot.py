"""Reboot nodes: the fewest groups that can be down together; reboot_turns.py plans the drain and return of each.

Theory. A group can be down if all its containers find places on the rest, as a drain would place them; what can be
down together can be with any of it left out, so a group is grown by halving: the longest row of nodes that fits. The
nodes are first dealt out evenly over as many groups as are needed at least (reboot_bound.py); each group keeps what
fits, the others are offered what is left, and what no group takes makes new groups. If that is more than the least,
dealing over more groups, or over one (largest group first), may need fewer. How often is tried is bounded by
the number of containers placed, so the same facts give the same groups on every machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial

from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Way
from migrator.model.reboot import Reboot, RefusedNode
from migrator.model.rules import SurviveLoss, Window
from migrator.model.units import counted
from migrator.planner.arrays import MEMORY_COLUMNS, Targets, row
from migrator.planner.construct import construct_on
from migrator.planner.drain import drain, sorted_out
from migrator.planner.ordering import Leg, stranded
from migrator.planner.placement import Mover
from migrator.planner.reboot_bound import groups_by_exclusion, groups_by_room, groups_by_size
from migrator.planner.reboot_turns import Turns, away, in_turn
from migrator.planner.remedies import helped
from migrator.planner.room import room_of, stay_of
from migrator.planner.way_notes import way_notes

STUCK_MAX = 8  # a try that leaves more without a place is no group
CLOSELY_PAIRS_MAX = 400  # containers times nodes, up to which every arrangement is asked for
PLACED_MAX = 60_000  # containers placed in all tries, above which nothing but a first answer is looked for
MISSES_MAX = 24  # nodes that did not fit, after which a group is offered no more
ELSEWHERE_MAX = 5  # containers that do not come back, by name
EXPLAINED_MAX = 3  # refused nodes that are told every reason

Names = tuple[str, ...]


def reboot(cluster: Cluster, nodes: Collection[str], snapshot: str, policy: PlanPolicy, what: str) -> Reboot:
    """Groups for all of the nodes that can be emptied; the others with the reasons of their drain.

    `snapshot` is the digest of the cluster's facts, `what` names the nodes as asked for. Raises KeyError for a node
    that the cluster does not have.
    """
    fleet = _Fleet(cluster, sorted(set(nodes)), policy)
    refused = tuple(_helped(fleet, list(_refused(fleet))))
    out = {one.node for one in refused}
    names = tuple(name for name in fleet.asked if name not in out)
    least = fleet.groups_min(names)
    found = _fewest(fleet, names, least)
    turns = in_turn(cluster, found, snapshot, policy)
    refused += turns.refused
    if turns.refused:  # who cannot be emptied in its turn is in no group, and asks for none
        out = {one.node for one in refused}
        least = fleet.groups_min(tuple(name for name in names if name not in out))
    count = len(turns.drains)
    intents = [f"reboot {what}, group {number} of {count}" for number in range(1, count + 1)]
    drains = zip(turns.drains, intents, strict=True)
    returns = zip(turns.returns, intents, strict=True)
    moves = [move for plan in (*turns.drains, *turns.returns) for move in plan.moves]
    pairs = ((cluster.node(m.source), cluster.node(m.target)) for m in moves)
    return Reboot(
        intent=f"reboot {what}",
        cluster=cluster.name,
        snapshot=snapshot,
        groups=tuple(
            replace(p, intent=intent, notes=(*p.notes, *_cordoned_before(cluster, p.empties))) for p, intent in drains
        ),
        returns=tuple(replace(plan, intent=f"return {intent}") for plan, intent in returns),
        groups_min=least,
        refused=refused,
        notes=(*_elsewhere(cluster, turns), *way_notes(pairs, policy)),
        policy=policy,
    )


def _elsewhere(cluster: Cluster, turns: Turns) -> Iterator[str]:
    """Those that are on another node when all is done: counted, for each return has told why."""
    names = [f"{name} (on {node})" for name, node in away(cluster, turns.end)]
    if names:
        more = f" and {len(names) - ELSEWHERE_MAX} more" if len(names) > ELSEWHERE_MAX else ""
        told = ", ".join(names[:ELSEWHERE_MAX])
        yield f"{counted(len(names), 'container')} cannot come back and will be elsewhere in the end: {told}{more}"


def _cordoned_before(cluster: Cluster, group: Names) -> Iterator[str]:
    """Nodes that nothing can come back to, because somebody wanted it so before."""
    for name in group:
        node = cluster.node(name)
        if node.cordon is not None and node.containers:
            yield f"{name} is cordoned already (by {node.cordon}); to bring back what it held: migrator uncordon {name}"


def _fewest(fleet: _Fleet, names: Names, least: int) -> list[Names]:
    """The best of a few dealings; the first answer is there whatever it takes."""
    if not names:
        return []
    best = _dealt(fleet, names, least)
    for count in (1, *range(least + 1, len(names))):
        if len(best) <= max(count, least) or fleet.placed > PLACED_MAX:
            break
        best = min(best, _dealt(fleet, names, count), key=len)
    return sorted(best, key=lambda group: (-len(group), group))


def _dealt(fleet: _Fleet, names: Names, count: int) -> list[Names]:
    """Groups, made from so many that are dealt out evenly."""
    groups, left = list[Names](), list[str]()
    for hand in fleet.deal(names, count):
        group, rest = _grow(fleet, (), hand)
        groups.append(group)
        left += rest
    for place, group in enumerate(groups):
        groups[place], left = _grow(fleet, group, fleet.by_cost(left))
    while left:
        group, left = _grow(fleet, (), fleet.by_cost(left))
        groups.append(group)
    return [group for group in groups if group]


def _grow(fleet: _Fleet, group: Names, offered: Sequence[str]) -> tuple[Names, list[str]]:
    """The group with what of the offered nodes fits beside it, in their order, and those that are left."""
    left, misses = list[str](), 0
    while offered:
        count = _longest(fleet, group, offered)
        if not count and not group:
            count = 1  # it can be emptied on its own: that was asked first
        group = (*group, *offered[:count])
        left += offered[count : count + 1]
        offered = offered[count + 1 :]
        misses += 1
        if misses > (MISSES_MAX if fleet.placed <= PLACED_MAX else 0):
            break
    return tuple(sorted(group)), [*left, *offered]


def _longest(fleet: _Fleet, group: Names, offered: Sequence[str]) -> int:
    """How many of the first of the offered nodes fit beside the group: found by halving."""
    if fleet.can_empty((*group, *offered)):
        return len(offered)
    fits, fails = 0, len(offered)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if fleet.can_empty((*group, *offered[:middle])):
            fits = middle
        else:
            fails = middle
    return fits


class _Fleet:
    """What is asked of the cluster again and again, made ready once; `placed` counts the containers tried."""

    def __init__(self, cluster: Cluster, asked: Sequence[str], policy: PlanPolicy) -> None:
        nodes = {node.name: node for node in cluster.nodes}
        self.cluster, self.policy, self.asked = cluster, policy, asked
        self.silent = {name for name in asked if not nodes[name].answered}
        leaving = [nodes[name] for name in asked if name not in self.silent]
        movers, _, stuck = sorted_out(cluster, leaving, policy)
        self.unmovable: dict[str, list[Stuck]] = defaultdict(list)
        for one in stuck:
            self.unmovable[one.node].append(one)
        self.movers: dict[str, list[Mover]] = defaultdict(list)
        for mover in movers:
            self.movers[mover.source.name].append(mover)
        open_nodes = [node for node in cluster.nodes if node.answered and node.cordon is None]
        self.targets = Targets(open_nodes, policy, cluster)
        self.at = {node.name: index for index, node in enumerate(open_nodes)}
        self.rooms = {name: room_of(node, policy) for name, node in nodes.items()}
        room = self.targets.room.copy()
        room[:, MEMORY_COLUMNS] -= min(
            (min(self.targets.in_transit(mover).tolist(), default=0) for mover in movers), default=0
        )  # of who comes last
        self.room: list[list[int]] = room.clip(min=0).tolist()
        self.total = [sum(column) for column in zip(*self.room, strict=True)] or [0] * 5
        self.own = {name: self.room[self.at[name]] if name in self.at else [0] * 5 for name in asked}
        self.held = {name: [row(stay_of(mover.container)) for mover in self.movers[name]] for name in asked}
        # what a node takes of the room of all when it is down: what it holds, and its own room
        self.costs = {
            name: [sum(column) for column in zip(self.own[name], *self.held[name], strict=True)] for name in asked
        }
        self.placed = 0
        self.asks_the_drain = any(isinstance(r, (SurviveLoss, Window)) and not r.soft for r in policy.rules)
        self._known: dict[frozenset[str], bool] = {}

    def groups_min(self, names: Names) -> int:
        """So many groups are needed at least, by whatever tells the most."""
        return max(
            groups_by_room([self.costs[name] for name in names], self.total),
            groups_by_size([self.held[name] for name in names], [self.own[name] for name in names], self.room),
            groups_by_exclusion(self.targets.nodes, names, self.policy),
        )

    def by_cost(self, names: Collection[str]) -> list[str]:
        """The nodes with the most to move first; those that hold nothing come last, and go where they fit."""
        return sorted(names, key=lambda name: (not self.movers[name], -self._share(name), name))

    def deal(self, names: Names, count: int) -> list[list[str]]:
        """So many hands, each node to the one that costs least so far."""
        hands: list[list[str]] = [[] for _ in range(count)]
        shares = [0.0] * count
        for name in self.by_cost(names):
            least = shares.index(min(shares))
            hands[least].append(name)
            shares[least] += self._share(name)
        return hands

    def _share(self, name: str) -> float:
        return max((cost / whole for cost, whole in zip(self.costs[name], self.total, strict=True) if whole), default=0)

    def can_empty(self, names: Names) -> bool:
        """Whether a drain of these nodes together has a plan; said of few pairs and of single nodes for certain."""
        key = frozenset(names)
        if key not in self._known:
            self.placed += sum(len(self.movers[name]) for name in names)
            places = self._places(names)
            if self.asks_the_drain:
                places = places and self._drains(names)
            self._known[key] = places or (self._is_small(names) and self._drains(names))
        return self._known[key]

    def _places(self, names: Names) -> bool:
        """Whether the quick construction finds a place for all that is on the nodes."""
        needs = zip(*(self.costs[name] for name in names), strict=True)
        if any(sum(need) > whole for need, whole in zip(needs, self.total, strict=True)):
            return False
        movers = [mover for name in names for mover in self.movers[name]]
        closed = self.targets.closing([self.at[name] for name in names if name in self.at])
        return not construct_on(movers, closed, STUCK_MAX).stuck

    def _is_small(self, names: Names) -> bool:
        return sum(len(self.movers[name]) for name in names) * len(self.at) <= CLOSELY_PAIRS_MAX

    def _drains(self, names: Names) -> bool:
        return isinstance(drain(self.cluster, names, "", self.policy), Plan)

    def empties_alone(self, name: str) -> bool:
        """Whether a drain of the node with all others up surely has a plan."""
        if self.asks_the_drain:
            return False
        sound = name not in self.silent and name not in self.unmovable
        return sound and not self.without_room(name, "images") and self._places((name,))

    def homeless(self, name: str) -> list[str]:
        """Containers of the node that find no place on any other, even if nothing else comes there."""
        closed = self.targets.closing([self.at[name]] if name in self.at else [])
        closed.rules.leave(self.movers[name])
        return [mover.name for mover in self.movers[name] if not closed.fitting(mover).any()]

    def without_room(self, name: str, wanted: Way) -> list[str]:
        """Containers of the node that it has no room to send, even when all that can leave has left.

        `wanted` is the way that is counted with where their memory may go either way.
        """
        movers = self.movers[name]
        ways = {self.policy.way(mover.source, node) for mover in movers[:1] for node in self.targets.nodes}
        way = wanted if wanted in ways or not ways else next(iter(ways))
        return [leg.name for leg in stranded([Leg(mover, "", way) for mover in movers], self.rooms[name])]


def _refused(fleet: _Fleet) -> Iterator[RefusedNode]:
    """The nodes that cannot be emptied on their own. Of many the first are told all, the others the least."""
    told = 0
    for name in fleet.asked:
        if fleet.empties_alone(name):
            continue
        known = _refused_briefly(fleet, name) if told >= EXPLAINED_MAX and name not in fleet.silent else None
        made = known or drain(fleet.cluster, [name], "", fleet.policy)
        if isinstance(made, Refusal):
            told += name not in fleet.silent
            yield RefusedNode(name, made)


def _helped(fleet: _Fleet, refused: Sequence[RefusedNode]) -> Iterator[RefusedNode]:
    """The same, the first with the changes that would let them be emptied."""
    for place, one in enumerate(refused):
        if place >= EXPLAINED_MAX:
            yield one
            continue
        again = partial(_again, one.node)
        made = helped(one.refusal, fleet.cluster, fleet.policy, again)
        yield replace(one, refusal=made) if isinstance(made, Refusal) else one


def _again(name: str, cluster: Cluster, policy: PlanPolicy) -> Plan | Refusal:
    return drain(cluster, [name], "", policy)


def _refused_briefly(fleet: _Fleet, name: str) -> Refusal | None:
    """Why the node cannot be emptied, without the reason of every other node; `None` if only a drain can tell."""
    intent = f"drain {name}"
    if name in fleet.unmovable:
        return Refusal(intent, tuple(fleet.unmovable[name]))
    for why, names in (
        ("no node can take", fleet.homeless(name)),
        ("it has no room to send", fleet.without_room(name, "stream")),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            text = f"{why} {', '.join(names[:3])}{more}; for the reasons: migrator plan drain {name}"
            return Refusal(intent, reasons=(Reason(text, name),))
    return None
