"""Rules of a plan beside room: who may be where, and how many together. Values; planner and checker each read them.

A selector is "key=value", all that have the label, or a name. Terms are those of BtrPlace's catalogue (fence, ban,
lonely) and of the failure domains of cluster schedulers (spread).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Ban:
    """The containers never come to one of the nodes."""

    containers: str
    nodes: tuple[str, ...]
    rule: Literal["ban"] = "ban"


@dataclass(frozen=True, slots=True)
class Fence:
    """The containers come to these nodes only."""

    containers: str
    nodes: tuple[str, ...]
    rule: Literal["fence"] = "fence"


@dataclass(frozen=True, slots=True)
class Pin:
    """The containers stay where they are."""

    containers: str
    rule: Literal["pin"] = "pin"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the containers with one value of `label`, at most so many are on nodes with one value of `domain`.

    Nodes without the label `domain` are each a domain of their own.
    """

    label: str
    domain: str
    at_most: int
    rule: Literal["spread"] = "spread"


@dataclass(frozen=True, slots=True)
class Crowd:
    """A node that something comes to holds at most so many containers; `nodes` empty means every node."""

    at_most: int
    nodes: tuple[str, ...] = ()
    rule: Literal["containers-per-node"] = "containers-per-node"


Rule = Ban | Fence | Pin | Spread | Crowd


def selects(selector: str, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a selector means this node or container."""
    key, equals, value = selector.partition("=")
    return labels.get(key) == value if equals else name == selector


def selected(selectors: tuple[str, ...], name: str, labels: Mapping[str, str]) -> bool:
    """Whether one of them does."""
    return any(selects(selector, name, labels) for selector in selectors)
