"""migrator lab: nodes on this machine, made of namespaces or of virtual machines."""

from __future__ import annotations

import os
import shlex

import click

from migrator.cli.numbers import FiniteRange
from migrator.cli.output import json_option, print_json, print_table
from migrator.cli.signals import SIGNALS

CPUS_MAX = 10_000
VMS_MAX = 8
name_option = click.option("--name", default="lab", show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """Nodes on this machine, made of namespaces or virtual machines, with real sshd, rsync, CRIU and runc in them."""
    SIGNALS.how_it_is = "half-way; see: migrator lab status; or end it: migrator lab down"


@lab.command()
@click.option("--vms", is_flag=True, help="The image for virtual machines too: QEMU, kernels, a disk.")
@click.option("--podman", is_flag=True, help="podman's packages too: the benchmark of the blackout measures it.")
@json_option
def image(vms: bool, podman: bool, as_json: bool) -> None:
    """Build the lab's root image, once; proves its CRIU on this kernel."""
    from migrator.lab import image as images
    from migrator.lab import podman as packages
    from migrator.lab import vm_image

    built = images.build(lambda line: click.echo(line, err=True))
    if vms:
        vm_image.build(lambda line: click.echo(line, err=True))
    if podman:
        packages.build(lambda line: click.echo(line, err=True))
    if as_json:
        print_json({"node": str(built.node), "templates": str(built.templates), "criu": built.criu})


@lab.command()
@click.option("--nodes", type=int, help="How many nodes of namespaces.  [default: as many as there are, or 3]")
@click.option("--vms", type=int, help="How many nodes, each a virtual machine with a kernel of its own.")
@click.option(
    "--kernels", help="With --vms: kernels of the nodes in their order, as 6.1,6.12; the last one for the rest."
)
@click.option("--link-mbit", type=click.IntRange(1, 1_000_000), help="Link speed of every node, both ways, Mbit/s.")
@click.option(
    "--cgroups",
    help="Control groups of the nodes in their order, as hybrid,v2; the last for the rest: v2, hybrid (version 1's "
    "controllers, version 2's tree beside them), legacy (version 1 alone).  [default: v2]",
)
@click.option("--cpus", type=FiniteRange(min=0.1), help="CPUs that every node declares.")
@click.option("--memory", help="Memory that every node declares, as 8G.")
@click.option("--disk", help="Disk that every node declares, as 50G.")
@name_option
@json_option
def up(
    nodes: int | None,
    vms: int | None,
    kernels: str | None,
    link_mbit: int | None,
    cgroups: str | None,
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
    chosen = _kernels(nodes, vms, kernels, link_mbit)
    groups = _cgroups(cgroups, vms)
    spec = labs.up(paths, vms or nodes, chosen, groups, link_mbit=link_mbit, cpus=cpus, memory=memory, disk=disk)
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
    columns = ["name", "address", "up", "boot_id"]
    if any("kernel" in row for row in rows):
        columns.append("kernel")
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
@click.argument("node")
@name_option
@json_option
def reboot(node: str, name: str, as_json: bool) -> None:
    """Reboot a node and wait until it is up: a virtual machine by its own kernel, else as after a power loss."""
    from migrator.lab import lab as labs
    from migrator.lab.paths import LabPaths

    labs.reboot(LabPaths.of(name), node)
    _said(as_json, f"node {node} of lab {name} is up again", node=node, up=True)


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
        {
            "name": node.name,
            "address": node.ip,
            "up": "yes" if node.up else "no",
            "boot_id": node.boot_id,
            **({"kernel": node.kernel} if node.kernel else {}),
        }
        for node in labs.status(LabPaths.of(name))
    ]


def _kernels(nodes: int | None, vms: int | None, kernels: str | None, link_mbit: int | None) -> list[str]:
    """One kernel for each virtual machine that is asked for; none for a lab of namespaces."""
    from migrator.errors import BadInput
    from migrator.lab.vm_image import KERNEL_DEFAULT, KERNEL_SUITES

    if vms is None:
        if kernels is not None:
            raise BadInput("--kernels: only virtual machines have kernels of their own; say how many with --vms")
        return []
    if nodes is not None:
        raise BadInput("--nodes and --vms: a lab has nodes of one kind; give one of the two")
    if not 1 <= vms <= VMS_MAX:
        raise BadInput(f"--vms {vms}: a lab has 1 to {VMS_MAX} virtual machines")
    if link_mbit is not None:
        raise BadInput("--link-mbit: only links of namespaces are shaped; leave it out with --vms")
    named = (kernels or KERNEL_DEFAULT).split(",")
    for kernel in named:
        if kernel not in KERNEL_SUITES:
            raise BadInput(f"--kernels {kernels}: there is no {kernel!r}; there are {', '.join(KERNEL_SUITES)}")
    if len(named) > vms:
        raise BadInput(f"--kernels {kernels}: names {len(named)} for {vms} virtual machines")
    return named + named[-1:] * (vms - len(named))


def _cgroups(named: str | None, vms: int | None) -> list[str]:
    from migrator.errors import BadInput
    from migrator.lab.lab import CGROUPS

    if named is None:
        return []
    if vms is not None:
        raise BadInput("--cgroups: only nodes of namespaces can be told; virtual machines have version 2")
    if unknown := [word for word in named.split(",") if word not in CGROUPS]:
        raise BadInput(f"--cgroups {named}: there is no {unknown[0]!r}; there are {', '.join(CGROUPS)}")
    return named.split(",")
