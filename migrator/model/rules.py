"""Rules of a plan beside room: who may be where, and how many together. Values; planner and checker each read them.

A selector is "key=value", all that have the label, or a name. Terms are those of BtrPlace's catalogue (fence, ban,
lonely) and of the failure domains of cluster schedulers (spread).

A rule is hard, and no plan breaks it; or it is `soft`, and a plan may, at the price of `weight`: so many shares of one
node's load. What counts over several containers holds at every moment of a plan if it is `continuous`, else at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How firmly a rule holds. `weight` says what it costs to break a soft one once, in shares of a node's load."""

    soft: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ban(Strength):
    """The containers never come to one of the nodes."""

    containers: str
    nodes: tuple[str, ...]
    rule: Literal["ban"] = "ban"


@dataclass(frozen=True, slots=True)
class Fence(Strength):
    """The containers come to these nodes only."""

    containers: str
    nodes: tuple[str, ...]
    rule: Literal["fence"] = "fence"


@dataclass(frozen=True, slots=True)
class Pin(Strength):
    """The containers stay where they are."""

    containers: str
    rule: Literal["pin"] = "pin"


@dataclass(frozen=True, slots=True)
class Spread(Strength):
    """Of the containers with one value of `label`, at most so many are on nodes with one value of `domain`.

    Nodes without the label `domain` are each a domain of their own.
    """

    label: str
    domain: str
    at_most: int
    rule: Literal["spread"] = "spread"
    continuous: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class DomainsMin(Strength):
    """The containers with one value of `label` are in at least so many domains; fewer of them, each in one of its own.

    Domains are as in Spread. While a container moves it is in one of the two that it moves between.
    """

    label: str
    domain: str
    at_least: int
    rule: Literal["spread"] = "spread"
    continuous: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class Crowd(Strength):
    """A node that something comes to holds at most so many containers; `nodes` empty means every node."""

    at_most: int
    nodes: tuple[str, ...] = ()
    rule: Literal["containers-per-node"] = "containers-per-node"
    continuous: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class Lonely(Strength):
    """The nodes that hold these containers hold no others."""

    containers: str
    rule: Literal["lonely"] = "lonely"
    continuous: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class Affinity(Strength):
    """The containers with one value of `label` are together on one node, or on nodes with one value of `domain`.

    Two containers cannot move at one instant, so a group that moves is apart until its last one has come: the rule
    holds at the end of a plan. If it is `continuous`, no container leaves the domains that its group is in.
    """

    label: str
    domain: str = ""
    rule: Literal["affinity"] = "affinity"
    continuous: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class SurviveLoss(Strength):
    """At the end of a plan any one of `nodes` (empty means every node) may be lost: what it holds fits on the others.

    By its limits of these `resources`, against the whole capacity of nodes that answer and are not cordoned.
    """

    nodes: tuple[str, ...] = ()
    resources: tuple[str, ...] = ("cpu", "memory", "disk")
    rule: Literal["survive-node-loss"] = "survive-node-loss"


@dataclass(frozen=True, slots=True)
class Budget(Strength):
    """Of the containers with one value of `label`, at most so many are in motion at one time. Kept by waiting."""

    label: str
    at_most: int
    rule: Literal["disruption-budget"] = "disruption-budget"


@dataclass(frozen=True, slots=True)
class Priority(Strength):
    """Of the containers that have to move those with the higher level go first, as far as there is room.

    Where none has to, moving one costs `level` times as much as moving a container that no rule means, which has 1.
    """

    containers: str
    level: int
    rule: Literal["priority"] = "priority"


@dataclass(frozen=True, slots=True)
class Window(Strength):
    """The containers are moved only while one of these is open: "mon-fri 22:00-04:00", hours of a time zone."""

    containers: str
    open: tuple[str, ...]
    zone: str = "UTC"
    rule: Literal["window"] = "window"


Rule = Ban | Fence | Pin | Spread | DomainsMin | Crowd | Lonely | Affinity | SurviveLoss | Budget | Priority | Window


ITS_OWN = "the node "  # begins the name of a domain that is one node


def domain_of(labels: Mapping[str, str], name: str, domain: str) -> str:
    """The failure domain of a node; without the label, or if no label is asked for, it is one of its own."""
    return labels.get(domain, f"{ITS_OWN}{name}") if domain else f"{ITS_OWN}{name}"


def selects(selector: str, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a selector means this node or container."""
    key, equals, value = selector.partition("=")
    return labels.get(key) == value if equals else name == selector


def selected(selectors: tuple[str, ...], name: str, labels: Mapping[str, str]) -> bool:
    """Whether one of them does."""
    return any(selects(selector, name, labels) for selector in selectors)


def rule_in_words(rule: Rule) -> str:
    """A rule as an operator would say it, in a few words: "lonely app=db", "fence x1 on a2, b2"."""
    match rule:
        case Ban() | Fence():
            words = f"{rule.containers} on {', '.join(rule.nodes)}"
        case Pin() | Lonely():
            words = rule.containers
        case Priority():
            words = f"{rule.containers} level {rule.level}"
        case Window():
            words = f"{rule.containers} {', '.join(rule.open)} {rule.zone}"
        case Spread() | Budget():
            words = f"{rule.label}{_by(rule)} at most {rule.at_most}"
        case DomainsMin():
            words = f"{rule.label}{_by(rule)} at least {rule.at_least}"
        case Affinity():
            words = f"{rule.label}{_by(rule)}"
        case Crowd():
            words = f"at most {rule.at_most}{_of(rule.nodes)}"
        case SurviveLoss():
            words = f"{', '.join(rule.resources)}{_of(rule.nodes)}"
    return f"{'soft ' * rule.soft}{rule.rule} {words}"


def _by(rule: Spread | DomainsMin | Affinity | Budget) -> str:
    domain = getattr(rule, "domain", "")
    return f" by {domain}" if domain else ""


def _of(nodes: tuple[str, ...]) -> str:
    return f" on {', '.join(nodes)}" if nodes else ""
