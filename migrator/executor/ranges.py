"""Ranges of user ids: no two containers of a cluster have the same, and on no node may two.

They are given out so when containers are made. Where a container comes to a node on which another has its range, which
can be where two clusters were joined, it gets another one there: its files are received through a mount that maps one
range to the other, and its user namespace is made with the new one.
"""

from __future__ import annotations

import hashlib
import secrets
from itertools import chain, islice

from migrator.errors import Refused
from migrator.executor.fleet import Fleet
from migrator.model.container import ID_INDEX_MAX, ID_INDEX_MIN, Descriptor
from migrator.model.facts import Cluster, NodeFacts


def taken_ranges(cluster: Cluster) -> set[int]:
    """Numbers of the ranges that containers of these nodes have."""
    return {c.descriptor.id_index for node in cluster.nodes for c in node.containers if c.descriptor}


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
    A new one is looked for from a number that its name gives, so that two that are moved at once get two.
    """
    if ct.volumes or not overlaps(ct, target):
        return ct.id_index
    digest = hashlib.sha256(ct.name.encode()).digest()
    first = ID_INDEX_MIN + int.from_bytes(digest[:4], "big") % (ID_INDEX_MAX - ID_INDEX_MIN)
    return free_ranges(await fleet.probe(), 1, first)[0]
