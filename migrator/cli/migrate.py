"""migrator migrate: move one running container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from migrator.cli.memory_options import memory_options
from migrator.cli.numbers import FiniteRange
from migrator.cli.output import json_option
from migrator.cli.shared import cluster_path, open_fleet, open_journal, run_async
from migrator.cli.waiving import waive_check_option, waived_checks

if TYPE_CHECKING:
    from migrator.model.plan_policy import Standing

blackout_option = click.option(
    "--max-blackout",
    "blackout_s_max",
    type=FiniteRange(min=0.1, max=600),
    metavar="SECONDS",
    help="Longest pause: a move predicted over it is refused, one that reaches it is given up by the source itself "
    "(default: 15, or as the cluster file's policy says).",
)
# What a cluster file's policy says of one move, unless an option does.
_OF_A_MOVE = (
    "blackout_s_max",
    "mode",
    "target_blackout_s",
    "not_convergent",
    "stop_timeout_s",
    "bandwidth_bytes_per_s",
)


def bounds_under(said: Standing, given: dict[str, Any]) -> dict[str, Any]:
    """What bounds one move: what was given, and of the rest what the cluster file's policy says."""
    standing = said.said
    return {name: standing[name] for name in _OF_A_MOVE if name in standing} | given


@click.command()
@click.argument("container")
@click.option("--to", "target", required=True, metavar="NODE", help="Where it goes.")
@blackout_option
@memory_options
@waive_check_option
@click.option("--verify-files", is_flag=True, help="Compare all of its own files in the pause, by one digest a side.")
@click.option("--dry-run", is_flag=True, help="Tell what it would take and what would stop it; touch nothing.")
@json_option
@click.pass_context
def migrate(
    ctx: click.Context,
    /,
    container: str,
    target: str,
    waive: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **bounds: Any,
) -> int:
    """Move CONTAINER to another node while its clients stay connected, but with --mode restart."""
    from migrator.cli.dry_run import foretell, print_forecast
    from migrator.cli.learning import taught
    from migrator.cli.progress import Progress
    from migrator.cli.report import report
    from migrator.executor.runs import plan_single, start_run
    from migrator.executor.wanted import check_container_name
    from migrator.executor.watch import watched_in
    from migrator.model.plan_policy import PlanPolicy
    from migrator.model.policy import Policy

    check_container_name(container)
    given = {name: value for name, value in bounds.items() if value is not None}
    given["checks_waived"] = waived_checks(waive)
    journal = open_journal(ctx)

    async def work() -> tuple[str, Any]:
        async with open_fleet(ctx) as fleet:
            cluster = await fleet.probe()
            policy = Policy(**bounds_under(cluster.policy, given))
            plain = PlanPolicy(
                mode=policy.mode,
                allow=cluster.policy.allow or (),
                target_blackout_s=policy.target_blackout_s,
                stop_timeout_s=policy.stop_timeout_s,
                bandwidth_bytes_per_s=policy.bandwidth_bytes_per_s,
                checks_waived=policy.checks_waived,
            )
            under = taught(ctx, cluster, plain)
            cluster = await watched_in(fleet, cluster, container)
            plan = plan_single(fleet, cluster, container, target, under)
            if dry_run:
                return "", await foretell(fleet, journal, plan, policy)
            with Progress(plan, quiet=as_json) as progress:
                return await start_run(fleet, journal, plan, policy, str(cluster_path(ctx)), progress.notify)

    run, result = run_async(work())
    if dry_run:
        return print_forecast(result, as_json)
    return report(journal, run, result, as_json)
