"""migrator export: what a plan makes of another system's file, for that system's own tools to judge."""

from __future__ import annotations

from pathlib import Path

import click

from migrator.cli.output import json_option, print_json


@click.group("export")
def exports() -> None:
    """Write another system's file as it is after a plan, for its own tools to judge."""


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
@click.option("--first", type=click.IntRange(min=0), metavar="N", help="Only the first N moves of the plan.")
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

    plan = plan_file.load(plan_path)
    plan = replace(plan, moves=plan.moves[:first])
    plan_file.write(after_plan(read_text(original), str(original), plan), output)
    if as_json:
        print_json({"file": str(output), "moves": len(plan.moves)})
        return
    click.echo(f"{output}: {original} after {counted(len(plan.moves), 'move')}")
