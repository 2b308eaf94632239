"""migrator apply, drain: carry a plan out; and what these share with those that make one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.cli.hints import pasteable
from migrator.cli.memory_options import memory_options
from migrator.cli.numbers import FiniteRange
from migrator.cli.output import clean, fail, json_option, print_json
from migrator.cli.shared import cluster_path, open_fleet, open_journal, run_async
from migrator.cli.waiving import waive_check_option, waive_option, waived, waived_checks
from migrator.errors import quoted

if TYPE_CHECKING:
    from migrator.executor.apply import Applied
    from migrator.model.facts import Cluster
    from migrator.model.plan import Plan, Refusal
    from migrator.model.plan_policy import PlanPolicy
    from migrator.model.policy import Policy

F = TypeVar("F", bound=Callable[..., Any])
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
file_type = click.Path(dir_okay=False, path_type=Path)
_blackout_option = click.option(
    "--max-blackout",
    "blackout_s_max",
    type=FiniteRange(min=0.1, max=86_400),
    metavar="SECONDS",
    help="Longest pause: a move predicted over it is refused (default: 15, or as planned).",
)
_parallel_option = click.option(
    "--parallel",
    "moves_per_node_max",
    type=click.IntRange(1, 64),
    metavar="N",
    help="How many moves may touch a node at one time (default: 2, or as planned).",
)
_overlap_option = click.option(
    "--overlapping-pauses",
    is_flag=True,
    help="Let containers that move over one link be paused at one time: sooner done, longer pauses.",
)
snapshot_option = click.option(
    "--snapshot", type=file_type, metavar="FILE", help="Use these saved facts; no node is asked."
)
_force_option = click.option("--force", is_flag=True, help="Also empty the machine that this runs on.")


def rules(command: F) -> F:
    """Adds the options that say what a plan has to respect."""
    for option in (
        click.option(
            "--policy", "policy_path", type=file_type, metavar="FILE", help="Rules from a file; options go before it."
        ),
        _overlap_option,
        _parallel_option,
        _blackout_option,
        memory_options,
        click.option(
            "--headroom",
            "headroom_percent",
            type=click.IntRange(0, 90),
            metavar="PERCENT",
            help="Part of each capacity of a target that stays free (default: 5).",
        ),
        click.option(
            "--start",
            metavar="TIME",
            help="When the plan is to start, such as 2026-03-01T22:00, for rules with time windows (default: now).",
        ),
        waive_option,
        click.option("--leave-stopped", is_flag=True, help="Leave stopped containers where they are."),
        click.option(
            "--anti-affinity",
            multiple=True,
            metavar="KEY",
            help="Label whose equal values are kept apart; may be repeated (default: anti-affinity).",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("plan_path", type=file_type, metavar="PLAN")
@_blackout_option
@_parallel_option
@_overlap_option
@memory_options
@waive_check_option
@_force_option
@json_option
@click.pass_context
def apply(
    ctx: click.Context, /, plan_path: Path, waive: tuple[str, ...], force: bool, as_json: bool, **bounds: Any
) -> int:
    """Carry a plan file out, unless the cluster is another by now; it does not ask."""
    from dataclasses import replace

    from migrator.inventory import plan_file

    loaded = plan_file.load(plan_path)
    given = {name: value for name, value in bounds.items() if value not in (None, False)}
    if also := waived_checks(waive):
        given["checks_waived"] = tuple(dict.fromkeys((*loaded.policy.checks_waived, *also)))
    return _apply(ctx, replace(loaded, policy=replace(loaded.policy, **given)), force, as_json)


@click.command()
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@rules
@click.option("--yes", is_flag=True, help="Do not ask.")
@_force_option
@json_option
@click.pass_context
def drain(ctx: click.Context, /, nodes: tuple[str, ...], yes: bool, force: bool, as_json: bool, **rules: Any) -> int:
    """Empty the nodes: plan, show, ask, move everything elsewhere, and prove them empty."""
    from migrator.cli.learning import taught
    from migrator.cli.plan_text import print_plan
    from migrator.errors import BadInput
    from migrator.executor.apply import refuse_own_host
    from migrator.inventory import cluster_file
    from migrator.model.plan import Refusal

    known = cluster_file.load(cluster_path(ctx))
    for node in nodes:
        known.entry(node)  # a name that does not exist is the first thing to say, before any question
    if not yes and not sys.stdin.isatty():
        raise BadInput("drain: there is no terminal to ask on; use --yes")
    cluster = facts(ctx, None)
    made = make_drain(cluster, nodes, taught(ctx, cluster, policy_of(rules, cluster)))
    if isinstance(made, Refusal):
        silent = any(not cluster.node(node).answered for node in nodes)
        return refused(made, as_json, f"migrator plan drain {' '.join(nodes)}", 4 if silent else 3)
    if not force:
        refuse_own_host(cluster, made, BOOT_ID.read_text().strip())
    if not as_json:
        print_plan(made)
    if not yes:
        click.confirm("Do it?", abort=True, err=True)
    return _apply(ctx, made, force, as_json)


def facts(ctx: click.Context, snapshot: Path | None) -> Cluster:
    """The cluster from a snapshot, or as it is now."""
    from migrator.inventory import snapshot as snapshots

    if snapshot is not None:
        return snapshots.load(snapshot)

    async def probe() -> Cluster:
        async with open_fleet(ctx) as fleet:
            return await fleet.probe()

    return run_async(probe(), only_looks=True)


def policy_of(given: dict[str, Any], cluster: Cluster) -> PlanPolicy:
    """The cluster's rules, then those of a policy file, then a command's options; else what the defaults say."""
    from dataclasses import fields, replace

    from migrator.model.plan_policy import PlanPolicy
    from migrator.model.rules import Window

    path = given.get("policy_path")
    standing = cluster.policy
    if path is not None:
        from migrator.inventory import policy_file

        standing = standing.then(policy_file.load(path))
    said = standing.said
    if given.get("headroom_percent") is not None:
        said.pop("headroom", None)  # an option says it of all, and goes before the file
    asked = {f.name: given.get(f.name) for f in fields(PlanPolicy)}
    said |= {
        name: value for name, value in asked.items() if value not in (None, ()) and value is not False
    }  # 0 is said
    said.pop("start", None)
    if "anti_affinity" in said:
        said["anti_affinity"] = tuple(dict.fromkeys(said["anti_affinity"]))
    policy = waived(PlanPolicy(**said), given.get("waive", ()))
    if given.get("start") is not None or any(isinstance(rule, Window) for rule in policy.rules):
        return replace(policy, start=_start(given.get("start")))
    return policy


def _start(text: str | None) -> str:
    """A time as ISO 8601 with its zone: this machine's where none is said, now where no time is."""
    from datetime import UTC, datetime

    from migrator.errors import BadInput
    from migrator.model.windows import STARTS

    try:
        start = datetime.now(UTC).replace(microsecond=0) if text is None else datetime.fromisoformat(text)
        if start.year not in STARTS:
            raise ValueError("no year to plan in")
        return (start if start.tzinfo else start.astimezone()).isoformat()
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"--start: {quoted(text or '')} is no time (write 2026-03-01T22:00 or 2026-03-01T22:00+01:00)"
        ) from error


def known_nodes(cluster: Cluster, names: tuple[str, ...], gone: tuple[str, ...] = ()) -> None:
    """Raises BadInput for a name that no node of the cluster has, be it that --without has taken it away."""
    from migrator.errors import BadInput

    for name in names:
        if name in gone:
            raise BadInput(f"node {quoted(name)} was taken away by --without {name}")
    there = [node.name for node in cluster.nodes]
    for name in names:
        if name not in there:
            some = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "")
            raise BadInput(f"there is no node {quoted(name)} in cluster {cluster.name!r}; it has {some}")


def make_drain(
    cluster: Cluster,
    nodes: tuple[str, ...],
    policy: PlanPolicy,
    which: Callable[[Cluster], tuple[str, ...]] | None = None,
) -> Plan | Refusal:
    """A plan to empty nodes of the cluster, made from these facts; `which` says what they are in others."""
    from migrator.inventory.snapshot import digest
    from migrator.planner.drain import drain as plan_to_drain
    from migrator.planner.remedies import helped

    known_nodes(cluster, nodes)
    known = digest(cluster)
    return helped(
        plan_to_drain(cluster, nodes, known, policy),
        cluster,
        policy,
        lambda facts, rules: plan_to_drain(facts, which(facts) if which else nodes, known, rules),
    )


def made_under(policy: PlanPolicy) -> Policy:
    """How moves are made that were planned under a policy."""
    from migrator.model.policy import Policy

    return Policy(
        blackout_s_max=policy.blackout_s_max,
        moves_per_node_max=policy.moves_per_node_max,
        overlapping_pauses=policy.overlapping_pauses,
        mode=policy.mode,
        target_blackout_s=policy.target_blackout_s,
        not_convergent=policy.not_convergent,
        stop_timeout_s=policy.stop_timeout_s,
        bandwidth_bytes_per_s=policy.bandwidth_bytes_per_s,
        checks_waived=policy.checks_waived,
    )


def _apply(ctx: click.Context, plan: Plan, force: bool, as_json: bool) -> int:
    """Applies, reports, and returns the exit code."""
    from migrator.checker.check import check as check_plan
    from migrator.checker.laxer import laxer_note
    from migrator.cli.plan_text import plan_json
    from migrator.cli.progress import Progress
    from migrator.cli.report import print_run, run_json
    from migrator.executor.apply import apply_plan

    journal = open_journal(ctx)
    own_boot_id = "" if force else BOOT_ID.read_text().strip()
    policy = made_under(plan.policy)

    def stale(cluster: Cluster) -> list[str]:
        if laxer := laxer_note(cluster, plan):
            click.echo(clean(f"note: {laxer}"), err=True)
        return [f.text for f in check_plan(cluster, plan, plan.policy) if not f.code.drifts]

    async def work() -> Applied:
        async with open_fleet(ctx) as fleet:
            with Progress(plan, quiet=as_json) as progress:
                return await apply_plan(
                    fleet, journal, plan, policy, str(cluster_path(ctx)), stale, own_boot_id, progress.notify
                )

    applied = run_async(work())
    document = run_json(journal, applied.run) | {"empty": list(applied.empty), "plan": plan_json(plan)}
    if not as_json:
        print_run(journal, applied.run)
    if applied.error is not None:
        return fail(str(applied.error), applied.error.exit_code, as_json, document)
    if as_json:
        print_json(document)
    else:
        for node in applied.empty:
            click.echo(pasteable(f"{node} is empty and cordoned; take the cordon off with: migrator uncordon {node}"))
    return 0


def refused(refusal: Refusal, as_json: bool, what_if: str = "", code: int = 3) -> int:
    """Says why there is no plan; the exit code, another than 3 where a node that had to be asked did not answer.
    `what_if` is the command that can be asked what changed facts would do, where the one that was given cannot.
    """
    from migrator.cli.plan_text import refusal_json
    from migrator.cli.refusal_text import print_refusal, refusal_line, same_reasons

    told = same_reasons(refusal.containers)
    if not as_json:
        print_refusal(refusal, told)
        changes = " ".join((refusal.change, *(stuck.change for stuck in refusal.containers)))
        if what_if and ("--add-node" in changes or "--uncordon" in changes):
            click.echo(pasteable(f"what other nodes would do is seen, and not done, with: {what_if}"))
    return fail(refusal_line(refusal, told, not as_json), code, as_json, refusal_json(refusal) if as_json else None)
