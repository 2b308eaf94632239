"""migrator nodes, probe, cordon, uncordon: the cluster as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from migrator.cli.output import clean, json_option, print_json, print_table
from migrator.cli.shared import open_fleet, run_async


async def _probe(ctx: click.Context) -> Any:
    async with open_fleet(ctx) as fleet:
        return await fleet.probe()


@click.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Save the snapshot here.")
@json_option
@click.pass_context
def probe(ctx: click.Context, output: Path | None, as_json: bool) -> None:
    """Ask every node at once for its facts. Prints the snapshot, or saves it with -o."""
    from migrator.inventory import snapshot

    cluster = run_async(_probe(ctx), only_looks=True)
    if output is None:
        print_json(snapshot.to_document(cluster))
        return
    snapshot.save(cluster, output)
    silent = [node.name for node in cluster.nodes if not node.answered]
    if as_json:
        print_json({"output": str(output), "digest": snapshot.digest(cluster), "no_answer": silent})
        return
    click.echo(f"{output}: {len(cluster.nodes) - len(silent)} nodes, {snapshot.digest(cluster)}")
    for name in silent:
        click.echo(clean(f"no answer from {name}: {cluster.node(name).error}"), err=True)


@click.command()
@json_option
@click.pass_context
def nodes(ctx: click.Context, as_json: bool) -> None:
    """Show the nodes of the cluster: versions, room, containers, cordons."""
    from migrator.model.units import format_bytes

    cluster = run_async(_probe(ctx), only_looks=True)
    if as_json:
        print_json({"cluster": cluster.name, "nodes": [_row(node) for node in cluster.nodes]})
        return
    columns = (
        "NODE",
        "STATE",
        "CONTAINERS",
        "CPUS FREE",
        "MEMORY FREE",
        "DISK FREE",
        "PRESSURE",
        "KERNEL",
        "CRIU",
        "RUNC",
    )
    rows = []
    for node in cluster.nodes:
        if not node.answered:
            rows.append((node.name, "no answer", *("-" * 8)))
            continue
        room, whole = node.room, node.capacity
        rows.append(
            (
                node.name,
                f"cordoned ({node.cordon})" if node.cordon is not None else "ready",
                str(len(node.containers)),
                f"{room.cpu_milli / 1000:g} of {whole.cpu_milli / 1000:g}",
                f"{format_bytes(room.memory_bytes)} of {format_bytes(whole.memory_bytes)}",
                f"{format_bytes(room.disk_bytes)} of {format_bytes(whole.disk_bytes)}",
                node.pressure.said(),
                node.kernel,
                node.criu,
                node.runc,
            )
        )
    print_table(columns, rows)
    for node in cluster.nodes:
        if not node.answered:
            click.echo(clean(f"no answer from {node.name}: {node.error}"), err=True)


def _row(node: Any) -> dict[str, Any]:
    from dataclasses import asdict

    row = asdict(node)
    row["containers"] = [container.name for container in node.containers]
    row["room"] = asdict(node.room)
    return row


@click.command()
@click.argument("node")
@json_option
@click.pass_context
def cordon(ctx: click.Context, node: str, as_json: bool) -> None:
    """Mark NODE, on the node itself: nothing new is placed there by anyone."""
    _mark(ctx, node, as_json, "cordon", "operator")


@click.command()
@click.argument("node")
@json_option
@click.pass_context
def uncordon(ctx: click.Context, node: str, as_json: bool) -> None:
    """Take the mark off NODE."""
    _mark(ctx, node, as_json, "uncordon")


def _mark(ctx: click.Context, node: str, as_json: bool, verb: str, *words: str) -> None:
    async def work() -> None:
        async with open_fleet(ctx) as fleet:
            await fleet.node(node).call(verb, *words)

    run_async(work())
    if as_json:
        print_json({"node": node, "cordoned": verb == "cordon"})
    else:
        click.echo(f"node {node}: {verb}ed")
