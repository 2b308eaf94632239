"""Local search for an even fleet: one container after the other goes where that is worth most.

Theory. A move is worth its gain in the score less its price, both in shares of a node (score.py). The price is fixed
by what the container is: bytes that cross the link and the pause they cause, in seconds. Every container is first
given a bound, its best gain if all nodes had room; they are taken up by that bound, looked at closely, and moved if
no other's bound is much better: so each look costs one row of arrays, and all pairs are computed once a round. The
search ends with a round in which nothing is worth the least gain. Then no single move is: a search from the end state
finds nothing.

Price and least gain together are a container's toll. It is paid with its first move, and paid back when it goes home;
in between it may be moved on for any gain. So what falls with every step is the score with the tolls of all that are
away, and in the end no move stands that is not worth its toll. A container that is beside
another of its group, against the rules, gains by any move, since none leads to such a place; and so does one that
breaks another rule where it is, less what soft rules it breaks where it goes. When no move helps,
exchanges of two containers are tried (swaps.py), which have to earn twice as much.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from migrator.model.estimate import estimate_move
from migrator.model.facts import Cluster, Link, NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.arrays import Floats, Ints, Mask, Targets
from migrator.planner.movers import Group, company, groups_of
from migrator.planner.placement import Mover
from migrator.planner.priorities import priority
from migrator.planner.score import DIGITS, RESOURCES, Change, Spread, amounts
from migrator.planner.swaps import Wanted, exchanges

CHUNK = 128  # containers at once: so that a table of them and all nodes stays in the cache
HASTE = 0.75  # a container is moved if it gains this part of the best bound of the others
LEAST = 1e-3  # shares of a node that each step has to be worth after its tolls, so that the search comes to an end
PRICE_PER_S = 5e-5  # shares of a node that a second of moving is worth
PAUSE_WEIGHT = 4  # a second of pause costs as much as so many of moving
LEAST = 1e-3
MENDED = 100.0  # shares of a node that it is worth to take a container from another of its group


@dataclass(frozen=True, slots=True)
class Terms:
    """When the search ends, and what a move must earn: `min_gain` in shares of a node, after its price.

    With `once` a container that was moved stays there. `stop` is asked before each step. `held` stay where they are.
    """

    iterations: int
    min_gain: float
    stop: Callable[[], bool] = lambda: False
    once: bool = False
    held: frozenset[str] = frozenset()


class Balance:
    """A fleet under search. `at` is the number of the node each mover is on, `homes` of the one it came from."""

    def __init__(
        self,
        movers: Sequence[Mover],
        nodes: Sequence[NodeFacts],
        policy: PlanPolicy,
        cluster: Cluster | None = None,
    ) -> None:
        numbers = {node.name: number for number, node in enumerate(nodes)}
        self.movers, self.nodes, self.policy = movers, nodes, policy
        self.spread = Spread(nodes, policy.weights)
        self.targets = Targets(nodes, policy, cluster, ordered=True)
        self.homes: Ints = np.array([numbers[mover.source.name] for mover in movers], np.int64)
        self.at: Ints = self.homes.copy()
        self.amount: Ints = np.array([amounts(m.container) for m in movers], np.int64).reshape(-1, len(RESOURCES))
        self.price: Floats = np.array(
            [price(mover, self.targets) * priority(mover, policy.rules) for mover in movers], float
        )
        self.toll: Floats = self.price
        self.held: Mask = np.zeros(len(movers), bool)
        self.groups = [tuple(groups_of(mover.descriptor, policy)) for mover in movers]
        self.at_first = company(nodes, policy, {})
        self.together = self.at_first.copy()
        self.members: dict[Group, list[int]] = defaultdict(list)
        self.crowded: Floats = np.zeros(len(movers))  # in how many groups each is beside another
        for i in range(len(movers)):
            self.crowded[i] = self._crowded(i)
            for group in self.groups[i]:
                self.members[group].append(i)
        self.ruled = bool(self.targets.rules.rules)
        self.wrong: Floats = np.zeros(
            len(movers)
        )  # what the rules that each breaks where it is cost, as last looked at
        self.moved: dict[int, None] = {}  # in the order in which they first moved
        self.touched: set[int] = set()  # nodes that something has left or come to
        self.iterations = 0
        self.ended = False  # whether nothing more is worth it

    def run(self, terms: Terms) -> None:
        """Moves containers until nothing is worth it or the terms end it; then none is away that is not worth it."""
        self._agree(terms)
        while not self.ended:
            before = self.iterations
            if not self._round(terms):
                break
            if self.iterations == before:
                if not self._swaps(terms):
                    break
                self.ended = self.iterations == before
        if not (self.ended or terms.once):
            self.take_back()

    def resume(self, moves: Iterable[tuple[str, str]], terms: Terms, iterations: int) -> None:
        """Goes on from where these moves (container and target, in an order that fits) have led."""
        movers = {mover.name: i for i, mover in enumerate(self.movers)}
        numbers = {node.name: number for number, node in enumerate(self.nodes)}
        for name, target in moves:
            self._move(movers[name], numbers[target])
        self.iterations = iterations
        self.run(terms)

    def stopped(self, terms: Terms) -> bool:
        """Whether the terms end the search here."""
        return self.iterations >= terms.iterations or terms.stop()

    def take_back(self) -> None:
        """Sends home what is not worth its toll, the least worth first: what a search that ended early leaves."""
        while worth := [(-gain, i) for i in self.moved if (gain := self._home_worth(i)) >= LEAST]:
            for _, i in sorted(worth):
                if self._home_worth(i) >= LEAST:
                    self._move(i, int(self.homes[i]))
                    self.iterations -= 1  # it is no step of the search

    def _home_worth(self, i: int) -> float:
        """What it is worth to send one that is away home; -1.0 if it cannot go there."""
        here, home = int(self.at[i]), int(self.homes[i])
        if not self.targets.fits(self.movers[i], home):
            return -1.0
        gain = self.spread.gain_of([Change(self.amount[i], here, home)]) + self.toll[i] + MENDED * self.crowded[i]
        if self.ruled:
            costs = self._rules_price(i)
            gain += costs[here] - costs[home]
        return float(round(gain, DIGITS))

    def _agree(self, terms: Terms) -> None:
        self.toll = self.price + max(terms.min_gain - LEAST, 0.0)
        self.held = np.array([mover.name in terms.held for mover in self.movers], bool)

    def legs(self) -> list[tuple[Mover, NodeFacts]]:
        """What has moved, and where it is now."""
        return [(self.movers[i], self.nodes[self.at[i]]) for i in self.moved]

    def _round(self, terms: Terms) -> bool:
        """Takes up every container that may be worth a move; whether it came to its end."""
        bounds = self._bounds()
        worth = np.flatnonzero(bounds >= LEAST)
        heap = [(-float(bounds[i]), int(i)) for i in worth if not (terms.once and int(i) in self.moved)]
        heapq.heapify(heap)
        while heap:
            if self.stopped(terms):
                return False
            _, i = heapq.heappop(heap)
            gain, target = self._best(i)
            if gain < LEAST:
                continue
            if heap and gain < HASTE * -heap[0][0]:
                heapq.heappush(heap, (-gain, i))
            else:
                self._move(i, target)
        return True

    def _swaps(self, terms: Terms) -> bool:
        """Exchanges on every node, then on those that exchanges have changed; whether it came to its end."""
        nodes = set(range(len(self.nodes)))
        while nodes:
            self.touched = set()
            if not self._swap_round(nodes, terms):
                return False
            nodes = self.touched
        return True

    def _swap_round(self, nodes: Collection[int], terms: Terms) -> bool:
        """Looks for exchanges on some nodes, the one furthest from the mean first; whether it came to its end."""
        uneven = (self.spread.weighted() * (self.spread.shares - self.spread.shares.mean(axis=0)) ** 2).sum(axis=1)
        order = np.argsort(-np.round(uneven, DIGITS), kind="stable")
        for node in order[np.isin(order, list(nodes))]:
            found = True
            while found:
                if self.stopped(terms):
                    return False
                away = self.at != self.homes
                worth = MENDED * self.crowded + self.wrong - np.where(away, 0.0, self.toll)
                wanted = Wanted(self.at, self.homes, self.amount, worth, np.where(away, self.toll, 0.0), ~self.held)
                pairs = exchanges(self.spread, int(node), wanted, LEAST)
                found = any(self._swapped(i, j, gain, terms) for i, j, gain in pairs)
        return True

    def _swapped(self, i: int, j: int, gain: float, terms: Terms) -> bool:
        """Exchanges two containers if one after the other has room, and it is worth it; whether it did.

        `gain` is what it is worth if no rule is broken afterwards that either of them breaks now.
        """
        if terms.once and (i in self.moved or j in self.moved):
            return False
        a, b = int(self.at[i]), int(self.at[j])
        for first, second, here, there in ((i, j, a, b), (j, i, b, a)):
            if not self._may(first, there):
                continue
            self.targets.move(self.movers[first], here, there)
            fits = self._may(second, here)
            self.targets.move(self.movers[first], there, here)
            if fits and gain - self._rules_left(first, second) >= LEAST:
                self._move(first, there)
                self._move(second, here)
                self.iterations -= 1  # an exchange is one step
                return True
        return False

    def _rules_left(self, i: int, j: int) -> float:
        """What the rules cost that an exchange breaks or leaves broken, of what it was taken to mend (`wrong`)."""
        if not self.ruled:
            return 0.0
        a, b, rules = int(self.at[i]), int(self.at[j]), self.targets.rules
        mended = 0.0
        for mover, here, there in ((i, a, b), (j, b, a)):  # one after the other: so the sum is what both cost together
            price = self._rules_price(mover)
            mended += price[here] - price[there]
            rules.move(self.movers[mover], here, there)
        rules.move(self.movers[j], a, b)
        rules.move(self.movers[i], b, a)
        return float(self.wrong[i] + self.wrong[j] - mended)

    def _rules_price(self, i: int) -> Floats:
        """For each node, what the rules cost that a mover breaks there."""
        return self.targets.rules.price(self.movers[i], MENDED)

    def _may(self, i: int, target: int) -> bool:
        """Whether one mover may go to a node now."""
        mover, here = self.movers[i], int(self.at[i])
        return (here != self.homes[i] or self.targets.leaving(mover, here)[target]) and self.targets.fits(mover, target)

    def _bounds(self) -> Floats:
        """For every mover: what its best move is worth, if there were room everywhere."""
        if self.ruled:
            for i in range(len(self.movers)):
                self.wrong[i] = self._rules_price(i)[self.at[i]]
        parts = []
        for start in range(0, len(self.movers), CHUNK):
            some = np.arange(start, min(start + CHUNK, len(self.movers)))
            worth = self.spread.gains(self.amount[some], self.at[some])
            here, home = self.at[some], self.homes[some]
            parts.append(np.max(self._priced(worth, some, here, home), axis=1))
        return np.concatenate(parts) if parts else np.zeros(0)

    def _best(self, i: int) -> tuple[float, int]:
        """The best move of one mover that has room, and its worth; of equal ones the first by name."""
        fits = self.targets.fitting(self.movers[i])
        if self.at[i] == self.homes[i]:
            fits &= self.targets.leaving(self.movers[i], int(self.at[i]))
        if not fits.any():
            return -1.0, -1
        one = np.array([i])
        worth = self.spread.gains_of_one(self.amount[i], int(self.at[i]))[None, :]
        if self.ruled:
            price = self._rules_price(i)
            self.wrong[i] = price[self.at[i]]
            worth -= price
        worth = self._priced(worth, one, self.at[one], self.homes[one])[0]
        worth[~fits] = -1.0
        target = int(np.argmax(worth))
        return float(worth[target]), target

    def _priced(self, worth: Floats, some: Ints, here: Ints, home: Ints) -> Floats:
        """Gains less tolls: the first move pays, the way home is paid back, in between it is free."""
        rows, at_home = np.arange(len(some)), here == home
        worth += (MENDED * self.crowded[some] + self.wrong[some] - np.where(at_home, self.toll[some], 0.0))[:, None]
        worth[rows, home] += np.where(at_home, 0.0, self.toll[some])
        worth[rows, here] = -1.0
        return worth

    def _move(self, i: int, target: int) -> None:
        source = int(self.at[i])
        self.spread.move(Change(self.amount[i], source, target))
        self.targets.move(self.movers[i], source, target)
        self.at[i] = target
        self.touched.update((source, target))
        self.iterations += 1
        for group in self.groups[i]:
            self.together[self.nodes[source].name, group] -= 1
            self.together[self.nodes[target].name, group] += 1
        for group in self.groups[i]:
            for other in self.members[group]:
                if self.at[other] in (source, target):
                    self.crowded[other] = self._crowded(other)
        if target == self.homes[i]:
            del self.moved[i]
        else:
            self.moved.setdefault(i)

    def _crowded(self, i: int) -> int:
        there = self.nodes[self.at[i]].name
        return sum(self.together[there, group] > 1 for group in self.groups[i])


def price(mover: Mover, targets: Targets) -> float:
    """What moving it costs, in shares of a node, over the link that its node has, to a target that has no limits and
    takes its memory in the best way that any does.
    """
    rates = DEFAULT_RATES[targets.best_way(mover.source)]
    estimate = estimate_move(mover.container, mover.source.link, Link(), rates)
    return PRICE_PER_S * (estimate.duration_s + (PAUSE_WEIGHT - 1) * estimate.blackout_s)
