"""migrator ct set: a container's limits, changed while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.cli.numbers import FiniteRange
from migrator.cli.output import clean, json_option, print_json
from migrator.cli.shared import OF_ACTS, cluster_path, open_fleet, open_journal, run_async, without_option
from migrator.cli.surroundings import changing_options
from migrator.cli.waiving import waive_option

if TYPE_CHECKING:
    from migrator.executor.limits import NoRoom, Set
    from migrator.model.around import Around
    from migrator.model.container import Descriptor
    from migrator.model.limits import Limits
    from migrator.model.plan import Refusal

F = TypeVar("F", bound=Callable[..., Any])

_swap_option = click.option(
    "--swap", metavar="SIZE|none", help="Swap beside the memory; 0 is no swap, none as much as there is."
)
_pids_option = click.option("--pids", metavar="N|none", help="Processes and threads at most.")
_weight_option = click.option(
    "--io-weight", metavar="N|none", help="Its share of the disks beside others', 10 to 1000; 100 is everybody's."
)


_io_option = click.option(
    "--io",
    multiple=True,
    metavar="KEY=VALUE,...|none",
    help="What its disk is read and written at most: read=20M,write=10M a second, read-iops=300,write-iops=100.",
)


def more_limits(command: F) -> F:
    """The limits that a container need not have, for every command that sets them."""
    return _swap_option(_pids_option(_weight_option(_io_option(command))))


@click.command("set")
@click.argument("name")
@click.option("--memory", metavar="SIZE", help="Memory limit.")
@click.option("--cpus", type=FiniteRange(min=0.01), help="CPU limit.")
@more_limits
@changing_options
@click.option("--move", is_flag=True, help="If its node has not enough: move it, live, to one that has.")
@waive_option
@click.option(
    "--wait",
    "wait_s",
    type=FiniteRange(min=0, max=86_400),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the end of a run that holds it.",
)
@click.option("--no-wait", is_flag=True, help="Refuse at once if a run holds it.")
@without_option
@json_option
@click.pass_context
def set_(
    ctx: click.Context,
    /,
    name: str,
    move: bool,
    waive: tuple[str, ...],
    wait_s: float,
    no_wait: bool,
    without: tuple[str, ...],
    as_json: bool,
    **words: Any,
) -> int:
    """Change a container's limits, names and network, at once and for good: ct set NAME --memory 2G --cpus 1.5

    A run that moves the container is waited for, and the change is made where it ends up. Nothing is changed before.
    """
    from migrator.errors import BadInput, Refused
    from migrator.executor.asked_change import parse_asked
    from migrator.executor.limits import NoRoom, set_limits
    from migrator.executor.wanted import check_container_name

    check_container_name(name)
    if waive and not move:
        raise BadInput("ct set: --waive goes with --move; nothing is compared where a container stays")
    change = parse_asked(**words)
    if change.empty:
        raise BadInput("ct set: which limit? give --memory, --swap, --cpus, --pids, ...; all of them: ct set --help")

    async def work() -> Set:
        async with open_fleet(ctx) as fleet:
            return await set_limits(fleet, name, change, 0 if no_wait else wait_s, tell, without)

    def tell(text: str) -> None:
        click.echo(clean(text), err=True)

    try:
        done = run_async(work(), ending=OF_ACTS)
    except NoRoom as short:
        if not move:
            raise Refused(f"{short}; ask for less, or let it be moved to where there is room: --move") from short
        code = _move_away(ctx, short, waive, as_json)
        if code != 0:
            return code
        try:
            done = run_async(work(), ending=OF_ACTS)
        except NoRoom as again:
            raise Refused(f"moved from {short.node} to {again.node}, and its limits are as before: {again}") from again
        return _report(done, as_json, short.node, change.around)
    return _report(done, as_json, None, change.around)


def _move_away(ctx: click.Context, short: NoRoom, waive: tuple[str, ...], as_json: bool) -> int:
    """Moves the container to the node that the planner finds for its new size; the exit code."""
    from migrator.cli.learning import taught
    from migrator.cli.plan import made_under, policy_of, refused
    from migrator.cli.progress import Progress
    from migrator.cli.report import report
    from migrator.executor.runs import start_run
    from migrator.inventory.snapshot import digest
    from migrator.model.plan import Refusal
    from migrator.planner.moves import move
    from migrator.planner.newcomer import place_grown

    journal = open_journal(ctx)

    async def work() -> Refusal | tuple[str, Any]:
        async with open_fleet(ctx) as fleet:
            cluster = await fleet.probe()
            policy = taught(ctx, cluster, policy_of({"waive": waive}, cluster))
            chosen = place_grown(cluster, short.container, short.node, short.demand, policy)
            if isinstance(chosen, Refusal):
                return chosen
            intent = f"move {short.container} to {chosen.target}"
            plan = move(cluster, {short.container: chosen.target}, digest(cluster), policy, intent)
            if isinstance(plan, Refusal):
                return plan
            click.echo(clean(f"{short}"), err=True)
            click.echo(clean(f"moving it to {chosen.target}: {chosen.said()}"), err=True)
            with Progress(plan, quiet=as_json) as progress:
                how, where = made_under(plan.policy), str(cluster_path(ctx))
                return await start_run(fleet, journal, plan, how, where, progress.notify)

    moved = run_async(work())
    if isinstance(moved, Refusal):
        click.echo(clean(f"{short}"), err=True)
        return refused(moved, as_json)
    run, result = moved
    return report(journal, run, result, as_json) if result.exit_code or result.cut_off else 0


def _report(done: Set, as_json: bool, moved_from: str | None, around: Around) -> int:
    from migrator.model.limits import asked

    for what in done.not_there:
        click.echo(clean(f"container {done.name} had no {what}: nothing was taken away"), err=True)
    if as_json:
        print_json(
            {
                "name": done.name,
                "node": done.node,
                "moved_from": moved_from,
                "running": done.running,
                "before": asdict(done.before),
                "limits": asdict(done.after),
                "not_enforced": done.not_enforced,
                "around": around_of(done.container),
                "not_there": list(done.not_there),
                "took_ms": done.took_ms,
            }
        )
        return 0
    enforced = len(done.not_enforced) < len(asked(done.after))
    when = f"; in force {'at once' if done.running else 'when it is started'}" if enforced else ""
    click.echo(clean(f"container {done.name} on {done.node}: {said(done.after)}{when}"))
    if words := _around_said(done.container, around, _SAID_OF_RECORDS):
        click.echo(clean(words))
    if words := _around_said(done.container, around, _SAID):
        click.echo(clean(f"{words}; {'in force at once' if done.running else 'when it is started'}"))
    if done.not_enforced:
        lacking = ", ".join(done.not_enforced).replace("_", "-")
        click.echo(f"kept, and not enforced on {done.node}, whose cgroups have no controller for it: {lacking}")
    return 0


def around_of(ct: Descriptor) -> dict[str, Any]:
    """What surrounds it, by the names of its description; of its rules how many bytes."""
    names = ("nameservers", "search", "routes", "sysctls", "devices", "gateways")
    return {
        "hostname": ct.hostname,
        **{name: list(getattr(ct, name)) for name in names},
        "firewall_bytes": len(ct.firewall.encode()),
        "addresses": list(ct.cards[0].addresses),
        "published": [str(port) for port in ct.published],
        "env": [pair.partition("=")[0] for pair in ct.env],  # without the values, which may be secrets
        "labels": ct.labels,
        "restart": ct.restart,
    }


# What of it is told when it has changed: by its name in a change, and before it the word that people read.
_SAID = {
    **{name: name for name in ("hostname", "nameservers", "search", "routes", "sysctls", "devices", "addresses")},
    **{"gateways": "gateways", "published": "publishes", "env": "environment"},
}
_SAID_OF_RECORDS = {"labels": "labels", "restart": "restart"}  # what no start is needed for


def _around_said(ct: Descriptor, change: Around, names: dict[str, str]) -> str:
    """What has changed of it, in words."""
    told = around_of(ct) | {"labels": [f"{key}={value}" for key, value in ct.labels.items()]}
    words = [
        f"{said} {' '.join(told[name]) or 'none' if isinstance(told[name], list) else told[name] or ct.name}"
        for name, said in names.items()
        if getattr(change, name) not in (None, {})
    ]
    if change.firewall is not None and names is _SAID:
        words.append(f"{told['firewall_bytes']} bytes of rules" if ct.firewall else "no rules of --firewall")
    return ", ".join(words)


def said(limits: Limits) -> str:
    """Limits in words: 2.0 GiB of memory, 512.0 MiB of swap, 1.5 CPUs, 512 processes."""
    from migrator.model.units import format_bytes

    words = [f"{format_bytes(limits.memory_bytes)} of memory"]
    if limits.swap_bytes is not None:
        words.append(f"{format_bytes(limits.swap_bytes)} of swap" if limits.swap_bytes else "no swap")
    words.append(f"{limits.cpu_milli / 1000:g} CPUs")
    if limits.pids:
        words.append(f"{limits.pids} processes and threads")
    if limits.io_weight:
        words.append(f"weight {limits.io_weight} at disks")
    for what, per_s in (("read", limits.io.read_bytes_per_s), ("written", limits.io.write_bytes_per_s)):
        if per_s:
            words.append(f"{format_bytes(per_s)}/s {what}")
    for what, iops in (("reads", limits.io.read_iops), ("writes", limits.io.write_iops)):
        if iops:
            words.append(f"{iops} {what} a second")
    return ", ".join(words)
