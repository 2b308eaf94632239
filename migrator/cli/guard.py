"""migrator guard: which nodes are under pressure, and who should leave them, before it hurts."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.numbers import FiniteRange
from migrator.cli.output import clean, fail, json_option, print_json
from migrator.cli.plan import file_type, policy_of, rules
from migrator.cli.shared import not_over, open_fleet, run_async

if TYPE_CHECKING:
    from migrator.model.facts import Cluster
    from migrator.model.plan import Refusal
    from migrator.model.strain import Outgrown, Strain
    from migrator.planner.guard import Relief

PRESSED = 3  # what it ends with: refused is that all may stay as it is
BLIND = 4
MIB = 1 << 20


@click.command()
@click.option(
    "--between",
    "between_s",
    type=FiniteRange(min=0.1, max=3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long after the first reading the second is taken.",
)
@click.option(
    "--watch",
    "watch_s",
    type=FiniteRange(min=0.1, max=3600),
    metavar="SECONDS",
    help="Go on reading so often, each beside the one before, until pressure is found or --for is over.",
)
@click.option(
    "--for",
    "for_s",
    type=FiniteRange(min=1, max=30 * 86_400),
    metavar="SECONDS",
    help="How long to --watch at most (default: 3600).",
)
@click.option(
    "--snapshot",
    "snapshots",
    type=file_type,
    multiple=True,
    metavar="FILE",
    help="Use these saved facts, given twice, the earlier first; no node is asked.",
)
@click.option("-o", "--output", type=file_type, metavar="PLAN", help="Write the plan of the moves here.")
@rules
@json_option
@click.pass_context
def guard(
    ctx: click.Context,
    /,
    between_s: float,
    watch_s: float | None,
    for_s: float | None,
    snapshots: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Look at all nodes twice: who is under pressure, and who should move where to end it. Nothing is moved.

    Exit code 0: none is. 3: some are. 4: none of those that answer, and some do not.
    """
    from migrator.errors import BadInput

    not_over(output, *snapshots, given.get("policy_path"))
    if for_s is not None and watch_s is None:
        raise BadInput("--for is how long to --watch; give that too")
    if snapshots and (len(snapshots) != 2 or watch_s is not None):
        raise BadInput("--snapshot: give the earlier and the later, and nothing to --watch")
    if snapshots:
        from migrator.inventory.snapshot import load

        before, after = (load(path) for path in snapshots)
        return _told(after, _relief(ctx, before, after, given, live=False), output, as_json)
    until_s = None if watch_s is None else for_s or 3600.0
    after, relief = run_async(_watched(ctx, watch_s or between_s, until_s, given), only_looks=True)
    return _told(after, relief, output, as_json)


async def _watched(
    ctx: click.Context, every_s: float, until_s: float | None, given: dict[str, Any]
) -> tuple[Cluster, Relief]:
    """The latest reading and what it shows beside the one before; two readings, or until something is found."""
    loop = asyncio.get_running_loop()
    async with open_fleet(ctx) as fleet:
        began_s, before = loop.time(), await fleet.probe()
        while True:
            await asyncio.sleep(every_s)
            after = await fleet.probe()
            relief = _relief(ctx, before, after, given)
            if not relief.quiet or until_s is None or loop.time() - began_s + every_s > until_s:
                return after, relief
            before = after


def _relief(ctx: click.Context, before: Cluster, after: Cluster, given: dict[str, Any], live: bool = True) -> Relief:
    from migrator.cli.learning import taught
    from migrator.inventory.snapshot import digest
    from migrator.planner.guard import relieve

    policy = taught(ctx, after, policy_of(given, after), live=live)
    return relieve(before, after, digest(after), policy)


def _told(cluster: Cluster, relief: Relief, output: Path | None, as_json: bool) -> int:
    """Prints what was found, writes the plan if there is one and it was asked for; the exit code."""
    from migrator.inventory import plan_document
    from migrator.model.plan import Plan

    if output is not None and isinstance(relief.plan, Plan):
        plan_document.save(relief.plan, output)
    elif output is not None and output.exists():
        click.echo(clean(f"{output} is left as it was: there is nothing to move"), err=True)
    silent = {node.name: node.error for node in cluster.nodes if not node.answered}
    untold = [node.name for node in cluster.nodes if node.answered and node.pressure.memory is None]
    if as_json and relief.quiet and not silent:
        print_json(_document(relief, silent, untold))
    elif not as_json:
        _print(cluster, relief, untold, output)
        for name, error in silent.items():
            click.echo(clean(f"no answer from {name}: {error}"), err=True)
    document = _document(relief, silent, untold) if as_json else None
    if not relief.quiet:
        names = sorted({strain.node for strain in relief.strains})
        found = [f"under pressure: {', '.join(names)}"] if names else []
        short = sorted(each.container for each in relief.tight)
        found += [f"too little memory: {', '.join(short)}"] if short else []
        large = sorted({each.container for each in relief.outgrown})
        found += [f"more in a volume than planned: {', '.join(large)}"] if large else []
        return fail("; ".join(found), PRESSED, as_json, document)
    if silent:
        return fail(f"no answer from {', '.join(silent)}: nobody knows how these are", BLIND, as_json, document)
    return 0


def _print(cluster: Cluster, relief: Relief, untold: list[str], output: Path | None) -> None:
    for strain in relief.strains:
        _print_strain(strain, relief)
    for each in relief.tight:
        advice = f"migrator ct set {each.container} --memory {each.memory_bytes // MIB}M --move"
        click.echo(clean(f"container {each.container} on {each.node}: {each.text}; give it more: {advice}"))
    for large in relief.outgrown:
        click.echo(clean(_over_size(large)))
    _print_plan(relief, output)
    if relief.quiet:
        count = sum(len(node.containers) for node in cluster.nodes)
        there, whole = sum(node.answered for node in cluster.nodes), len(cluster.nodes)
        click.echo(f"quiet: {there if there == whole else f'{there} of {whole}'} nodes, {count} containers")
    if untold:
        click.echo(clean(f"note: no PSI in the kernel of {', '.join(untold)}; boot it with psi=1"), err=True)


def _over_size(large: Outgrown) -> str:
    from migrator.model.units import format_bytes

    holds, size = format_bytes(large.used_bytes), format_bytes(large.size_bytes)
    return (
        f"container {large.container} on {large.node}: volume {large.volume} holds {holds}, and {size} are planned for "
        "it; nothing stops it: remove files there, or see to room on its node"
    )


def _print_strain(strain: Strain, relief: Relief) -> None:
    """What a node is short of, who should go where, and if that is not enough what keeps the others."""
    click.echo(clean(f"node {strain.node}: {strain.resource}: {'; '.join(strain.texts)}"))
    for each in relief.leaving:
        if (each.source, each.resource) == (strain.node, strain.resource):
            click.echo(clean(f"  {each.container} should go to {each.target}: {each.why}"))
    for stuck in next((stuck for short, stuck in relief.unrelieved if short == strain), ()):
        for reason in stuck.reasons:
            click.echo(clean(f"  {stuck.container} cannot go to {reason.node}: {reason.text}"))
    if any(short == strain for short, _ in relief.unrelieved):
        click.echo(clean(f"  not enough of it is used by who may leave {strain.node}"))


def _print_plan(relief: Relief, output: Path | None) -> None:
    from migrator.model.plan import Plan, Refusal

    if isinstance(relief.plan, Plan) and output is not None:
        click.echo(f"{output}: {len(relief.plan.moves)} moves; carry them out with: migrator apply {output}")
    elif isinstance(relief.plan, Plan):
        click.echo("write them down with -o PLAN, and carry them out with: migrator apply PLAN")
    elif isinstance(relief.plan, Refusal):
        click.echo(clean(_why_no_plan(relief.plan)), err=True)


def _why_no_plan(refusal: Refusal) -> str:
    from migrator.cli.refusal_text import refusal_line, same_reasons

    return f"no plan: {refusal_line(refusal, same_reasons(refusal.containers), True)}"


def _document(relief: Relief, silent: dict[str, str], untold: list[str]) -> dict[str, Any]:
    from migrator.inventory import plan_document
    from migrator.model.plan import Plan

    return {
        "quiet": relief.quiet,
        "strains": [asdict(strain) for strain in relief.strains],
        "tight": [asdict(each) for each in relief.tight],
        "outgrown": [asdict(each) for each in relief.outgrown],
        "leaving": [asdict(each) for each in relief.leaving],
        "unrelieved": [
            {"node": strain.node, "resource": strain.resource, "containers": [asdict(one) for one in stuck]}
            for strain, stuck in relief.unrelieved
        ],
        "plan": plan_document.to_document(relief.plan) if isinstance(relief.plan, Plan) else None,
        "no_answer": silent,
        "no_psi": untold,
    }
