"""Ranges of user ids: who may not meet because of them, and which one a container gets where its own is taken.

A container that comes where another has its range gets one there that nobody in the cluster has, unless it has files on
shared volumes: those bear its ids on all nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from itertools import chain
from typing import TYPE_CHECKING

from migrator.model.container import ID_INDEX_MAX, ID_INDEX_MIN, Descriptor

if TYPE_CHECKING:
    from migrator.model.facts import Cluster


def taken_ranges(cluster: Cluster) -> set[int]:
    """Numbers of the ranges that containers of these nodes have."""
    return {c.descriptor.id_index for node in cluster.nodes for c in node.containers if c.descriptor}


def kept_ranges(cluster: Cluster) -> frozenset[int]:
    """Numbers of those that a container has which cannot be given another."""
    held = (c.descriptor for node in cluster.nodes for c in node.containers)
    return frozenset(ct.id_index for ct in held if ct and ct.volumes)


def must_not_meet(ct: Descriptor, other: Descriptor) -> bool:
    """Whether the planner keeps two containers apart, since one of them could not be shifted if it came second."""
    return ct.id_index == other.id_index and bool(ct.volumes or other.volumes)


def another_range(name: str, taken: Collection[int]) -> int | None:
    """The number of the range that a container gets where its own is taken; None if none is free.

    It is looked for from a number that the name gives, so that two that are moved at once get two.
    """
    digest = hashlib.sha256(name.encode()).digest()
    first = ID_INDEX_MIN + int.from_bytes(digest[:4], "big") % (ID_INDEX_MAX - ID_INDEX_MIN)
    numbers = chain(range(first, ID_INDEX_MAX), range(ID_INDEX_MIN, first))
    return next((number for number in numbers if number not in taken), None)
