"""migrator export: what a plan makes of facts: as a snapshot to plan on with, or as the file of another system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from migrator.cli.output import json_option, print_json
from migrator.cli.shared import not_over
from migrator.cli.what_if import facts_asked, facts_options


@click.group("export")
def exports() -> None:
    """Write what a plan ends in: a snapshot to plan on with, or another system's file for its own tools to judge."""


_first_option = click.option(
    "--first", type=click.IntRange(min=0), metavar="N", help="Only the first N moves of the plan."
)


@exports.command("snapshot")
@click.argument("plan_path", type=click.Path(dir_okay=False, path_type=Path), metavar="PLAN")
@facts_options
@_first_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the snapshot here.",
)
@json_option
@click.pass_context
def after_plan_as_snapshot(
    ctx: click.Context, /, plan_path: Path, first: int | None, output: Path, as_json: bool, **asked: Any
) -> None:
    """Write the facts as they are once PLAN is done: plan ... --snapshot FILE goes on from there.

    Containers are where the plan takes them, and the nodes that it empties are cordoned.
    """
    from dataclasses import replace

    from migrator.cli.look import followed
    from migrator.errors import Refused
    from migrator.inventory import plan_file, snapshot
    from migrator.model.plan import few
    from migrator.model.units import counted
    from migrator.model.what_if import after

    not_over(output, plan_path, asked["snapshot"])
    plan = plan_file.load(plan_path)
    cluster, _ = facts_asked(ctx, **asked)
    if plan.cluster != cluster.name:
        raise Refused(f"{plan_path}: the plan is for cluster {plan.cluster!r}, and these facts are of {cluster.name!r}")
    followed(cluster, plan)
    moves = plan.moves[:first]
    ended = after(cluster, replace(plan, moves=moves))
    snapshot.save(ended, output)
    told = {
        "snapshot": str(output),
        "moves": len(moves),
        "digest": snapshot.digest(ended),
        "cordoned": list(plan.empties),
    }
    if as_json:
        print_json(told)
        return
    emptied = f"; {few(plan.empties)} {'is' if len(plan.empties) == 1 else 'are'} cordoned" if plan.empties else ""
    click.echo(f"{output}: the facts after {counted(len(moves), 'move')}{emptied}")


@exports.command("ganeti")
@click.argument("plan_path", type=click.Path(dir_okay=False, path_type=Path), metavar="PLAN")
@click.option(
    "--of",
    "original",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file that the plan's snapshot was imported from.",
)
@_first_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the result here.",
)
@json_option
def ganeti(plan_path: Path, original: Path, first: int | None, output: Path, as_json: bool) -> None:
    """Write Ganeti's text format with every instance where PLAN takes it: hbal -t FILE prints its score."""
    from dataclasses import replace

    from migrator.inventory import plan_file
    from migrator.inventory.files import read_text
    from migrator.inventory.ganeti_export import after_plan
    from migrator.model.units import counted

    not_over(output, plan_path, original)
    plan = plan_file.load(plan_path)
    plan = replace(plan, moves=plan.moves[:first])
    plan_file.write(after_plan(read_text(original), str(original), plan), output)
    if as_json:
        print_json({"file": str(output), "moves": len(plan.moves)})
        return
    click.echo(f"{output}: {original} after {counted(len(plan.moves), 'move')}")
