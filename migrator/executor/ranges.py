"""Ranges of user ids: no two containers of a cluster have the same, and on no node may two.

They are given out so when containers are made. Where a container comes to a node on which another has its range, which
can be where two clusters were joined, it gets another one there: its files are received through a mount that maps one
range to the other, and its user namespace is made with the new one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from itertools import chain, islice
from typing import TYPE_CHECKING

from migrator.errors import Refused
from migrator.model.container import ID_INDEX_MAX, ID_INDEX_MIN, Descriptor
from migrator.model.ranges import another_range, taken_ranges

if TYPE_CHECKING:  # who makes a container, or changes one, looks for ranges too, and moves nothing
    from migrator.executor.fleet import Fleet
    from migrator.journal.store import Journal
    from migrator.model.facts import Cluster, NodeFacts
    from migrator.steps.base import Move


class RangeTaken(Refused):
    """Somebody else has taken the range at the same moment: with another one it may go well."""


def free_ranges(cluster: Cluster, count: int, first: int = ID_INDEX_MIN) -> list[int]:
    """The lowest numbers, from `first` on and then from the beginning, that no container of the cluster has."""
    taken = taken_ranges(cluster)
    numbers = chain(range(first, ID_INDEX_MAX), range(ID_INDEX_MIN, first))
    free = list(islice((index for index in numbers if index not in taken), count))
    if len(free) < count:
        raise Refused("no range of user ids is free")
    return free


def any_number() -> int:
    """Where to look for another one, so that two who do so at once find two."""
    return ID_INDEX_MIN + secrets.randbelow(ID_INDEX_MAX - ID_INDEX_MIN)


def overlaps(ct: Descriptor, target: NodeFacts) -> bool:
    """Whether another container of the node has its range."""
    return any(
        other.descriptor.id_index == ct.id_index
        for other in target.containers
        if other.name != ct.name and other.descriptor
    )


async def range_there(fleet: Fleet, ct: Descriptor, target: NodeFacts) -> int:
    """The number of the range that it is to have on the target: its own, unless that is another's there.

    One with files on shared volumes keeps its own, and is refused: those files bear its ids on all nodes.
    """
    if ct.volumes or not overlaps(ct, target):
        return ct.id_index
    return _another(ct.name, taken_ranges(await fleet.probe()))


async def range_beside(fleet: Fleet, journal: Journal, move: Move) -> int:
    """The same beside what else its run brings to the target, which need not be there yet.

    Nothing is awaited once that was looked at, so that of two that come at once the second sees the first, if it is
    entered into the journal at once.
    """
    own = move.descriptor_there.id_index
    if move.descriptor.volumes or own not in _coming(journal, move).values():
        return own
    cluster = await fleet.probe()
    coming = _coming(journal, move)
    if own not in coming.values():
        return own
    return _another(move.name, taken_ranges(cluster).union(coming.values()))


def _coming(journal: Journal, move: Move) -> dict[str, int]:
    """Ranges of the others that this run has last moved, or is moving, to the target; by name."""
    from migrator.protocol.states import State  # noqa: PLC0415   (who makes a container has no journal)

    last = {m.container: m for m in journal.migrations(move.run) if m.container != move.name}
    return {
        m.container: m.document.get("id_index_there", json.loads(m.document["descriptor"])["id_index"])
        for m in last.values()
        if m.target == move.target.node.name and m.decision is not State.ABORTED
    }


def _another(name: str, taken: Collection[int]) -> int:
    number = another_range(name, taken)
    if number is None:
        raise Refused("no range of user ids is free")
    return number
