"""migrator check: a plan file replayed against the facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from migrator.cli.output import clean, fail, json_option, print_json
from migrator.cli.plan import file_type
from migrator.cli.reboot_look import check_reboot_file
from migrator.cli.what_if import facts_asked, facts_options


@click.command()
@click.argument("plan_path", type=file_type, metavar="PLAN")
@facts_options
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    /,
    plan_path: Path,
    as_json: bool,
    **asked: Any,
) -> int:
    """Replay a plan file, or one of reboot groups, against the facts, by code that shares nothing with the planner."""
    from migrator.checker.check import check as check_plan
    from migrator.checker.laxer import laxer_note
    from migrator.checker.standing import standing_notes
    from migrator.cli.plan_text import findings_json, findings_line, print_findings, summary, waived_json
    from migrator.inventory import plan_file, reboot_file

    if reboot_file.holds(plan_path):
        return check_reboot_file(ctx, plan_path, as_json, asked)
    loaded = plan_file.load(plan_path)
    cluster, _ = facts_asked(ctx, **asked)
    findings = check_plan(cluster, loaded, loaded.policy)
    notes = [f"{note} already; the plan does not make it worse" for note in standing_notes(cluster)]
    notes += [laxer] if (laxer := laxer_note(cluster, loaded)) else []
    document = {"plan": str(plan_path), "findings": findings_json(findings), "notes": notes}
    document["waived"] = waived_json(loaded.policy)
    if findings:
        if not as_json:
            print_findings(findings)
        return fail(f"{plan_path}: {findings_line(loaded, findings)}", 3, as_json, document)
    if as_json:
        print_json(document)
    else:
        for note in notes:
            click.echo(clean(f"note: {note}"))
        click.echo(f"{plan_path}: holds: {summary(loaded)}")
    return 0
