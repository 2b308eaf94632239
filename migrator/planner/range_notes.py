"""Whose range of user ids another has on its target: it gets another one there as it comes, and a plan says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.model.container import ID_RANGE
from migrator.model.facts import Cluster
from migrator.model.plan import PlannedMove
from migrator.model.ranges import another_range, taken_ranges

LISTED_MAX = 8


def shifts(cluster: Cluster, moves: Sequence[PlannedMove]) -> dict[str, str]:
    """In words, by the names of moves that begin in this cluster. The targets' facts count as they are before the plan.

    Of two that both come it is told of both: a plan does not say who comes first.
    """
    held = [(node.name, c.descriptor) for node in cluster.nodes for c in node.containers if c.descriptor]
    described = {ct.name: ct for _, ct in held}
    there = {(node, ct.id_index): (ct.name, "") for node, ct in held}  # who has a range on a node, by which move
    found, taken, has = dict[str, str](), taken_ranges(cluster), dict[str, int]()
    for move in moves:
        ct = described.get(move.container)
        if ct is None:
            continue
        index = has.get(ct.name, ct.id_index)
        other, coming = there.setdefault((move.target, index), (ct.name, move.name))
        to = another_range(ct.name, taken) if other != ct.name and not ct.volumes else None
        if to is None:
            continue
        if coming:
            found[move.name] = _second(other, move.target, index)
            found[coming] = _second(ct.name, move.target, index)
            continue
        taken.add(to)
        has[ct.name] = to
        there[move.target, to] = (ct.name, move.name)
        found[move.name] = (
            f"its ids are shifted from {index * ID_RANGE} to {to * ID_RANGE} on arrival, since container {other} has "
            f"the same range on {move.target}"
        )
    return found


def _second(other: str, target: str, index: int) -> str:
    return (
        f"container {other}, with the same range of ids from {index * ID_RANGE} on, comes to {target} too; "
        "the ids of the one that comes second are shifted on arrival"
    )


def range_notes(cluster: Cluster, moves: Sequence[PlannedMove]) -> Iterator[str]:
    """A note for each of the moves on which a container gets another range of ids."""
    containers = {move.name: move.container for move in moves}
    told = [f"ids: container {containers[name]}: {text}" for name, text in shifts(cluster, moves).items()]
    yield from told[:LISTED_MAX]
    if len(told) > LISTED_MAX:
        yield f"ids: and {len(told) - LISTED_MAX} more containers are shifted so"
