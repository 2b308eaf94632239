"""The rules a plan is made under. They travel in the plan, so that it is checked under the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from migrator.model.memory_way import planned_way
from migrator.model.modes import AUTO, STOP_TIMEOUT_S, Allowed
from migrator.model.policy import BLACKOUT_S_MAX
from migrator.model.rates import DEFAULT_RATES, Rates, Way
from migrator.model.rules import Rule, rule_in_words, selects

if TYPE_CHECKING:
    from migrator.model.facts import NodeFacts

ANTI_AFFINITY = "anti-affinity"
IMAGE_MARGIN_BYTES = 64 << 20
STREAM_KEPT_BYTES = 256 << 20  # what the kit keeps at most of streamed memory that has come too early
INODES_MIN = 10_000


@dataclass(frozen=True, slots=True)
class Headroom:
    """Percent of one resource that stays free, where it is another than the policy's for all."""

    cpu: int | None = None
    memory: int | None = None
    disk: int | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """How many times an uneven load of a resource counts when a fleet is evened out."""

    cpu: float = 1.0
    memory: float = 1.0
    disk: float = 1.0
    containers: float = 1.0


EVEN = Weights()


@dataclass(frozen=True, slots=True)
class Waived:
    """A rule that a plan is made without: its number in the files, and its words. 0 is a label that keeps apart."""

    number: int
    words: str

    def __str__(self) -> str:
        return f"rule {self.number} ({self.words})" if self.number else self.words


@dataclass(frozen=True, slots=True)
class PlanPolicy:
    """What a plan has to respect at every moment.

    `headroom_percent` of each capacity of a target stays free, or what `headroom` says of one. Containers that have
    an equal value of a label named in `anti_affinity` are never on one node. `moves_per_node_max` is how many moves
    may touch a node at one time. `leave_stopped` lets stopped containers stay where they are, on a node that is
    emptied of everything else. `rules` say who may be where, how many together, how many in motion and
    when. `start` is when the plan is to start, as ISO 8601 with a zone; empty where no rule asks for it.
    `weights` are for a rebalance alone.
    `waived` are the rules that it is made without; those of `rules` keep the numbers that they have beside them.
    `checks_waived` are the checks of sameness.py that nodes need not pass.
    `overlapping_pauses` lets several containers that move over one link be paused at one time. `learnt` are the rates
    that estimates are made with, by source and target, where they are others than the defaults. `memory_way` is how
    memory is taken to go between nodes of which one does not tell whether it can stream. `mode` is how containers are
    moved, and `allow` what auto may take for some of them. `target_blackout_s` and `not_convergent` are for pre-copy
    (policy.py), and so is `written_bytes_per_s`: how fast containers were seen to write their memory, by name.
    `stop_timeout_s` is how long one that is moved by restart may take to end by itself. `bandwidth_bytes_per_s` bounds
    what each move sends.
    """

    headroom_percent: int = 5
    anti_affinity: tuple[str, ...] = (ANTI_AFFINITY,)
    blackout_s_max: float = BLACKOUT_S_MAX
    moves_per_node_max: int = 2
    leave_stopped: bool = False
    rules: tuple[Rule, ...] = ()
    headroom: Headroom = Headroom()
    start: str = ""
    weights: Weights = EVEN
    overlapping_pauses: bool = False
    learnt: dict[str, dict[str, Rates]] = field(default_factory=dict)
    waived: tuple[Waived, ...] = ()
    checks_waived: tuple[str, ...] = ()
    memory_way: Way = "stream"
    mode: str = AUTO
    allow: tuple[Allowed, ...] = ()
    target_blackout_s: float | None = None
    not_convergent: str = ""
    stop_timeout_s: float = STOP_TIMEOUT_S
    bandwidth_bytes_per_s: int | None = None
    written_bytes_per_s: dict[str, int] = field(default_factory=dict)

    def modes_allowed(self, name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """What auto may also take for this container."""
        return tuple(mode for each in self.allow if selects(each.containers, name, labels) for mode in each.modes)

    def way(self, source: NodeFacts, target: NodeFacts) -> Way:
        """How memory is taken to go between these nodes."""
        return planned_way(source, target, self.memory_way)

    def rates(self, source: str, target: str, way: Way) -> Rates:
        """What moves between nodes of these names are estimated with, if their memory goes this way."""
        return self.rates_unbounded(source, target, way).at_most(self.bandwidth_bytes_per_s)

    def rates_unbounded(self, source: str, target: str, way: Way) -> Rates:
        """What the machinery would reach. What was learnt of the other way says nothing of this one."""
        learnt = self.learnt.get(source, {}).get(target)
        return learnt if learnt is not None and learnt.way == way else DEFAULT_RATES[way]

    def rates_between(self, source: NodeFacts, target: NodeFacts) -> Rates:
        """What moves between these nodes are estimated with."""
        return self.rates(source.name, target.name, self.way(source, target))

    def numbered(self) -> Iterator[tuple[int, Rule]]:
        """The rules with the numbers that they have in the files, from 1: a waived one keeps its own."""
        gone = {waived.number for waived in self.waived}
        return zip((number for number in count(1) if number not in gone), self.rules, strict=False)

    def without(self, numbers: Collection[int], keys: Collection[str] = ()) -> PlanPolicy:
        """Without the rules of these numbers, and without keeping apart by these labels."""
        gone = [Waived(number, rule_in_words(rule)) for number, rule in self.numbered() if number in numbers]
        gone += [Waived(0, f"keeping apart by {key}") for key in self.anti_affinity if key in keys]
        return replace(
            self,
            rules=tuple(rule for number, rule in self.numbered() if number not in numbers),
            anti_affinity=tuple(key for key in self.anti_affinity if key not in keys),
            waived=tuple(sorted((*self.waived, *gone), key=lambda waived: (not waived.number, waived.number))),
        )

    @property
    def headrooms(self) -> tuple[int, int, int]:
        """Percent of CPU, memory and disk that stay free."""
        own = (self.headroom.cpu, self.headroom.memory, self.headroom.disk)
        cpu, memory, disk = (self.headroom_percent if percent is None else percent for percent in own)
        return cpu, memory, disk


@dataclass(frozen=True, slots=True)
class Standing:
    """What a cluster file or a policy file says of a plan's policy; None where it says nothing.

    `replace_rules`: instead of the rules that were said before, and not beside them.
    """

    headroom_percent: int | None = None
    headroom: Headroom | None = None
    anti_affinity: tuple[str, ...] | None = None
    blackout_s_max: float | None = None
    moves_per_node_max: int | None = None
    leave_stopped: bool | None = None
    weights: Weights | None = None
    overlapping_pauses: bool | None = None
    memory_way: Way | None = None
    mode: str | None = None
    allow: tuple[Allowed, ...] | None = None
    target_blackout_s: float | None = None
    not_convergent: str | None = None
    stop_timeout_s: float | None = None
    bandwidth_bytes_per_s: int | None = None
    rules: tuple[Rule, ...] = ()
    replace_rules: bool = False

    def then(self, closer: Standing) -> Standing:
        """Both, where `closer` goes before in all that it says; its rules come after these, or instead of them.

        A headroom for all goes before one of a single resource that was said before it.
        """
        values = self.said | closer.said
        values["rules"] = closer.rules if closer.replace_rules else (*self.rules, *closer.rules)
        outer = self.headroom if closer.headroom_percent is None else None
        if outer is not None and closer.headroom is not None:
            pairs = ((f.name, getattr(outer, f.name), getattr(closer.headroom, f.name)) for f in fields(Headroom))
            values["headroom"] = Headroom(**{name: old if new is None else new for name, old, new in pairs})
        else:
            values["headroom"] = closer.headroom or outer
        return Standing(**values)

    @property
    def said(self) -> dict[str, Any]:
        """What it says, by the names of PlanPolicy; rules and no rules alike."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "replace_rules"}
        return {name: value for name, value in values.items() if value is not None}
