"""Groups of nodes that are down together, one group after the other, until every node has been rebooted once."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy

VERSION = 1


@dataclass(frozen=True, slots=True)
class RefusedNode:
    """A node that was asked for and is in no group: it cannot be emptied even on its own."""

    node: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Reboot:
    """Each of `groups` is the plan that drains its nodes (`empties`), each of `returns` the one that brings back what
    it has moved, once they have been rebooted; not all of it may come back. The next group begins where that ends.

    `groups_min` is a number that no grouping of these nodes can come below.
    """

    intent: str
    cluster: str
    snapshot: str
    groups: tuple[Plan, ...]
    returns: tuple[Plan, ...]
    groups_min: int
    refused: tuple[RefusedNode, ...] = ()
    notes: tuple[str, ...] = ()
    policy: PlanPolicy = field(default_factory=PlanPolicy)
    version: int = VERSION
