"""migrator check: a plan file replayed against the facts."""

from __future__ import annotations

from pathlib import Path

import click

from migrator.cli.output import fail, json_option, print_json
from migrator.cli.plan import facts, file_type
from migrator.cli.what_if import facts_options, what_if


@click.command()
@click.argument("plan_path", type=file_type, metavar="PLAN")
@facts_options
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    plan_path: Path,
    snapshot: Path | None,
    gone: tuple[str, ...],
    more: tuple[str, ...],
    as_json: bool,
) -> int:
    """Replay a plan file against the facts, by code that shares nothing with the planner."""
    from migrator.checker.check import check as check_plan
    from migrator.cli.plan_text import findings_json, findings_line, print_findings, summary
    from migrator.inventory import plan_file

    loaded = plan_file.load(plan_path)
    cluster, _ = what_if(facts(ctx, snapshot), gone, more)
    findings = check_plan(cluster, loaded, loaded.policy)
    document = {"plan": str(plan_path), "findings": findings_json(findings)}
    if findings:
        if not as_json:
            print_findings(findings)
        return fail(f"{plan_path}: {findings_line(loaded, findings)}", 3, as_json, document)
    if as_json:
        print_json(document)
    else:
        click.echo(f"{plan_path}: holds: {summary(loaded)}")
    return 0
