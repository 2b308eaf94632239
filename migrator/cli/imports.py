"""migrator import: the files of other systems, as snapshots to plan with."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.hints import pasteable
from migrator.cli.numbers import FiniteRange
from migrator.cli.output import clean, json_option, print_json
from migrator.cli.shared import not_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.model.facts import Cluster, Link, NodeFacts

_input = click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
_output_option = click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the snapshot here.",
)
_uplink_option = click.option(
    "--uplink",
    metavar="LABEL=SPEED",
    help="What nodes with one value of a label share to all others, such as rack=40Gbit.",
)
_link_option = click.option("--link", "speed", metavar="SPEED", help="Speed of every node's link, such as 10Gbit.")


@click.group("import")
def imports() -> None:
    """Make a snapshot of another system's file, to plan with: migrator plan ... --snapshot FILE."""


@imports.command("ganeti")
@_input
@_output_option
@_link_option
@_uplink_option
@json_option
def ganeti(path: Path, output: Path, speed: str | None, uplink: str | None, as_json: bool) -> None:
    """Import Ganeti's text format; nodes marked Y are cordoned, as those that are to be emptied."""
    from migrator.inventory import ganeti
    from migrator.inventory.files import read_text

    not_over(output, path)
    _save(_uplinked(ganeti.parse(read_text(path), str(path), _link(speed)), uplink), output, as_json)


@imports.command("proxmox")
@_input
@_output_option
@_link_option
@click.option(
    "--cpu-ratio",
    type=FiniteRange(min=0.1, max=1000),
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

    not_over(output, path)
    cluster, told = proxmox.parse(read_text(path), str(path), _link(speed), cpu_ratio)
    _save(cluster, output, as_json, told)


def _link(speed: str | None) -> Link:
    from migrator.model.facts import Link

    rate = _rate(speed, "--link") if speed is not None else None
    return Link(rate, rate)


def _uplinked(cluster: Cluster, uplink: str | None) -> Cluster:
    """The cluster with a shared link for each value of the label that `uplink` names."""
    from dataclasses import replace

    from migrator.errors import BadInput, quoted
    from migrator.model.facts import SharedLink

    if uplink is None:
        return cluster
    label, equals, speed = uplink.partition("=")
    if not label or not equals:
        raise BadInput(f"--uplink: {quoted(uplink)} is not LABEL=SPEED, such as rack=40Gbit")
    rate = _rate(speed, "--uplink")
    behind: dict[str, list[str]] = {}
    for node in cluster.nodes:
        if label in node.labels:
            behind.setdefault(node.labels[label], []).append(node.name)
    if not behind:
        raise BadInput(f"--uplink: no node has a label {quoted(label)}")
    links = tuple(SharedLink(f"{value}-up", tuple(names), rate, rate) for value, names in sorted(behind.items()))
    return replace(cluster, links=links)


def _rate(speed: str, option: str) -> int:
    from migrator.errors import BadInput
    from migrator.model.units import parse_bytes_per_s

    try:
        return parse_bytes_per_s(speed)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error


def _save(cluster: Cluster, output: Path, as_json: bool, told: tuple[str, ...] = ()) -> None:
    from migrator.inventory import snapshot
    from migrator.model.units import counted

    snapshot.save(cluster, output)
    marked = [node.name for node in cluster.nodes if node.cordon is not None]
    containers = sum(len(node.containers) for node in cluster.nodes)
    document: dict[str, Any] = {
        "snapshot": str(output),
        "nodes": len(cluster.nodes),
        "containers": containers,
        "to_be_emptied": marked,
        "notes": list(told),
    }
    if as_json:
        print_json(document)
        return
    click.echo(f"{output}: {counted(len(cluster.nodes), 'node')}, {counted(containers, 'container')}")
    for note in told:
        click.echo(clean(f"note: {note}"), err=True)
    if marked:
        words = f"--snapshot {shlex.quote(str(output))}{_stopped_option(cluster)}{_pause_option(cluster)}"
        click.echo(pasteable(f"{len(marked)} of them to be emptied: migrator plan drain --cordoned {words}"))
    if hint := _pause_hint(cluster):
        click.echo(hint)


def _stopped_option(cluster: Cluster) -> str:
    """The option that a drain of the marked nodes needs where something on them does not run."""
    marked = (node for node in cluster.nodes if node.cordon is not None)
    return " --leave-stopped" if any(c.state == "stopped" for node in marked for c in node.containers) else ""


def _pause_option(cluster: Cluster) -> str:
    """The option that a drain of the marked nodes needs where a pause is predicted longer than what is allowed."""
    long_s = _long_pauses_s(cluster, [node for node in cluster.nodes if node.cordon is not None])
    return f" --max-blackout {math.ceil(max(long_s))}" if long_s else ""


def _pause_hint(cluster: Cluster) -> str:
    """What is to be known before a plan that chooses by itself; empty where no pause is longer than what is allowed."""
    from migrator.model.policy import BLACKOUT_S_MAX
    from migrator.model.units import counted

    long_s = _long_pauses_s(cluster, cluster.nodes)
    if not long_s:
        return ""
    return (
        f"{counted(len(long_s), 'container')} with a predicted pause over {BLACKOUT_S_MAX:g} s: no plan moves what has "
        f"one, consolidate and rebalance included, without --max-blackout {math.ceil(max(long_s))}"
    )


def _long_pauses_s(cluster: Cluster, nodes: Sequence[NodeFacts]) -> list[float]:
    """Predicted pauses, of containers on these nodes, that are longer than what is allowed unless told otherwise."""
    from migrator.model.estimate import estimate_move
    from migrator.model.policy import BLACKOUT_S_MAX
    from migrator.model.rates import DEFAULT_RATES

    rates, shared = DEFAULT_RATES["stream"], [link.up_bytes_per_s for link in cluster.links if link.up_bytes_per_s]
    pauses_s = (
        estimate_move(container, node.link, node.link, rates, shared).blackout_s
        for node in nodes
        for container in node.containers
    )
    return [pause_s for pause_s in pauses_s if pause_s > BLACKOUT_S_MAX]
