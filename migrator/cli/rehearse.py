"""migrator rehearse: shows that containers could be moved, by doing all of it but the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.migrate import blackout_option, bounds_under
from migrator.cli.output import clean, fail, json_option, print_json
from migrator.cli.shared import cluster_path, open_fleet, open_journal, run_async
from migrator.cli.waiving import waive_check_option, waived_checks
from migrator.errors import BadInput, MigratorError, Refused

if TYPE_CHECKING:
    from migrator.executor.rehearse import Shown
    from migrator.model.modes import Allowed


@click.command()
@click.argument("container", required=False)
@click.option("--to", "target", metavar="NODE", help="Where it would go.")
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PLAN",
    help="Rehearse every move of a plan file instead, one after the other, with the room that there is now.",
)
@blackout_option
@waive_check_option
@json_option
@click.pass_context
def rehearse(
    ctx: click.Context,
    container: str | None,
    target: str | None,
    plan_path: Path | None,
    blackout_s_max: float | None,
    waive: tuple[str, ...],
    as_json: bool,
) -> int:
    """Restore CONTAINER on another node behind a closed gate, compare it, and take it away again.

    It pauses while it is dumped, for no longer than a move would pause it, and stays where it is.
    """
    asked = _asked(container, target, plan_path)
    given = {**asked.given, **({} if blackout_s_max is None else {"blackout_s_max": blackout_s_max})}
    given["checks_waived"] = tuple(dict.fromkeys((*given.get("checks_waived", ()), *waived_checks(waive))))
    rehearsed, errors = run_async(_rehearse(ctx, asked, given, as_json))
    document = {
        "rehearsed": {name: shown.run for name, shown in rehearsed.items()},
        "shown": {
            name: {key: value for key, value in asdict(of).items() if key != "run"} for name, of in rehearsed.items()
        },
        "legs_not_shown": asked.later,
        "failed": {name: str(error) for name, error in errors.items()},
    }
    if errors:
        worst = max(error.exit_code for error in errors.values())
        return fail("; ".join(str(error) for error in errors.values()), worst, as_json, document)
    if as_json:
        print_json(document)
    return 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """Moves as (container, node it is to be on, or "" for wherever it is, target), and what their plan allows them.

    `later` are the nodes to which the plan brings a container after its first move, which is the one that is rehearsed;
    `allow` is what the plan lets auto take, None without a plan.
    """

    moves: list[tuple[str, str, str]]
    given: dict[str, Any]
    later: dict[str, list[str]] = field(default_factory=dict)
    allow: tuple[Allowed, ...] | None = None


def _asked(container: str | None, target: str | None, plan_path: Path | None) -> _Asked:
    """Which containers to which nodes. BadInput for neither one nor a plan, or both."""
    from migrator.executor.wanted import check_container_name
    from migrator.inventory import plan_file

    if plan_path is not None and container is None and target is None:
        plan = plan_file.load(plan_path)
        if not plan.moves:
            raise BadInput(f"{plan_path}: the plan has no moves: there is nothing to rehearse")
        given: dict[str, Any] = {
            "blackout_s_max": plan.policy.blackout_s_max,
            "checks_waived": plan.policy.checks_waived,
            "bandwidth_bytes_per_s": plan.policy.bandwidth_bytes_per_s,
            "mode": plan.policy.mode,
            "target_blackout_s": plan.policy.target_blackout_s,
        }
        later: dict[str, list[str]] = {}
        for move in sorted(plan.moves, key=lambda move: move.leg):
            if move.leg > 1:
                later.setdefault(move.container, []).append(move.target)
        moves = [(move.container, move.source, move.target) for move in plan.moves if move.leg == 1]
        return _Asked(moves, given, later, plan.policy.allow)
    if plan_path is not None or container is None or target is None:
        raise BadInput("rehearse takes CONTAINER --to NODE, or --plan PLAN")
    check_container_name(container)
    return _Asked([(container, "", target)], {})


def said(name: str, source: str, target: str, shown: Shown, later: Sequence[str]) -> list[str]:
    """What a rehearsal has shown, and what it has not, in words."""
    lines = [f"run {shown.run}: container {name} can be moved to {target}; it runs on {source} as before"]
    if shown.not_shown:
        lines.append(
            f"shown by {shown.mode}; a move would be by {shown.would_be} ({shown.why}), of which was not shown: "
            f"{shown.not_shown}"
        )
    else:
        lines.append(f"shown by {shown.mode}, as a move would be")
    if later:
        lines.append(f"not shown: in the plan {name} goes on from {target} to {', then '.join(later)}")
    return lines


async def _rehearse(
    ctx: click.Context, asked: _Asked, given: dict[str, Any], as_json: bool
) -> tuple[dict[str, Shown], dict[str, MigratorError]]:
    """Rehearses one after the other. Returns what was shown of each that went well, and what was in others' way."""
    from migrator.cli.learning import taught
    from migrator.cli.progress import Progress
    from migrator.executor.rehearse import rehearse as play
    from migrator.executor.runs import plan_single
    from migrator.executor.watch import watched_in
    from migrator.model.modes import Mode
    from migrator.model.plan_policy import PlanPolicy
    from migrator.model.policy import Policy
    from migrator.model.units import format_seconds

    journal = open_journal(ctx)
    runs: dict[str, Shown] = {}
    errors: dict[str, MigratorError] = {}
    async with open_fleet(ctx) as fleet:
        cluster = await fleet.probe()
        policy = Policy(**bounds_under(cluster.policy, given))
        under = PlanPolicy(
            allow=asked.allow if asked.allow is not None else cluster.policy.allow or (),
            target_blackout_s=policy.target_blackout_s,
            bandwidth_bytes_per_s=policy.bandwidth_bytes_per_s,
            checks_waived=policy.checks_waived,
            mode=Mode.STOP_AND_COPY,  # by which its pause is told
        )
        under = taught(ctx, cluster, under)
        for name, source, target in asked.moves:
            try:
                cluster = await watched_in(fleet, cluster, name)
                plan = plan_single(fleet, cluster, name, target, under)
                (planned,) = plan.moves
                if source not in ("", planned.source):
                    raise Refused(
                        f"container {name} is on {planned.source}, and not on {source} as planned; plan again"
                    )
                pause = format_seconds(planned.estimate.blackout_s)
                told = f"rehearsal: {name} stays on {planned.source} and pauses there for up to about {pause}"
                click.echo(clean(told), err=True)
                with Progress(plan, quiet=as_json) as progress:
                    runs[name] = await play(fleet, journal, plan, policy, str(cluster_path(ctx)), progress.notify)
            except MigratorError as error:
                errors[name] = error
                continue
            if not as_json:
                lines = said(name, planned.source, target, runs[name], asked.later.get(name, ()))
                click.echo("\n".join(map(clean, lines)))
    return runs, errors
