"""migrator ct clone: a second container from the files of one, and from its memory if asked."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.migrate import blackout_option, bounds_under
from migrator.cli.output import clean, json_option, print_json
from migrator.cli.shared import OF_CLONES, cluster_path, open_fleet, open_journal, run_async, without_option
from migrator.cli.waiving import waive_check_option, waived_checks

if TYPE_CHECKING:
    from migrator.executor.clone import Asked, Cloned
    from migrator.executor.fleet import Fleet
    from migrator.model.policy import Policy


@click.command()
@click.argument("source")
@click.argument("name")
@click.option("--node", help="Where it is to be (default: the source's node); from there it is moved, live.")
@click.option(
    "--ip",
    "ips",
    multiple=True,
    help="Its address; may be repeated. Without, the next free one of each of the source's networks.",
)
@click.option(
    "--nic",
    "nics",
    multiple=True,
    metavar="NAME=BRIDGE,IP[,IP...][,mac=MAC]",
    help="A further card's addresses, on the bridge that it has; may be repeated. Without, the next free ones.",
)
@click.option("--hostname", help="What it calls itself (default: its name).")
@click.option("--live", is_flag=True, help="With the source's memory: a running twin.")
@click.option(
    "--share-volume",
    "volumes_shared",
    multiple=True,
    metavar="VOLUME",
    help="A volume of the source's that both may write to; may be repeated.",
)
@click.option("--no-start", is_flag=True, help="Make it and leave it stopped.")
@without_option
@blackout_option
@waive_check_option
@json_option
@click.pass_context
def clone(
    ctx: click.Context,
    /,
    source: str,
    name: str,
    node: str | None,
    ips: tuple[str, ...],
    nics: tuple[str, ...],
    hostname: str | None,
    live: bool,
    volumes_shared: tuple[str, ...],
    no_start: bool,
    without: tuple[str, ...],
    blackout_s_max: float | None,
    waive: tuple[str, ...],
    as_json: bool,
) -> int:
    """Make container NAME from SOURCE, running or stopped: its files, and with --live its memory.

    It is another machine: with a MAC, addresses, a machine-id and ssh host keys of its own.
    """
    from migrator.errors import BadInput
    from migrator.executor.asked_nics import asked_nics
    from migrator.executor.clone import Asked
    from migrator.executor.clone import clone as make
    from migrator.executor.surroundings import Surroundings
    from migrator.executor.wanted import check_container_name, parse_addresses
    from migrator.model.policy import Policy

    check_container_name(source)
    check_container_name(name)
    if source == name:
        raise BadInput(f"ct clone: a clone of {source} needs a name of its own")
    if live and no_start:
        raise BadInput("ct clone: --live makes a twin that runs; leave out --no-start")
    if node is not None and no_start:
        raise BadInput("ct clone: with --no-start it stays on its source's node; leave out --node, or --no-start")
    if node is None and waive:
        raise BadInput("ct clone: --waive goes with --node; on its source's node nothing is compared")
    given: dict[str, Any] = {} if blackout_s_max is None else {"blackout_s_max": blackout_s_max}
    given["checks_waived"] = waived_checks(waive)
    addresses = parse_addresses(ips) if ips else ()
    asked = Asked(
        without=without,
        source=source,
        name=name,
        addresses=addresses,
        nics=asked_nics(nics, addresses, ()),
        hostname=Surroundings.parse(hostname=hostname).hostname,
        live=live,
        start=not no_start,
        volumes_shared=volumes_shared,
    )

    async def work() -> Cloned:
        async with open_fleet(ctx) as fleet:
            if node is not None:
                fleet.file.entry(node)
            policy = Policy(**bounds_under(fleet.file.standing(), given))
            made = await make(fleet, replace(asked, pause_s_max=math.ceil(policy.blackout_s_max)))
            return made if node in (None, made.node) else await _moved(ctx, fleet, made, str(node), policy)

    return _report(asked, run_async(work(), ending=OF_CLONES), as_json)


async def _moved(ctx: click.Context, fleet: Fleet, made: Cloned, target: str, policy: Policy) -> Cloned:
    """The clone on another node, moved there as any container; where that fails it is taken away again."""
    import asyncio

    from migrator.errors import MigratorError, NeedsOperator
    from migrator.executor.cancel import finish_anyway
    from migrator.executor.runs import plan_single, start_run
    from migrator.model.plan_policy import PlanPolicy

    journal = open_journal(ctx)
    try:
        under = PlanPolicy(checks_waived=policy.checks_waived)
        plan = plan_single(fleet, await fleet.probe(), made.name, target, under)
        run, result = await start_run(fleet, journal, plan, policy, str(cluster_path(ctx)), lambda *_: None)
        if result.exit_code:
            raise next(iter(result.failed.values()), MigratorError(f"it did not end well; see: migrator show {run}"))
    except NeedsOperator:
        raise
    except (MigratorError, asyncio.CancelledError) as error:
        await finish_anyway(_taken_away(fleet, made, target, error), f"{made.name}: being taken away on {made.node}")
        raise
    return replace(made, node=target)


async def _taken_away(fleet: Fleet, made: Cloned, target: str, error: BaseException) -> None:
    """Always raises, where somebody can still be told why."""
    import asyncio

    from migrator.errors import FailedSafe, MigratorError, Refused
    from migrator.executor.clone import take_away

    why = f"clone {made.name} does not come to {target}: {error}"
    try:
        await take_away(fleet.node(made.node), made.name)
    except MigratorError as left:
        raise FailedSafe(f"{why}; it is left on {made.node}: {left}; see: migrator ct list") from error
    if not isinstance(error, asyncio.CancelledError):
        kind = Refused if getattr(error, "exit_code", 4) == Refused.exit_code else FailedSafe
        raise kind(f"{why}; it was taken away again") from error


def _report(asked: Asked, made: Cloned, as_json: bool) -> int:
    if as_json:
        print_json({**asdict(made), "source": asked.source, "live": asked.live})
        return 0
    how = "runs" if made.state == "running" else "made"
    memory = ", with the memory of " + asked.source if asked.live else ""
    click.echo(clean(f"container {made.name} {how} on {made.node}, address {' '.join(made.addresses)}{memory}"))
    if made.paused_ms is not None:
        click.echo(clean(f"{asked.source} stood still for {made.paused_ms} ms"))
    if made.renewed:
        click.echo(clean(f"renewed in it: {', '.join(made.renewed)}"))
    if made.unpublished:
        click.echo(clean(f"published ports stay with {asked.source} alone: {', '.join(made.unpublished)}"))
    return 0
