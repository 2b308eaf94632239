"""migrator ct adopt: a container that a runtime began without us, looked at and made ours."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from migrator.cli.hints import pasteable
from migrator.cli.numbers import FiniteRange
from migrator.cli.output import clean, fail, json_option, print_json, print_table
from migrator.cli.shared import OF_ACTS, open_fleet, run_async

if TYPE_CHECKING:
    from migrator.executor.adopt import Looked
    from migrator.model.container import Descriptor


@click.command()
@click.argument("node")
@click.argument("id")
@click.option("--root", default="", metavar="DIR", help="Where its runtime keeps it (default: /run/runc, /run/crun).")
@click.option("--name", default="", help="What it is called from now on (default: its id).")
@click.option("--ip", "ips", multiple=True, help="An address for one that has no network; may be repeated.")
@click.option("--memory", default="256M", show_default=True, help="Memory limit, if it has none.")
@click.option(
    "--cpus", default=1.0, show_default=True, type=FiniteRange(min=0.01), help="CPUs that it is planned with."
)
@click.option("--dry-run", is_flag=True, help="Say what would be, also with --yes.")
@click.option("--yes", is_flag=True, help="Do it; else it is only looked at.")
@json_option
@click.pass_context
def adopt(
    ctx: click.Context,
    /,
    node: str,
    id: str,
    root: str,
    name: str,
    ips: tuple[str, ...],
    memory: str,
    cpus: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Look at container ID, begun by a runtime of NODE without us: what can be moved, who would restart it.

    With --yes it becomes a container as any, while it runs.
    """
    from migrator.executor.adopt import Asked, look
    from migrator.executor.adopt import adopt as take
    from migrator.executor.limit_words import parse_change
    from migrator.executor.wanted import check_container_name, parse_addresses

    called = name or id
    check_container_name(called)
    limits = parse_change(memory=memory, cpus=cpus, swap=None, pids=None, io_weight=None)
    asked = Asked(
        node=node,
        id=id,
        name=called,
        root=root,
        addresses=parse_addresses(ips) if ips else (),
        memory_bytes=limits.memory_bytes or 0,
        cpu_milli=limits.cpu_milli or 0,
        options=_options(ctx, "root", "name", "ips", "memory", "cpus"),
    )
    doing = yes and not dry_run

    async def work() -> tuple[Looked, Descriptor | None]:
        async with open_fleet(ctx) as fleet:
            looked, cluster = await look(fleet, asked)
            return looked, await take(fleet, asked, looked, cluster) if doing and not looked.against else None

    looked, made = run_async(work(), only_looks=not doing, ending=OF_ACTS)
    document = {
        "node": node,
        "id": id,
        "root": looked.root,
        "name": called,
        "findings": [asdict(finding) for finding in looked.findings],
        "fit": not looked.against,
        "adopted": made is not None,
    }
    if not as_json:
        rows = [(finding.what, "fit" if finding.fit else "NOT FIT", finding.text) for finding in looked.findings]
        print_table(("WHAT", "", "FOUND"), rows, whole=True)
    if looked.against:
        why = f"container {id} on {node} cannot be taken: {'; '.join(looked.against)}"
        return fail(why, 3, as_json, document)
    if as_json:
        print_json(document)
    elif made is not None:
        click.echo(clean(f"container {called} on {node} is ours, and runs on; address {' '.join(made.addresses)}"))
    else:
        click.echo(clean(pasteable(f"it can be taken: {asked.command}")))
    return 0


def _options(ctx: click.Context, *names: str) -> str:
    """Those of these that were given, as a shell reads them."""
    words: list[str] = []
    for name in names:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = ctx.params[name]
            for one in value if isinstance(value, tuple) else (value,):
                words += [f"--{'ip' if name == 'ips' else name}", shlex.quote(f"{one:g}" if name == "cpus" else one)]
    return " ".join(words)
