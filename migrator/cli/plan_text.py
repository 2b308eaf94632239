"""A plan, a refusal and findings as people read them, and as documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import click

from migrator.checker.findings import Finding
from migrator.cli.notes_text import print_notes
from migrator.cli.output import clean, print_table
from migrator.inventory.plan_document import integrity, to_document
from migrator.model.plan import Plan, Reason, Refusal, brief, few
from migrator.model.plan_policy import PlanPolicy, Waived
from migrator.model.units import counted, format_bytes, format_seconds

FINDINGS_MAX = 40  # of a plan that does not hold, the first are enough for a screen


def print_plan(plan: Plan) -> None:
    """The moves in order with what each waits for and costs, then why each goes where it goes, then notes."""
    if plan.moves:
        print_table(
            ("CONTAINER", "MOVE", "WAITS FOR", "MEMORY", "FILES", "DURATION", "BLACKOUT"),
            [
                (
                    move.name,
                    f"{move.source} -> {move.target}",
                    ", ".join(move.waits_for) or "-",
                    format_bytes(move.estimate.memory_bytes),
                    format_bytes(move.estimate.files_bytes),
                    format_seconds(move.estimate.duration_s),
                    format_seconds(move.estimate.blackout_s),
                )
                for move in plan.moves
            ],
        )
        click.echo()
    for move in plan.moves:
        click.echo(clean(f"{move.name} to {move.target}: {move.reason}"))
    print_notes(plan.notes)
    click.echo(summary(plan))


def summary(plan: Plan) -> str:
    """One line: what, how much, how long."""
    total = sum(move.estimate.bytes for move in plan.moves)
    waived = waived_said(plan.policy)
    return clean(
        f"{brief(plan.intent)}: {counted(len(plan.moves), 'move')}, {format_bytes(total)}, about "
        f"{format_seconds(plan.makespan_s)} (the busiest link alone needs {format_seconds(plan.makespan_bound_s)})"
        f"{waived and '; ' + waived}"
    )


def waived_said(policy: PlanPolicy) -> str:
    """Which rules and checks a plan was made without; empty if none was waived."""
    words = [str(waived) for waived in _waived(policy)]
    return f"waived: {few(words)}" if words else ""


def waived_json(policy: PlanPolicy) -> list[dict[str, Any]]:
    return [asdict(waived) for waived in _waived(policy)]


def _waived(policy: PlanPolicy) -> tuple[Waived, ...]:
    return (*policy.waived, *(Waived(0, f"check {name}") for name in policy.checks_waived))


def moment(plan: Plan, at_s: float) -> str:
    """A second of a plan: by the clock of the zone in which its start is told, or counted where none is known."""
    try:
        then = datetime.fromisoformat(plan.policy.start) + timedelta(seconds=at_s)
    except (ValueError, OverflowError):
        return format_seconds(at_s)
    return then.replace(tzinfo=None).isoformat(" ", timespec="seconds")


def plan_json(plan: Plan) -> dict[str, Any]:
    """What the document of a run holds of its plan."""
    return {
        "integrity": integrity(to_document(plan)),
        "snapshot": plan.snapshot,
        "moves": len(plan.moves),
        "makespan_s": plan.makespan_s,
        "makespan_bound_s": plan.makespan_bound_s,
        "notes": list(plan.notes),
        "waived": waived_json(plan.policy),
    }


def refusal_json(refusal: Refusal) -> dict[str, Any]:
    return {
        "intent": refusal.intent,
        "reasons": _reasons(refusal.reasons),
        "refusals": [
            {"container": s.container, "node": s.node, "reasons": _reasons(s.reasons), "change": s.change}
            for s in refusal.containers
        ],
        "change": refusal.change,
    }


def _reasons(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [{"text": reason.text, "node": reason.node} for reason in reasons]


def print_findings(findings: Sequence[Finding]) -> None:
    if findings:
        print_table(
            ("FINDING", "CONTAINER", "NODE", "WHAT"),
            [(str(f.code), f.container or "-", f.node or "-", f.text) for f in findings[:FINDINGS_MAX]],
        )
        if len(findings) > FINDINGS_MAX:
            click.echo(f"... and {len(findings) - FINDINGS_MAX} more; --json has them all")


def findings_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [{"code": str(f.code), "container": f.container, "node": f.node, "text": f.text} for f in findings]


def findings_line(plan: Plan, findings: Sequence[Finding]) -> str:
    return f"{brief(plan.intent)}: {counted(len(findings), 'finding')}: {_some([f.text for f in findings])}"


def _some(words: Sequence[str]) -> str:
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")
