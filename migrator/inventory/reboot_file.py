"""Files of reboot groups: which nodes are down together, each group with the plans of its drain and its return.

Written as plan files are (plan_file.py). Each `plan` and `return_plan` in it is a plan file's content, with an
integrity of its own, so that it can be taken out and applied; the totals beside them have to agree with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from migrator.errors import BadInput
from migrator.inventory import plan_file
from migrator.inventory.files import read_text
from migrator.inventory.plan_file import (
    INTEGRITY,
    Container,
    Count,
    Node,
    PlanFields,
    PolicyFields,
    Seconds,
    Strict,
    Text,
)
from migrator.model.plan import Plan, Reason, Refusal, Stuck
from migrator.model.reboot import Reboot, RefusedNode


class _Reason(Strict):
    node: Text
    text: Text


class _Stuck(Strict):
    change: Text = ""
    container: Container
    node: Node
    reasons: list[_Reason]


class _Refused(Strict):
    change: Text = ""
    node: Node
    reasons: list[_Reason]
    refusals: list[_Stuck]


class _Group(Strict):
    away: list[Container]
    bytes: Count
    makespan_s: Seconds
    moves: Count
    nodes: list[Node]
    plan: PlanFields
    return_bytes: Count
    return_makespan_s: Seconds
    return_moves: Count
    return_plan: PlanFields


class _Document(Strict):
    cluster: Text
    groups: list[_Group]
    groups_min: Count
    integrity: Text
    intent: Text
    kind: Literal["reboot"]
    notes: list[Text]
    policy: PolicyFields
    refused: list[_Refused]
    snapshot: Text
    version: Literal[1]


def to_document(reboot: Reboot) -> dict[str, Any]:
    """The groups as JSON values, with their integrity."""
    document = {
        "cluster": reboot.cluster,
        "groups": [
            group_totals(plan, back) | {"plan": plan_file.to_document(plan), "return_plan": plan_file.to_document(back)}
            for plan, back in zip(reboot.groups, reboot.returns, strict=True)
        ],
        "groups_min": reboot.groups_min,
        "intent": reboot.intent,
        "kind": "reboot",
        "notes": list(reboot.notes),
        "policy": plan_file.policy_document(reboot.policy),
        "refused": [_refused(one) for one in reboot.refused],
        "snapshot": reboot.snapshot,
        "version": reboot.version,
    }
    return document | {INTEGRITY: plan_file.integrity(document)}


def group_totals(plan: Plan, back: Plan) -> dict[str, Any]:
    """What one group comes to: its nodes; number, bytes and predicted seconds of its moves, and of those of its return;
    and the containers that do not come back.
    """
    return {
        "away": sorted(plan.ways().keys() - back.ways().keys()),
        "bytes": sum(move.estimate.bytes for move in plan.moves),
        "makespan_s": plan.makespan_s,
        "moves": len(plan.moves),
        "nodes": list(plan.empties),
        "return_bytes": sum(move.estimate.bytes for move in back.moves),
        "return_makespan_s": back.makespan_s,
        "return_moves": len(back.moves),
    }


def holds(path: Path) -> bool:
    """Whether a file says of itself that it is one of reboot groups; of a file that cannot be read nothing is said."""
    try:
        text = path.read_text()
        found = json.loads(text) if '"kind"' in text else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("kind") == "reboot"


def dump(reboot: Reboot) -> str:
    """The text of the file: equal groups, equal bytes."""
    return json.dumps(to_document(reboot), indent=1, sort_keys=True) + "\n"


def save(reboot: Reboot, path: Path) -> None:
    """Writes the file, whole or not at all."""
    plan_file.write(dump(reboot), path)


def load(path: Path) -> Reboot:
    """Reads the file; BadInput names file, line and field of what is wrong, an edit after planning included."""
    return parse(read_text(path), str(path))


def parse(text: str, source: str) -> Reboot:
    """Checks the text of a file of reboot groups; `source` names it in errors."""
    document = plan_file.parsed(text, source, _Document)
    reboot = Reboot(
        intent=document.intent,
        cluster=document.cluster,
        snapshot=document.snapshot,
        groups=tuple(plan_file.to_plan(group.plan) for group in document.groups),
        returns=tuple(plan_file.to_plan(group.return_plan) for group in document.groups),
        groups_min=document.groups_min,
        refused=tuple(_to_refused(one) for one in document.refused),
        notes=tuple(document.notes),
        policy=plan_file.to_policy(document.policy),
    )
    for number, (group, plan, back) in enumerate(zip(document.groups, reboot.groups, reboot.returns, strict=True)):
        if group.model_dump(exclude={"plan", "return_plan"}) != group_totals(plan, back):
            raise BadInput(f"{source}: groups.{number}: its totals are not those of its plans")
    return reboot


def _refused(one: RefusedNode) -> dict[str, Any]:
    return {
        "change": one.refusal.change,
        "node": one.node,
        "reasons": _told(one.refusal.reasons),
        "refusals": [
            {
                "change": stuck.change,
                "container": stuck.container,
                "node": stuck.node,
                "reasons": _told(stuck.reasons),
            }
            for stuck in one.refusal.containers
        ],
    }


def _to_refused(one: _Refused) -> RefusedNode:
    containers = tuple(Stuck(s.container, s.node, _to_reasons(s.reasons), s.change) for s in one.refusals)
    refusal = Refusal(f"drain {one.node}", containers, _to_reasons(one.reasons), one.change)
    return RefusedNode(one.node, refusal)


def _told(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [{"node": reason.node, "text": reason.text} for reason in reasons]


def _to_reasons(reasons: list[_Reason]) -> tuple[Reason, ...]:
    return tuple(Reason(reason.text, reason.node) for reason in reasons)
