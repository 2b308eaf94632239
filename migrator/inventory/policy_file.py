"""The policy file, and `policy` in a cluster file: the rules that plans are made under, in YAML.

headroom_percent: 10
headroom: {cpu: 0}
anti_affinity: [svc]
rules:
  - {rule: fence, containers: app=db, nodes: [disk=fast]}
  - {rule: spread, label: app, domain: rack, at_most: 2}
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from migrator.errors import BadInput
from migrator.inventory.documents import field, first_wrong, line_of, read_yaml, refuse_empty, said
from migrator.inventory.files import read_text
from migrator.model.modes import Allowed
from migrator.model.plan_policy import Headroom, Standing, Weights
from migrator.model.rates import Way
from migrator.model.rules import (
    Affinity,
    Ban,
    Budget,
    Crowd,
    DomainsMin,
    Fence,
    Lonely,
    Pin,
    Priority,
    Rule,
    Spread,
    SurviveLoss,
    Window,
)
from migrator.model.units import format_rate, parse_bytes_per_s
from migrator.model.windows import parse_opening

Selector = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}(=[^\x00-\x1f]{0,200})?$")]
Label = Annotated[str, Field(min_length=1, max_length=63)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)  # a command reads few kinds of files


class _Entry(_Strict):
    """What every rule has. A weight that nobody reads would be a mistake of whoever wrote it."""

    soft: bool = False
    weight: Annotated[float | int, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _weight_is_for_soft(self) -> Self:
        if not self.soft and self.weight != 1.0:
            raise ValueError("a weight is for a rule with soft: true")
        return self

    @property
    def strength(self) -> Any:
        return {"soft": self.soft, "weight": float(self.weight)}


class _Placed(_Entry):
    rule: Literal["ban", "fence"]
    containers: Selector
    nodes: Annotated[list[Selector], Field(min_length=1)]

    def value(self) -> Rule:
        kind = Ban if self.rule == "ban" else Fence
        return kind(self.containers, tuple(self.nodes), **self.strength)


class _Pin(_Entry):
    rule: Literal["pin"]
    containers: Selector

    def value(self) -> Rule:
        return Pin(self.containers, **self.strength)


class _Spread(_Entry):
    rule: Literal["spread"]
    label: Label
    domain: Label
    at_most: Count | None = None
    at_least: Annotated[int, Field(ge=2, le=16)] | None = None
    continuous: bool = True

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give at_most (containers in one domain) or at_least (domains); for both write two rules")
        return self

    def value(self) -> Rule:
        if self.at_most is not None:
            return Spread(self.label, self.domain, self.at_most, continuous=self.continuous, **self.strength)
        return DomainsMin(self.label, self.domain, self.at_least or 0, continuous=self.continuous, **self.strength)


class _Crowd(_Entry):
    rule: Literal["containers-per-node"]
    at_most: Count
    nodes: list[Selector] = []
    continuous: bool = True

    def value(self) -> Rule:
        return Crowd(self.at_most, tuple(self.nodes), continuous=self.continuous, **self.strength)


class _Lonely(_Entry):
    rule: Literal["lonely"]
    containers: Selector
    continuous: bool = True

    def value(self) -> Rule:
        return Lonely(self.containers, continuous=self.continuous, **self.strength)


class _Affinity(_Entry):
    rule: Literal["affinity"]
    label: Label
    domain: Annotated[str, Field(max_length=63)] = ""
    continuous: bool = False

    def value(self) -> Rule:
        return Affinity(self.label, self.domain, continuous=self.continuous, **self.strength)


class _SurviveLoss(_Entry):
    rule: Literal["survive-node-loss"]
    nodes: list[Selector] = []
    resources: Annotated[list[Literal["cpu", "memory", "disk"]], Field(min_length=1)] = ["cpu", "memory", "disk"]

    def value(self) -> Rule:
        return SurviveLoss(tuple(self.nodes), tuple(dict.fromkeys(self.resources)), **self.strength)


class _Timed(_Entry):
    """A rule on when containers move, which costs nothing but time."""

    @model_validator(mode="after")
    def _is_not_soft(self) -> Self:
        if self.soft:
            raise ValueError("it costs nothing but time, so there is no soft one")
        return self


class _Budget(_Timed):
    rule: Literal["disruption-budget"]
    label: Label
    at_most: Count

    def value(self) -> Rule:
        return Budget(self.label, self.at_most)


class _Priority(_Timed):
    rule: Literal["priority"]
    containers: Selector
    level: Annotated[int, Field(ge=0, le=1000)]

    def value(self) -> Rule:
        return Priority(self.containers, self.level)


def _is_opening(text: str) -> str:
    parse_opening(text)
    return text


def _is_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {text!r} on this machine") from None
    return text


class _Window(_Timed):
    rule: Literal["window"]
    containers: Selector
    open: Annotated[list[Annotated[str, AfterValidator(_is_opening)]], Field(min_length=1, max_length=100)]
    zone: Annotated[str, AfterValidator(_is_zone)] = "UTC"

    def value(self) -> Rule:
        return Window(self.containers, tuple(self.open), self.zone)


RuleEntry = Annotated[
    _Placed | _Pin | _Spread | _Crowd | _Lonely | _Affinity | _SurviveLoss | _Budget | _Priority | _Window,
    Field(discriminator="rule"),
]


Percent = Annotated[int, Field(ge=0, le=90)]


class HeadroomFields(_Strict):
    cpu: Percent | None = None
    memory: Percent | None = None
    disk: Percent | None = None

    def value(self) -> Headroom:
        return Headroom(self.cpu, self.memory, self.disk)


Weight = Annotated[float | int, Field(ge=0, le=1000, allow_inf_nan=False)]


class WeightFields(_Strict):
    cpu: Weight = 1.0
    memory: Weight = 1.0
    disk: Weight = 1.0
    containers: Weight = 1.0

    def value(self) -> Weights:
        return Weights(float(self.cpu), float(self.memory), float(self.disk), float(self.containers))


ModeName = Literal["auto", "stop-and-copy", "pre-copy", "post-copy", "restart"]
WayOut = Literal["give-up", "go-on", "throttle"]


class AllowEntry(_Strict):
    """What auto may take for some containers, beside what can lose nothing; restart for what cannot be dumped alone."""

    containers: Selector
    modes: Annotated[list[Literal["post-copy", "restart"]], Field(min_length=1)]

    def value(self) -> Allowed:
        return Allowed(self.containers, tuple(dict.fromkeys(self.modes)))


def _is_rate(text: str) -> str:
    parse_bytes_per_s(text)
    return text


class PolicySection(_Strict):
    """What a cluster file says under `policy`, and a policy file as a whole."""

    headroom_percent: Percent | None = None
    headroom: HeadroomFields | None = None
    anti_affinity: Annotated[list[Label], Field(min_length=1)] | None = None
    blackout_s_max: Annotated[float | int, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = None
    moves_per_node_max: Annotated[int, Field(ge=1, le=64)] | None = None
    leave_stopped: bool | None = None
    weights: WeightFields | None = None
    overlapping_pauses: bool | None = None
    memory_way: Way | None = None
    mode: ModeName | None = None
    allow: list[AllowEntry] | None = None
    target_blackout_s: Annotated[float | int, Field(gt=0, le=600, allow_inf_nan=False)] | None = None
    not_convergent: WayOut | None = None
    stop_timeout_s: Annotated[float | int, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    bandwidth: Annotated[str, AfterValidator(_is_rate)] | None = None
    rules: list[RuleEntry] = []

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_empty(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("is empty; give a value, or leave the line out")
        return value

    def value(self) -> Standing:
        # As model_dump would, which builds a serializer of all of it: 5 ms of each command.
        plain = type(self).model_fields.keys() - {"rules", "headroom", "anti_affinity", "weights", "allow", "bandwidth"}
        said: dict[str, Any] = {name: getattr(self, name) for name in plain}
        return Standing(
            **said,
            headroom=self.headroom.value() if self.headroom is not None else None,
            weights=self.weights.value() if self.weights is not None else None,
            bandwidth_bytes_per_s=parse_bytes_per_s(self.bandwidth) if self.bandwidth is not None else None,
            anti_affinity=tuple(self.anti_affinity) if self.anti_affinity is not None else None,
            rules=tuple(entry.value() for entry in self.rules),
            allow=tuple(entry.value() for entry in self.allow) if self.allow is not None else None,
        )


class _File(PolicySection):
    replace_rules: bool = False


def load(path: Path) -> Standing:
    """What the file says; BadInput names file, line and field of what is wrong."""
    raw, root = read_yaml(read_text(path), str(path))
    refuse_empty(raw, root, str(path))
    try:
        return _File.model_validate({} if raw is None else raw).value()
    except ValidationError as error:
        location, wrong = first_wrong(error)
        raise BadInput(f"{path}:{line_of(root, location)}: {field(location)}: {wrong}") from error


def section(raw: Any) -> Standing:
    """What is said under `policy`, as YAML has it; pydantic's ValidationError where that cannot be."""
    return PolicySection.model_validate(raw).value()


def of_document(raw: Any, source: str) -> Standing:
    """What a snapshot says that its cluster file said; `source` names it in errors."""
    try:
        return section(raw)
    except ValidationError as error:
        raise BadInput(f"{source}: {said(error)}") from error


def to_document(standing: Standing) -> dict[str, Any]:
    """The same as JSON values, which `of_document` reads."""
    document: dict[str, Any] = standing.said | {"rules": [asdict(rule) for rule in standing.rules]}
    if standing.headroom is not None:
        document["headroom"] = asdict(standing.headroom)
    if (bytes_per_s := document.pop("bandwidth_bytes_per_s", None)) is not None:
        document["bandwidth"] = format_rate(bytes_per_s)
    if standing.weights is not None:
        document["weights"] = asdict(standing.weights)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in document.items()}
