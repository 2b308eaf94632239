"""migrator ct list: the containers of all nodes, or those that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import click

from migrator.cli.output import clean, json_option, print_json, print_table
from migrator.cli.shared import open_whole_fleet, run_async

COLUMNS = ("NAME", "NODE", "STATE", "ADDRESS", "MEMORY", "LIMIT", "CPUS", "PRESSURE", "NOT ENFORCED", "LABELS")


@click.command("list")
@click.argument("patterns", nargs=-1, metavar="[NAME|PATTERN]...")
@click.option("--node", "nodes", multiple=True, help="Only those of this node; may be repeated.")
@click.option("--state", "states", multiple=True, help="Only those in it, as running or stopped; may be repeated.")
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="Only those with it; may be repeated.")
@click.option("-q", "--quiet", is_flag=True, help="Names alone, one a line.")
@json_option
@click.pass_context
def list_(
    ctx: click.Context,
    patterns: tuple[str, ...],
    nodes: tuple[str, ...],
    states: tuple[str, ...],
    labels: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """List the containers of all nodes that answer, or those of these names: ct list 'web*'."""
    if states:
        _refuse_unknown(states)

    async def work() -> Any:
        async with open_whole_fleet(ctx) as fleet:
            for node in nodes:
                fleet.file.entry(node)
            return await fleet.survey()

    cluster = run_async(work(), only_looks=True)
    from migrator.executor.rows import rows_of

    rows = selected(rows_of(cluster), patterns, nodes, states, labels)
    silent = {node.name: node.error for node in cluster.nodes if not node.answered}
    if as_json:
        print_json({"containers": rows, "no_answer": silent})
        return
    if quiet:
        for row in rows:
            click.echo(row["name"])
    else:
        print_table(COLUMNS, [cells(row) for row in rows])
    for row in rows:
        if row["keeper"] not in ("", "watching"):
            click.echo(f"container {row['name']} on {row['node']}: {row['keeper']}", err=True)
    for name, error in silent.items():
        click.echo(clean(f"no answer from {name}: {error}"), err=True)


def _refuse_unknown(states: Sequence[str]) -> None:
    from migrator.errors import BadInput, quoted
    from migrator.executor.rows import ROW_STATES

    if unknown := next((state for state in states if state not in ROW_STATES), ""):
        raise BadInput(f"--state {quoted(unknown)}: no container is ever in it; one of: {'; '.join(ROW_STATES)}")


def selected(
    rows: Sequence[dict[str, Any]],
    patterns: Sequence[str] = (),
    nodes: Sequence[str] = (),
    states: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Rows that meet every kind of wish that there is: any of the patterns, nodes and states, and all labels."""
    wanted = [label.partition("=") for label in labels]
    return [
        row
        for row in rows
        if (not patterns or any(fnmatchcase(row["name"], pattern) for pattern in patterns))
        and (not nodes or row["node"] in nodes)
        and (not states or row["state"] in states)
        and all(key in row["labels"] and (not sign or row["labels"][key] == value) for key, sign, value in wanted)
    ]


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    from migrator.model.units import format_bytes

    return (
        row["name"],
        row["node"],
        row["state"],
        " ".join(row["addresses"]) or "-",
        format_bytes(row["rss_bytes"]),
        format_bytes(row["memory_bytes"]),
        f"{row['cpu_milli'] / 1000:g}",
        row["waits"],
        ",".join(row["not_enforced"]) or "-",
        ",".join(f"{key}={value}" for key, value in row["labels"].items()) or "-",
    )
