"""A placement that any one node may be lost after: a few are tried until one passes the proof (survival.py).

Theory. The quick construction spreads load, which leaves room in small pieces. Where a loss would not be survived,
the nodes that it is about first take nothing more; if that does not help, the emptiest nodes are kept free, one more
each time: one hole of a node's size takes what many small ones do not. In a small fleet every placement is tried.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Reason
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.arrays import Targets
from migrator.planner.construct import Built, Choice, construct_on
from migrator.planner.placement import Mover
from migrator.planner.survival import Watch

CLOSINGS_MAX = 8  # times that nodes are closed whose loss would not be survived
FREE_MAX = 4  # nodes that are kept free at most
EVERY_MAX = 1_000  # placements up to which all are tried


def survivable(
    movers: Sequence[Mover],
    built: Built,
    nodes: Sequence[NodeFacts],
    empties: Collection[str],
    policy: PlanPolicy,
    cluster: Cluster,
) -> tuple[Built, tuple[Reason, ...]]:
    """A placement after which no loss of a node is worse than before, or the first one and what it makes worse.

    Of a soft rule nothing is returned: it is kept if one of the tries keeps it. `nodes` may take containers.
    """
    watch = Watch(cluster.nodes, policy)
    if not watch.rules:
        return built, ()
    first: tuple[Reason, ...] | None = None
    kept: Built | None = None
    for one in _tries(movers, built, nodes, empties, policy, cluster, watch):
        moved = {name: choice.target for name, choice in one.choices.items()}
        if not watch.worse(moved, empties, soft=True):
            return one, ()
        hard = tuple(watch.worse(moved, empties, soft=False))
        if not hard and kept is None:
            kept = one
        first = hard if first is None else first
    return (kept, ()) if kept is not None else (built, first or ())


def _tries(
    movers: Sequence[Mover],
    built: Built,
    nodes: Sequence[NodeFacts],
    empties: Collection[str],
    policy: PlanPolicy,
    cluster: Cluster,
    watch: Watch,
) -> Iterator[Built]:
    """The given placement, then others that leave no container without a place."""
    yield built
    targets, last = Targets(nodes, policy, cluster), built
    numbers = {node.name: number for number, node in enumerate(nodes)}
    closed: set[int] = set()
    for _ in range(CLOSINGS_MAX):
        moved = {name: choice.target for name, choice in last.choices.items()}
        found = {numbers[r.node] for r in watch.worse(moved, empties, soft=True) if r.node in numbers}
        if found <= closed:
            break
        closed |= found
        last = construct_on(movers, targets.closing(sorted(closed)), 0)
        if last.stuck:
            break
        yield last
    emptiest = sorted(numbers, key=lambda name: (-nodes[numbers[name]].room.memory_bytes, name))
    for count in range(1, FREE_MAX + 1):
        last = construct_on(movers, targets.closing([numbers[name] for name in emptiest[:count]]), 0)
        if last.stuck:
            break
        yield last
    if few(movers, nodes):
        yield from every(movers, targets)


def few(movers: Sequence[Mover], nodes: Sequence[NodeFacts]) -> bool:
    """Whether there are so few placements that all are tried."""
    placements: int = len(nodes) ** min(len(movers), 20)
    return placements <= EVERY_MAX


def every(movers: Sequence[Mover], targets: Targets) -> Iterator[Built]:
    """Every placement of these movers that have none yet, in which all of them fit."""
    open_to_all = targets.closing()
    open_to_all.rules.leave(movers)
    return _every(movers, open_to_all, {})


def _every(movers: Sequence[Mover], targets: Targets, choices: dict[str, Choice]) -> Iterator[Built]:
    """Every placement in which all containers fit, beside those that have been chosen."""
    if not movers:
        yield Built(choices, ())
        return
    mover, fitting = movers[0], np.flatnonzero(targets.fitting(movers[0]))
    shares = targets.share(mover)[fitting]
    for place in np.argsort(shares, kind="stable"):
        filled, best = targets.closing(), int(np.argmin(shares))
        filled.place(mover, int(fitting[place]), 0.0)
        choice = Choice(
            target=targets.nodes[int(fitting[place])].name,
            share=float(shares[place]),
            fitting=len(fitting),
            best=targets.nodes[int(fitting[best])].name,
            best_share=float(shares[best]),
            next_best=next((targets.nodes[int(i)].name for i in fitting if i != fitting[place]), None),
            ruled=bool(shares[place] > shares[best]),
        )
        yield from _every(movers[1:], filled, choices | {mover.name: choice})
