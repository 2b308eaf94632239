"""migrator import: the files of other systems, as snapshots to plan with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import json_option, print_json

if TYPE_CHECKING:
    from migrator.model.facts import Cluster, Link

_input = click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
_output_option = click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the snapshot here.",
)
_link_option = click.option("--link", "speed", metavar="SPEED", help="Speed of every node's link, such as 10Gbit.")


@click.group("import")
def imports() -> None:
    """Make a snapshot of another system's file, to plan with: migrator plan ... --snapshot FILE."""


@imports.command("ganeti")
@_input
@_output_option
@_link_option
@json_option
def ganeti(path: Path, output: Path, speed: str | None, as_json: bool) -> None:
    """Import Ganeti's text format; nodes marked Y are cordoned, as those that are to be emptied."""
    from migrator.inventory import ganeti
    from migrator.inventory.files import read_text

    _save(ganeti.parse(read_text(path), str(path), _link(speed)), output, as_json)


@imports.command("proxmox")
@_input
@_output_option
@_link_option
@click.option(
    "--cpu-ratio",
    type=click.FloatRange(min=0.1, max=1000),
    default=4.0,
    show_default=True,
    metavar="N",
    help="CPUs that may be promised for each one that a node has.",
)
@json_option
def proxmox(path: Path, output: Path, speed: str | None, cpu_ratio: float, as_json: bool) -> None:
    """Import Proxmox's cluster resources: pvesh get /cluster/resources --output-format json."""
    from migrator.inventory import proxmox
    from migrator.inventory.files import read_text

    _save(proxmox.parse(read_text(path), str(path), _link(speed), cpu_ratio), output, as_json)


def _link(speed: str | None) -> Link:
    from migrator.errors import BadInput
    from migrator.model.facts import Link
    from migrator.model.units import parse_bytes_per_s

    if speed is None:
        return Link()
    try:
        rate = parse_bytes_per_s(speed)
    except ValueError as error:
        raise BadInput(f"--link: {error}") from error
    return Link(rate, rate)


def _save(cluster: Cluster, output: Path, as_json: bool) -> None:
    from migrator.inventory import snapshot

    snapshot.save(cluster, output)
    marked = [node.name for node in cluster.nodes if node.cordon is not None]
    containers = sum(len(node.containers) for node in cluster.nodes)
    document: dict[str, Any] = {
        "snapshot": str(output),
        "nodes": len(cluster.nodes),
        "containers": containers,
        "to_be_emptied": marked,
    }
    if as_json:
        print_json(document)
        return
    click.echo(f"{output}: {len(cluster.nodes)} nodes, {containers} containers")
    if marked:
        click.echo(f"{len(marked)} of them to be emptied: migrator plan drain --cordoned --snapshot {output}")
