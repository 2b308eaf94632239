"""migrator runs, show, resume, rollback, cancel: what was run, and what is still to be settled."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.hints import pasteable
from migrator.cli.output import clean, json_option, print_json, print_table
from migrator.cli.shared import open_journal, run_async

if TYPE_CHECKING:
    from migrator.journal.store import Journal, Migration


@click.command()
@click.option("--limit", "-n", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
@click.pass_context
def runs(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List what was run, the newest first."""
    from migrator.model.plan import brief

    found = open_journal(ctx).runs(limit)
    if as_json:
        rows = [
            {"run": r.id, "intent": r.kind, "created_ms": r.created_ms, "outcome": r.outcome or "unfinished"}
            for r in found
        ]
        print_json({"runs": rows})
        return
    print_table(
        ("RUN", "STARTED (UTC)", "INTENT", "OUTCOME"),
        [(r.id, _time(r.created_ms), brief(r.kind), r.outcome or "unfinished") for r in found],
    )


@click.command()
@click.argument("run")
@click.option("--offline", is_flag=True, help="Ask no node: what the journal says, and nothing else.")
@click.option("--phases", is_flag=True, help="Also where each pause went, to the millisecond.")
@json_option
@click.pass_context
def show(ctx: click.Context, run: str, offline: bool, phases: bool, as_json: bool) -> None:
    """Show one run: every move, its states and their times. RUN may be the begin of an id.

    For moves that have not ended both nodes are asked, and what settles them is shown.
    """
    from migrator.cli.phases import pause_parts, print_phases
    from migrator.cli.report import makespan_line, print_run, run_json
    from migrator.cli.standing import print_standing, standing_json, standings

    journal = open_journal(ctx)
    found = journal.run(run)
    unfinished = {} if offline else standings(journal, found, ctx.obj["cluster"])
    if as_json:
        document = run_json(journal, found.id, events=True)
        for m in document["migrations"]:
            m["pause"] = [asdict(part) for part in pause_parts(journal.events(m["id"]))]
            if m["id"] in unfinished:
                m.update(standing_json(unfinished[m["id"]]))
        print_json(document)
        return
    print_run(journal, found.id)
    document = run_json(journal, found.id)
    if compared := makespan_line(document):
        click.echo(compared)
    moved = {m["id"]: m for m in document["migrations"]}
    for migration in journal.migrations(found.id):
        _print_move(journal, migration, moved[migration.id])
        if phases:
            print_phases(journal.events(migration.id))
        if migration.id in unfinished:
            print_standing(unfinished[migration.id])


def _print_move(journal: Journal, migration: Migration, moved: dict[str, Any]) -> None:
    """Its states and their times, estimates beside what happened, and what was not as it should be."""
    from migrator.cli.report import channel_line, predicted_line
    from migrator.executor.outcome import cut_off
    from migrator.journal.events import Phase

    click.echo(f"\n{migration.move}: {migration.source} -> {migration.target}, token {migration.token}")
    history = journal.events(migration.id)
    for event in history:
        said = clean(str(event.data.get("error") or event.data.get("reason") or ""))
        if event.phase is Phase.NOTE:
            said = clean(": ".join(filter(None, (f"{event.data['hook']} {event.data['is']}", said))))
        after_s = (event.at_ms - history[0].at_ms) / 1000
        click.echo(f"  {after_s:8.3f} s  {event.state:<15} {event.phase:<6} {said}".rstrip())
    if compared := predicted_line(moved):
        click.echo(f"  {compared}")
    if moved["channel"]:
        click.echo(clean(f"  memory over the network: {channel_line(moved)}"))
    if moved["unsent"]:
        click.echo(f"  closed connections whose last bytes their clients did not take in time: {moved['unsent']}")
    if moved["gate_error"]:
        click.echo(clean(f"  {cut_off(migration.container, migration.target, moved['gate_error'])}"))


@click.command()
@click.argument("run")
@json_option
@click.pass_context
def resume(ctx: click.Context, run: str, as_json: bool) -> int:
    """Finish a run whose orchestrator was ended: settle what was under way, then do the rest."""
    return _settle(ctx, run, as_json, back=False)


@click.command()
@click.argument("run")
@json_option
@click.pass_context
def rollback(ctx: click.Context, run: str, as_json: bool) -> int:
    """End a run: what is not committed goes back to its source; what is committed is finished and stays."""
    return _settle(ctx, run, as_json, back=True)


@click.command()
@click.argument("run")
@json_option
@click.pass_context
def cancel(ctx: click.Context, run: str, as_json: bool) -> int:
    """End a run that is under way: its process is asked to stop and waited for; then as rollback."""
    from migrator.cli.report import print_run, run_json
    from migrator.executor.stop import stop_worker

    journal = open_journal(ctx)
    found = journal.run(run)

    def tell(pid: int) -> None:
        click.echo(f"run {found.id}: process {pid} was asked to stop; waiting until everything is safe", err=True)

    stopped = run_async(stop_worker(journal, found.id, tell))
    if stopped and journal.run(found.id).outcome == "done":
        click.echo(f"run {found.id} was done before it could be cancelled", err=True)
        if as_json:
            print_json(run_json(journal, found.id))
        else:
            print_run(journal, found.id)
        return 0
    return _settle(ctx, found.id, as_json, back=True)


def _settle(ctx: click.Context, run: str, as_json: bool, back: bool) -> int:
    from migrator.cli.progress import Progress
    from migrator.cli.report import report
    from migrator.executor.apply import unproved
    from migrator.executor.fleet import Fleet
    from migrator.executor.runs import plan_of, resume_run, rollback_run
    from migrator.inventory.cluster_file import load
    from migrator.inventory.cluster_text import find

    journal = open_journal(ctx)
    found = journal.run(run)
    plan, _ = plan_of(found)
    path = ctx.obj["cluster"] or found.document["cluster_file"]

    async def work() -> Any:
        async with Fleet(load(find(path))) as fleet:
            with Progress(plan, quiet=as_json) as progress:
                act = rollback_run if back else resume_run
                result = await act(fleet, journal, found, progress.notify)
            prove = plan.empties and not back and result.exit_code == 0 and found.outcome != "done"
            return result, await unproved(fleet, plan) if prove else {}

    result, left = run_async(work())
    code = report(journal, found.id, result, as_json, problems=list(left.values()))
    if code == 0 and not back and not as_json:
        for node in plan.empties:
            click.echo(pasteable(f"{node} is empty and cordoned; take the cordon off with: migrator uncordon {node}"))
    return code


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
