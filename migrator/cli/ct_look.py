"""migrator ct enter, show, restart: one container, as a person works with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import clean, json_option, print_json
from migrator.cli.shared import OF_ACTS, open_fleet, run_async

if TYPE_CHECKING:
    from migrator.model.container import Descriptor
    from migrator.model.facts import ContainerFacts, NodeFacts

# The container's own login shell, whichever of the two it has.
SHELL = ("/bin/sh", "-c", "[ -x /bin/bash ] && exec /bin/bash -l; exec /bin/sh -l")


@click.command()
@click.argument("name")
@click.pass_context
def enter(ctx: click.Context, name: str) -> int:
    """A shell in a container, as its root; it ends with `exit`, or when the container moves."""
    from migrator.errors import BadInput
    from migrator.executor.containers import exec_in

    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise BadInput(f"ct enter: there is no terminal; run a command with: migrator ct exec {name} -- CMD...")

    async def work() -> int:
        async with open_fleet(ctx) as fleet:
            return await exec_in(fleet, name, SHELL, sys.stdin, sys.stdout, sys.stderr)

    code = run_async(work())
    ctx.exit(code)
    return code


@click.command()
@click.argument("name")
@click.option("--grace", default=10, show_default=True, type=click.IntRange(0, 600), help="Seconds before SIGKILL.")
@json_option
@click.pass_context
def restart(ctx: click.Context, name: str, grace: int, as_json: bool) -> None:
    """Stop a container and start it again, where it is; one that is down is started."""
    from migrator.executor.fleet import find_container

    async def work() -> str:
        async with open_fleet(ctx) as fleet:
            node, found = find_container(await fleet.survey(), name)
            if found.state == "serving":
                await fleet.node(node.name).call("ct-stop", name, grace, timeout_s=grace + 30)
            await fleet.node(node.name).call("ct-start", name, "ask", timeout_s=60)
            return node.name

    where = run_async(work(), ending=OF_ACTS)
    if as_json:
        print_json({"name": name, "node": where, "result": "restarted"})
    else:
        click.echo(f"container {name} on {where}: restarted")


@click.command()
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one container: what it is, where, what it may have and what it uses."""
    from migrator.executor.fleet import find_container
    from migrator.executor.rows import rows_of

    async def work() -> Any:
        async with open_fleet(ctx) as fleet:
            return await fleet.probe()

    cluster = run_async(work(), only_looks=True)
    node, found = find_container(cluster, name)
    row = next(row for row in rows_of(cluster) if (row["name"], row["node"]) == (name, node.name))
    if as_json:
        made_of = asdict(found.descriptor) | {"env": _names(found.descriptor.env)} if found.descriptor else None
        print_json(row | {"disks_bytes": found.disks_bytes, "descriptor": made_of})
        return
    for word, value in lines_of(node, found, row):
        click.echo(f"{word:<14}{clean(value)}".rstrip())


def lines_of(node: NodeFacts, found: ContainerFacts, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs of a word and what stands beside it; what a container does not have is left out."""
    from migrator.cli.ct_set import said
    from migrator.model.limits import limits_of
    from migrator.model.units import format_bytes, format_seconds

    yield "name", found.name
    yield "node", f"{node.name}, {row['state']}, owner by generation {found.generation}"
    if found.up_s is not None:
        up = f"{found.up_s} s" if found.up_s < 60 else format_seconds(found.up_s)
        yield "up", f"{up}, since it was started on {node.name} or came there by a move"
    if found.run not in ("", "-"):
        yield "held by", f"run {found.run}; see: migrator show {found.run}"
    yield "memory", f"{format_bytes(found.rss_bytes)} resident, {format_bytes(found.anon_bytes)} of it its own"
    yield "files", f"{format_bytes(found.files_bytes)} beside its template"
    if found.descriptor is None:
        yield "descriptor", "cannot be read"
        return
    yield "limits", said(limits_of(found.descriptor))
    if row["not_enforced"]:
        yield "not enforced", f"{', '.join(row['not_enforced'])}: {node.name} has no controller for it"
    if row["keeper"]:
        yield "keeper", f"{row['keeper']}, {found.keeper_starts} starts"
    for disk in found.descriptor.disks:
        if disk.name in found.disks_bytes:
            used_bytes = found.disks_bytes[disk.name]
            over = ", more than planned" if used_bytes > disk.size_bytes else ""
            yield "volume", f"{disk.name}: {format_bytes(used_bytes)} of {format_bytes(disk.size_bytes)}{over}"
    yield from _made_of(found.descriptor)


def _made_of(ct: Descriptor) -> Iterator[tuple[str, str]]:
    from migrator.model.container import ID_RANGE

    shown = {
        "template": f"{ct.template} {ct.template_digest}",
        "command": " ".join(ct.command),
        "user": ct.user or "root",
        "runtime": ct.runtime,
        "restart": ct.restart,
        "init": ct.init if ct.init != "plain" else "",
        "stop signal": ct.stop_signal,
        "addresses": " ".join(ct.cards[0].addresses),
        "gateways": " ".join(ct.gateways),
        "routes": " ".join(ct.routes),
        "MAC": ct.mac,
        **{nic.name: f"on {nic.bridge}, {' '.join(nic.addresses)}, {nic.mac}" for nic in ct.cards[1:]},
        "published": " ".join(map(str, ct.published)),
        "hostname": ct.hostname or ct.name,
        "nameservers": " ".join(ct.nameservers),
        "search": " ".join(ct.search),
        "sysctls": " ".join(ct.sysctls),
        "firewall": f"{len(ct.firewall.splitlines())} lines of nft" if ct.firewall else "",
        "user ids": f"{ct.id_base} to {ct.id_base + ID_RANGE - 1} on the node",
        "capabilities": " ".join([*(f"+{name}" for name in ct.cap_add), *(f"-{name}" for name in ct.cap_drop)]),
        "devices": " ".join(ct.devices),
        "seccomp": ct.seccomp,
        "volumes": " ".join([*map(str, ct.volumes), *map(str, ct.disks)]),
        "labels": " ".join(f"{key}={value}" for key, value in ct.labels.items()),
        "environment": " ".join(_names(ct.env)),
    }
    yield from ((word, value) for word, value in shown.items() if value)


def _names(env: tuple[str, ...]) -> list[str]:
    """Without the values, which may be secrets."""
    return [word.partition("=")[0] for word in env]
