"""migrator lab: nodes made of namespaces on this machine."""

from __future__ import annotations

import os
import shlex

import click

from migrator.cli.numbers import FiniteRange
from migrator.cli.output import json_option, print_json, print_table
from migrator.cli.signals import SIGNALS

CPUS_MAX = 10_000
name_option = click.option("--name", default="lab", show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """Nodes made of namespaces on this machine, with real sshd, rsync, CRIU and runc in them."""
    SIGNALS.how_it_is = "half-way; see: migrator lab status; or end it: migrator lab down"


@lab.command()
@json_option
def image(as_json: bool) -> None:
    """Build the lab's root image, once; proves its CRIU on this kernel."""
    from migrator.lab import image as images

    built = images.build(lambda line: click.echo(line, err=True))
    if as_json:
        print_json({"node": str(built.node), "templates": str(built.templates), "criu": built.criu})


@lab.command()
@click.option("--nodes", default=3, show_default=True, help="How many nodes.")
@click.option("--link-mbit", type=click.IntRange(1, 1_000_000), help="Link speed of every node, both ways, Mbit/s.")
@click.option("--cpus", type=FiniteRange(min=0.1), help="CPUs that every node declares.")
@click.option("--memory", help="Memory that every node declares, as 8G.")
@click.option("--disk", help="Disk that every node declares, as 50G.")
@name_option
@json_option
def up(
    nodes: int,
    link_mbit: int | None,
    cpus: float | None,
    memory: str | None,
    disk: str | None,
    name: str,
    as_json: bool,
) -> None:
    """Make a lab, or boot what is down of it."""
    from migrator.errors import BadInput
    from migrator.lab import lab as labs
    from migrator.lab.paths import LabPaths
    from migrator.model.units import parse_bytes

    for option, value in (("--memory", memory), ("--disk", disk)):
        try:
            parse_bytes(value or 0)
        except ValueError as error:
            raise BadInput(f"{option}: {error}") from error
    if cpus is not None and not cpus <= CPUS_MAX:  # which a nan is not
        raise BadInput(f"--cpus {cpus}: at most {CPUS_MAX}")
    paths = LabPaths.of(name)
    spec = labs.up(paths, nodes, link_mbit=link_mbit, cpus=cpus, memory=memory, disk=disk)
    if as_json:
        print_json({"name": name, "cluster_file": str(paths.cluster_file), "nodes": _status(name)})
        return
    click.echo(f"lab {name} is up: {', '.join(spec.nodes)}")
    click.echo(f"addresses for containers: {spec.subnet.container_ip(0)} and up")
    click.echo(f"use it with: export MIGRATOR_CLUSTER={shlex.quote(str(paths.cluster_file))}")


@lab.command()
@name_option
@json_option
def status(name: str, as_json: bool) -> None:
    """Show the nodes of a lab."""
    rows = _status(name)
    if as_json:
        print_json({"name": name, "nodes": rows})
        return
    columns = ("name", "address", "up", "boot_id")
    print_table([c.upper() for c in columns], [[str(row[c]) for c in columns] for row in rows])


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, node: str, command: tuple[str, ...]) -> None:
    """Run a command on a node, as at its console: lab exec NODE -- CMD..."""
    from migrator.lab import lab as labs
    from migrator.lab.paths import LabPaths

    argv = labs.exec_argv(LabPaths.of(name), node, command)
    os.execvp(argv[0], argv)  # noqa: S606


@lab.command()
@click.argument("node")
@name_option
@json_option
def crash(node: str, name: str, as_json: bool) -> None:
    """End everything on a node at once, as a power loss does. Its disk stays."""
    from migrator.lab import lab as labs
    from migrator.lab.paths import LabPaths

    labs.crash(LabPaths.of(name), node)
    _said(as_json, f"node {node} of lab {name} is down", node=node, up=False)


@lab.command()
@click.argument("node")
@name_option
@json_option
def boot(node: str, name: str, as_json: bool) -> None:
    """Boot a node that is down, with a new boot id and nothing started."""
    from migrator.lab import lab as labs
    from migrator.lab.paths import LabPaths

    labs.boot(LabPaths.of(name), node)
    _said(as_json, f"node {node} of lab {name} is up", node=node, up=True)


@lab.command()
@name_option
@json_option
def down(name: str, as_json: bool) -> None:
    """End a lab and remove everything of it."""
    from migrator.lab import lab as labs
    from migrator.lab.paths import LabPaths

    labs.down(LabPaths.of(name))
    _said(as_json, f"lab {name} is gone", name=name)


def _said(as_json: bool, line: str, **document: object) -> None:
    if as_json:
        print_json(document)
    else:
        click.echo(line)


def _status(name: str) -> list[dict[str, object]]:
    from migrator.lab import lab as labs
    from migrator.lab.paths import LabPaths

    return [
        {"name": node.name, "address": node.ip, "up": "yes" if node.up else "no", "boot_id": node.boot_id}
        for node in labs.status(LabPaths.of(name))
    ]
