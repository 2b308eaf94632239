"""Why a rebalance moves one container: what its node had too much of, and what the score would be otherwise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.what_if import after
from migrator.planner.movers import free_movers, open_nodes
from migrator.planner.rebalance import fleet_score, legs_of
from migrator.planner.score import CONTAINERS, RESOURCES, WEIGHTS, Change, Spread, amounts

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Otherwise:
    """The fleet's score if the container had gone to this node, and all others as planned."""

    node: str
    score: float


@dataclass(frozen=True, slots=True)
class Balanced:
    """At the plan's end, if the container alone stayed: the `resource` of which its node is furthest above the mean of
    all, as shares, and its containers with their mean. And the fleet's score as planned, with the container left where
    it is, and with it on the best of the other nodes that have room, the best first.
    """

    resource: str
    share: float
    mean: float
    containers: int
    containers_mean: float
    score: float
    left: float
    others: tuple[Otherwise, ...]


def balanced(cluster: Cluster, plan: Plan, container: str, fitting: Collection[str]) -> Balanced:
    """What a rebalance had in mind with one of its containers; `fitting` are the other nodes that could take it."""
    nodes, move = open_nodes(cluster), plan.move(container)
    numbers = {node.name: number for number, node in enumerate(nodes)}
    facts = next(c for c in cluster.node(move.source).containers if c.name == container)
    amount, source, target = np.array(amounts(facts), np.int64), numbers[move.source], numbers[move.target]
    ended = open_nodes(after(cluster, plan))
    gains = Spread(ended, plan.policy.weights).gains_of_one(amount, target)
    stayed = Spread(ended)
    stayed.move(Change(amount, target, source))
    above = WEIGHTS * (stayed.shares[source] - stayed.shares.mean(axis=0))
    column = int(np.argmax(above[:CONTAINERS]))
    places = [name for name in fitting if name in numbers and name not in (move.source, move.target)]
    best = sorted(places, key=lambda name: (-gains[numbers[name]], name))[:SHOWN]
    scored = [Otherwise(name, _score(cluster, plan, container, name)) for name in best]
    return Balanced(
        RESOURCES[column],
        float(stayed.shares[source, column]),
        float(stayed.shares[:, column].mean()),
        int(stayed.used[source, CONTAINERS]),
        float(stayed.used[:, CONTAINERS].mean()),
        _score(cluster, plan, container, move.target),
        _score(cluster, plan, container, ""),
        tuple(sorted(scored, key=lambda other: (other.score, other.node))),
    )


def _score(cluster: Cluster, plan: Plan, container: str, target: str) -> float:
    """The score at the plan's end with one container on another node; with no node, where it is now."""
    nodes = open_nodes(cluster)
    movers = {mover.name: mover for mover in free_movers(cluster, nodes)}
    moves = [replace(m, target=target) if m.container == container else m for m in plan.moves]
    legs = legs_of([(movers[m.container], cluster.node(m.target)) for m in moves if m.target], plan.policy)
    return fleet_score(nodes, plan.policy, legs, cluster.nodes)
