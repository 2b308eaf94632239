"""Plan files: a plan that people read and diff, and that the program refuses once it was edited.

What is written is in plan_document.py; here it is read, and each field asked whether it can be.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from migrator.errors import BadInput
from migrator.inventory.documents import NODE_NAME, field, first_wrong, line_of, unread
from migrator.inventory.files import read_text
from migrator.inventory.plan_document import (
    INTEGRITY,
    dump,
    integrity,
    older_integrity,
    policy_document,
    save,
    to_document,
    write,
)
from migrator.inventory.policy_file import AllowEntry, HeadroomFields, ModeName, RuleEntry, WayOut, WeightFields
from migrator.model.container import NAME
from migrator.model.estimate import Estimate
from migrator.model.facts import Resources
from migrator.model.modes import AUTO, STOP_TIMEOUT_S, Mode
from migrator.model.plan import VERSION, Plan, PlannedMove, Span
from migrator.model.plan_policy import PlanPolicy, Waived
from migrator.model.rates import Rates, Way
from migrator.model.sameness import WAIVABLE
from migrator.model.units import BYTES_PER_S_MAX

__all__ = [
    "INTEGRITY",
    "PlanFields",
    "PolicyFields",
    "Strict",
    "dump",
    "integrity",
    "load",
    "parse",
    "parsed",
    "policy_document",
    "save",
    "to_document",
    "to_plan",
    "to_policy",
    "write",
]
OLDER_WAY: Way = "images"  # what plans were made for before memory was streamed, and do not tell
Count = Annotated[int, Field(ge=0, le=2**62)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=10_000)]
Container = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
MoveName = Annotated[str, Field(pattern=rf"^{NAME.pattern}(#([2-9]|[1-9][0-9]{{1,3}}))?$")]
Node = Annotated[str, Field(pattern=NODE_NAME)]


def _is_start(text: str) -> str:
    if text and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("is without a time zone")
    return text


def _is_waivable(name: str) -> str:
    if name not in WAIVABLE:
        raise ValueError(f"{name[:40]!r} is no check that can be waived")
    return name


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)  # a command reads few kinds of files


class _Resources(Strict):
    cpu_milli: Count
    disk_bytes: Count
    memory_bytes: Count


class _Estimate(Strict):
    blackout_s: Seconds
    duration_s: Seconds
    files_bytes: Count
    memory_bytes: Count
    rounds: Annotated[int, Field(ge=1)]
    ahead_bytes: Count = 0
    following_bytes: Count = 0
    following_s: Seconds = 0.0
    files_again_s: Seconds = 0.0
    gather_s: Seconds = 0.0
    files_pause_s: Seconds = 0.0


class _Span(Strict):
    end_s: Seconds
    start_s: Seconds


class _Move(Strict):
    container: Container
    demand: _Resources
    estimate: _Estimate
    follows_s: Seconds = 0.0
    generation: Count
    leg: Annotated[int, Field(ge=1, le=9999)] = 1
    memory_way: Way = OLDER_WAY
    mode: Literal["stop-and-copy", "pre-copy", "post-copy", "restart"] = "stop-and-copy"
    pause: _Span | None = None
    reason: Text
    source: Node
    start_s: Seconds | None = None
    target: Node
    waits_for: list[MoveName]


Rate = Annotated[int, Field(ge=1, le=2**62)]


class _Rates(Strict):
    begin_pause_s: Seconds = 0.0
    dump_bytes_per_s: Count
    files_bytes_per_s: Rate
    follow_pause_s: Seconds = 0.0
    pause_s: Seconds
    restore_bytes_per_s: Count
    runs: Count
    send_bytes_per_s: Rate
    setup_s: Seconds
    way: Way = OLDER_WAY


class _Waived(Strict):
    number: Count
    words: Text


class PolicyFields(Strict):
    allow: list[AllowEntry] = []
    anti_affinity: list[Text]
    bandwidth_bytes_per_s: Annotated[int, Field(ge=1, le=BYTES_PER_S_MAX)] | None = None
    blackout_s_max: Annotated[float, Field(gt=0, le=86_400)]
    headroom: HeadroomFields = HeadroomFields()
    headroom_percent: Annotated[int, Field(ge=0, le=90)]
    learnt: dict[Node, dict[Node, _Rates]] = {}
    leave_stopped: bool
    memory_way: Way = OLDER_WAY
    mode: ModeName = AUTO
    not_convergent: WayOut | Literal[""] = ""
    moves_per_node_max: Annotated[int, Field(ge=1)]
    overlapping_pauses: bool = False
    start: Annotated[str, AfterValidator(_is_start)] = ""
    stop_timeout_s: Annotated[float, Field(ge=0, le=86_400)] = STOP_TIMEOUT_S
    target_blackout_s: Seconds | None = None
    waived: list[_Waived] = []
    checks_waived: list[Annotated[str, AfterValidator(_is_waivable)]] = []
    rules: list[RuleEntry] = []
    weights: WeightFields = WeightFields()
    written_bytes_per_s: dict[Container, Count] = {}


class PlanFields(Strict):
    cluster: Text
    empties: list[Node]
    integrity: Text
    intent: Text
    makespan_bound_s: Seconds
    makespan_s: Seconds
    moves: list[_Move]
    notes: list[Text]
    policy: PolicyFields
    snapshot: Text
    stays: list[Container]
    version: Literal[1]


D = TypeVar("D", bound=BaseModel)


def load(path: Path) -> Plan:
    """Reads a plan file; BadInput names file, line and field of what is wrong, an edit after planning included."""
    return parse(read_text(path), str(path))


def parse(text: str, source: str) -> Plan:
    """Checks the text of a plan file; `source` names it in errors."""
    return to_plan(parsed(text, source, PlanFields))


def parsed(text: str, source: str, kind: type[D]) -> D:
    """Checks the text of a file of this program's that has a version and an integrity."""
    raw = _json(text, source)
    if not isinstance(raw, dict):
        raise BadInput(f"{source}:1: a plan file holds one object")
    _refuse_other_kind(raw.get("kind"), source, kind)
    if raw.get("version") != VERSION:
        line = _line_of(text, ["version"])
        raise BadInput(f"{source}:{line}: version: is {raw.get('version')!r}, this program reads {VERSION}")
    try:
        document = kind.model_validate(raw)
    except ValidationError as error:
        location, wrong = first_wrong(error)
        raise BadInput(f"{source}:{_line_of(text, location)}: {field(location, raw)}: {wrong}") from error
    if raw[INTEGRITY] not in (integrity(raw), older_integrity(raw)):  # the second is that of earlier versions
        line = _line_of(text, [INTEGRITY])
        raise BadInput(f"{source}:{line}: integrity: does not match: the file was edited after planning; plan again")
    return document


def _refuse_other_kind(found: Any, source: str, kind: type[BaseModel]) -> None:
    """Refuses a plan where groups of a reboot are wanted, and the other way round, with what to do."""
    wanted = "reboot" if "kind" in kind.model_fields else None
    if found == "reboot" != wanted:
        take = f"migrator plan group {shlex.quote(source)} 1 -o PLAN"
        raise BadInput(f"{source}: holds the groups of a reboot, each with a plan of its own: take one out with {take}")
    if wanted is not None and found is None:
        raise BadInput(f"{source}: is not a file of reboot groups, which migrator plan reboot -o FILE writes")


def _json(text: str, source: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, _ in pairs:
            if sum(other == key for other, _ in pairs) > 1:
                raise BadInput(f"{source}: {key}: is there twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise BadInput(f"{source}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        raise BadInput(f"{source}: not a plan: {unread(error)}") from error


def _line_of(text: str, location: Sequence[int | str]) -> int:
    """The line (from 1) of a field. JSON is YAML, with marks."""
    try:
        return line_of(yaml.compose(text, Loader=yaml.SafeLoader), location)
    except (yaml.YAMLError, RecursionError):
        return 1


def to_plan(document: PlanFields) -> Plan:
    return Plan(
        intent=document.intent,
        cluster=document.cluster,
        snapshot=document.snapshot,
        empties=tuple(document.empties),
        moves=tuple(_move(move) for move in document.moves),
        makespan_s=document.makespan_s,
        makespan_bound_s=document.makespan_bound_s,
        stays=tuple(document.stays),
        notes=tuple(document.notes),
        policy=to_policy(document.policy),
    )


_NOT_AS_WRITTEN = {"allow", "anti_affinity", "rules", "headroom", "learnt", "weights", "waived", "checks_waived"}


def to_policy(policy: PolicyFields) -> PlanPolicy:
    return PlanPolicy(
        **policy.model_dump(
            exclude={"allow", "anti_affinity", "rules", "headroom", "learnt", "weights", "waived", "checks_waived"}
        ),
        learnt={
            source: {target: Rates(**rates.model_dump()) for target, rates in targets.items()}
            for source, targets in policy.learnt.items()
        },
        waived=tuple(Waived(**waived.model_dump()) for waived in policy.waived),
        checks_waived=tuple(policy.checks_waived),
        weights=policy.weights.value(),
        headroom=policy.headroom.value(),
        anti_affinity=tuple(policy.anti_affinity),
        allow=tuple(entry.value() for entry in policy.allow),
        rules=tuple(entry.value() for entry in policy.rules),
    )


def _move(move: _Move) -> PlannedMove:
    return PlannedMove(
        container=move.container,
        source=move.source,
        target=move.target,
        generation=move.generation,
        demand=Resources(**move.demand.model_dump()),
        reason=move.reason,
        estimate=Estimate(**move.estimate.model_dump()),
        waits_for=tuple(move.waits_for),
        start_s=move.start_s,
        pause=None if move.pause is None else Span(**move.pause.model_dump()),
        leg=move.leg,
        memory_way=move.memory_way,
        mode=Mode(move.mode),
        follows_s=move.follows_s,
    )
