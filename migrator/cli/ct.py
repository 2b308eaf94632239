"""migrator ct: a container's life on one node."""

from __future__ import annotations

import sys
from typing import Any

import click

from migrator.cli import ct_look
from migrator.cli.ct_adopt import adopt
from migrator.cli.ct_clone import clone
from migrator.cli.ct_list import list_
from migrator.cli.ct_set import more_limits, set_
from migrator.cli.more_network import more_network
from migrator.cli.numbers import FiniteRange
from migrator.cli.output import clean, json_option, print_json
from migrator.cli.shared import OF_ACTS, OF_MAKING, open_fleet, open_whole_fleet, run_async, without_option
from migrator.cli.surroundings import surroundings_options

NODE_HELP = "Which one is meant, where two nodes have a container of this name each."


@click.group()
def ct() -> None:
    """Containers: create, clone, list, change limits, run commands in, stop, start, destroy."""


for one in (list_, set_, clone, adopt, ct_look.enter, ct_look.restart, ct_look.show):
    ct.add_command(one)


@ct.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.option("--node", help="Where it is made.")
@click.option("--place", is_flag=True, help="Make it where the planner finds the best place under the rules.")
@click.option("--template", required=True, help="The read-only files it stands on.")
@click.option(
    "--ip",
    "ips",
    required=True,
    multiple=True,
    help="Its address, as 10.0.0.7/24 or fd00::7/64 (a bare one means /24 or /64); may be repeated.",
)
@click.option("--gateway", "gateways", multiple=True, help="Its default route; one for IPv4 and one for IPv6.")
@more_network
@click.option("--memory", default="256M", show_default=True, help="Memory limit.")
@click.option("--cpus", default=1.0, show_default=True, type=FiniteRange(min=0.01), help="CPU limit.")
@more_limits
@click.option("--disk", default="1G", show_default=True, help="Disk it is planned with.")
@click.option("--user", help="User inside that the command runs as: a name of its own, UID or UID:GID (default: root).")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="For rules; may be repeated.")
@click.option("--env", "env", multiple=True, metavar="KEY=VALUE", help="Environment; may be repeated.")
@click.option(
    "--restart",
    type=click.Choice(("no", "always")),
    default="no",
    show_default=True,
    help="Whether its node starts it again when it ends, and at boot.",
)
@click.option(
    "--volume",
    "volumes",
    multiple=True,
    metavar="NAME:/PATH[:ro|:SIZE]",
    help="A volume, and where it is inside: of the cluster file, on storage that nodes share; or, with a SIZE, one of "
    "its own, which moves with it; the size is what is planned for it, and holds nothing back. May be repeated.",
)
@click.option(
    "--runtime",
    type=click.Choice(("runc", "crun")),
    default="runc",
    show_default=True,
    help="The program that makes, dumps and restores it, on every node that it comes to.",
)
@click.option(
    "--init",
    type=click.Choice(("plain", "systemd")),
    default="plain",
    show_default=True,
    help="What its first process is; systemd gets a control group to divide, and is the default command then.",
)
@click.option("--stop-signal", metavar="NAME", help="What asks it to end (default: TERM; of systemd RTMIN+3).")
@surroundings_options
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="So many alike: NAME-1 to NAME-N, with the addresses from --ip on.",
)
@click.option("--no-start", is_flag=True, help="Make it and leave it stopped.")
@without_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@json_option
@click.pass_context
def create(
    ctx: click.Context,
    /,
    name: str,
    node: str | None,
    place: bool,
    no_start: bool,
    as_json: bool,
    count: int | None,
    without: tuple[str, ...],
    **given: Any,
) -> int:
    """Make a container and start it: ct create NAME --node N|--place --template T --ip A -- CMD..."""
    from migrator.cli.ct_place import Nowhere, best_place
    from migrator.errors import BadInput
    from migrator.executor.wanted import Wanted

    if (node is None) != place:
        raise BadInput("ct create: give the node with --node, or let one be found with --place")
    if count is not None:
        return _create_many(ctx, name, node, count, not no_start, without, as_json, given)
    wanted = Wanted.parse(name=name, **given)

    async def work() -> dict[str, object]:
        async with open_whole_fleet(ctx) as fleet:
            from migrator.executor.creation import create_container

            if node is not None:
                return await create_container(fleet, node, wanted, not no_start, without)
            where, why = await best_place(fleet, wanted)
            return await create_container(fleet, where, wanted, not no_start, without) | {"placed": why}

    try:
        made = run_async(work(), ending=OF_MAKING)
    except Nowhere as nowhere:
        from migrator.cli.plan import refused

        return refused(nowhere.refusal, as_json)
    if as_json:
        print_json(made)
    else:
        how = "made" if no_start else "runs"
        click.echo(f"container {name} {how} on {made['node']}, address {' '.join(wanted.addresses)}")
        if place:
            click.echo(f"{made['node']} was chosen: {made['placed']}")
        if wanted.volumes:
            click.echo(f"its root is user {made['id_base']} on its volumes, and its user N there {made['id_base']} + N")
    return 0


def _create_many(
    ctx: click.Context,
    name: str,
    node: str | None,
    count: int,
    start: bool,
    without: tuple[str, ...],
    as_json: bool,
    given: dict[str, Any],
) -> int:
    from collections import Counter

    from migrator.cli.ct_place import Nowhere, best_places
    from migrator.executor.many import numbered

    wanted = list(numbered(name, count=count, **given))

    async def work() -> list[dict[str, object]]:
        async with open_whole_fleet(ctx) as fleet:
            from migrator.executor.creation import create_placed

            if node is not None:
                return await create_placed(fleet, [(node, each) for each in wanted], start, without)
            chosen = await best_places(fleet, wanted)
            placed = [(where, each) for (where, _), each in zip(chosen, wanted, strict=True)]
            made = await create_placed(fleet, placed, start, without)
            return [one | {"placed": why} for one, (_, why) in zip(made, chosen, strict=True)]

    try:
        made = run_async(work(), ending=OF_MAKING)
    except Nowhere as nowhere:
        from migrator.cli.plan import refused

        return refused(nowhere.refusal, as_json)
    if as_json:
        print_json({"containers": made})
    else:
        how = "run" if start else "are made"
        on = Counter(str(one["node"]) for one in made)
        where = next(iter(on)) if len(on) == 1 else ", ".join(f"{of} ({number})" for of, number in sorted(on.items()))
        click.echo(f"{count} containers {how} on {where}, {name}-1 to {name}-{count}")
    return 0


@ct.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(ctx: click.Context, name: str, command: tuple[str, ...]) -> int:
    """Run a command in a container: ct exec NAME -- CMD... Its exit code is the command's."""
    from migrator.executor.containers import exec_in

    async def work() -> int:
        async with open_fleet(ctx) as fleet:
            return await exec_in(fleet, name, command, sys.stdin, sys.stdout, sys.stderr)

    code = run_async(work())
    ctx.exit(code)
    return code


@ct.command()
@click.argument("name")
@click.option("--lines", "-n", default=100, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@click.pass_context
def logs(ctx: click.Context, name: str, lines: int, as_json: bool) -> None:
    """Print the end of a container's output, safe for a terminal; --json has it as it was written."""
    from migrator.executor.fleet import find_container

    async def work() -> str:
        async with open_fleet(ctx) as fleet:
            node, _ = find_container(await fleet.survey(), name)
            return (await fleet.node(node.name).call("ct-log", name, lines)).text

    text = run_async(work(), only_looks=True)
    if as_json:
        print_json({"name": name, "lines": text.removesuffix("\n").split("\n") if text else []})
    else:
        for line in text.removesuffix("\n").split("\n") if text else ():
            click.echo("\t".join(clean(part) for part in line.split("\t")))


@ct.command()
@click.argument("name")
@click.option("--grace", default=10, show_default=True, type=click.IntRange(0, 600), help="Seconds before SIGKILL.")
@click.option("--node", help=NODE_HELP)
@json_option
@click.pass_context
def stop(ctx: click.Context, name: str, grace: int, node: str | None, as_json: bool) -> None:
    """Stop a container."""
    from migrator.executor.fleet import find_container

    async def work() -> str:
        async with open_fleet(ctx) as fleet:
            found, _ = find_container(await fleet.survey(), name, node)
            await fleet.node(found.name).call("ct-stop", name, grace, timeout_s=grace + 30)
            return found.name

    _done(as_json, name, run_async(work(), ending=OF_ACTS), "stopped")


@ct.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every container of a node, as after a power loss.")
@click.option("--node", help="Which node, with --all.")
@json_option
@click.pass_context
def start(ctx: click.Context, name: str | None, everything: bool, node: str | None, as_json: bool) -> int:
    """Start a container cold, or with --all --node N all that a node's records say it should run."""
    from migrator.errors import BadInput
    from migrator.executor.containers import start_all
    from migrator.executor.fleet import find_container

    if everything == bool(name) or everything != bool(node):
        raise BadInput("ct start: give a container's name, or --all with --node NODE")

    async def work() -> dict[str, str]:
        async with open_fleet(ctx) as fleet:
            if node is not None:
                return await start_all(fleet, node)
            wanted = str(name)
            found, _ = find_container(await fleet.survey(), wanted)
            await fleet.node(found.name).call("ct-start", wanted, "ask", timeout_s=60)
            return {wanted: "runs"}

    outcome = run_async(work(), ending=OF_ACTS)
    if as_json:
        print_json({"containers": outcome})
    else:
        for container, said in outcome.items():
            click.echo(clean(f"container {container}: {said}"))
    return 0 if all(said == "runs" for said in outcome.values()) else 4


@ct.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also when it runs: it is killed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--node", "on", help=NODE_HELP)
@json_option
@click.pass_context
def destroy(ctx: click.Context, name: str, force: bool, yes: bool, on: str | None, as_json: bool) -> None:
    """Remove a container with its files."""
    from migrator.errors import BadInput, Refused
    from migrator.executor.fleet import find_container

    async def look() -> Any:
        async with open_fleet(ctx) as fleet:
            return find_container(await fleet.survey(), name, on)

    async def remove() -> None:
        async with open_fleet(ctx) as fleet:
            if found.alive or (force and found.state == "serving"):  # its keeper may be starting it just now
                await fleet.node(node.name).call("ct-stop", name, 0, timeout_s=40)
            await fleet.node(node.name).call("ct-remove", name, timeout_s=60)

    node, found = run_async(look(), only_looks=True)
    if found.alive and not force:
        raise Refused(f"container {name} runs on {node.name}; stop it first, or use --force")
    if not yes and not sys.stdin.isatty():
        raise BadInput("ct destroy: there is no terminal to ask on; use --yes")
    if not yes:
        click.confirm(f"Remove container {name} on {node.name} with its files?", abort=True, err=True)
    run_async(remove(), ending=OF_ACTS)
    _done(as_json, name, node.name, "removed")


def _done(as_json: bool, name: str, node: str, what: str) -> None:
    if as_json:
        print_json({"name": name, "node": node, "result": what})
    else:
        click.echo(f"container {name} on {node}: {what}")
