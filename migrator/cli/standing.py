"""The part of `migrator show` that asks: what both nodes say of a move that has not ended, and what settles it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click

from migrator.cli.output import clean
from migrator.cli.shared import run_async
from migrator.errors import MigratorError
from migrator.executor.fleet import Fleet
from migrator.executor.status import Standing, Told, standing
from migrator.inventory.cluster_file import load
from migrator.inventory.cluster_text import find
from migrator.journal.store import Journal, Run
from migrator.protocol.states import FINAL


def standings(journal: Journal, run: Run, cluster: str | None) -> dict[str, Standing]:
    """How each of the run's unfinished migrations stands, by id. Asks nobody when all have ended."""
    unfinished = [m for m in journal.migrations(run.id) if journal.progress(m.id).state not in FINAL]
    if not unfinished:
        return {}

    async def work() -> list[Standing]:
        try:
            path = cluster or run.document.get("cluster_file")
            fleet = Fleet(load(find(path)))
        except MigratorError:
            return [await standing(None, journal, m) for m in unfinished]
        async with fleet:
            return await asyncio.gather(*(standing(fleet, journal, m) for m in unfinished))

    return dict(zip((m.id for m in unfinished), run_async(work(), only_looks=True), strict=True))


def standing_json(found: Standing) -> dict[str, Any]:
    return {
        "nodes": {told.role: _told_json(told) for told in (found.source, found.target)},
        "verdict": str(found.verdict.action),
        "reason": found.verdict.reason,
        "worked_on_by_pid": found.worker,
        "commands": list(found.commands),
    }


def _told_json(told: Told) -> dict[str, Any]:
    document: dict[str, Any] = {"node": told.node, "asked_ms": told.at_ms, "error": told.error or None, "record": None}
    if told.seen is not None:
        seen = told.seen
        document["record"] = {
            "state": seen.state,
            "token": seen.token,
            "generation": seen.generation,
            "run": None if seen.run == "-" else seen.run,
            "same_boot": seen.same_boot,
            "processes": processes(told),
            "gate": seen.gate,
            "jobs": list(seen.jobs),
        }
    return document


def processes(told: Told) -> str:
    """running, frozen, held or none."""
    if told.seen is None:
        return "not known"
    return "held" if told.seen.held and told.seen.alive else told.seen.processes


def print_standing(found: Standing) -> None:
    for told in (found.source, found.target):
        click.echo(f"  {told.role} {told.node} at {_time(told.at_ms)}: {clean(_words(told))}")
    if found.worker is not None:
        click.echo(f"  process {found.worker} of this machine is working on it")
        click.echo("  to end it:")
    else:
        click.echo(f"  verdict: {found.verdict.action}: {clean(found.verdict.reason)}")
        click.echo("  to settle it:" if found.commands else "  nothing here can settle it until a node answers")
    for line in found.commands:
        click.echo(f"    {line}")


def _words(told: Told) -> str:
    seen = told.seen
    if seen is None:
        return f"not known: {told.error}"
    if seen.state == "absent":
        return f"no record, processes {processes(told)}"
    boot = "same boot" if seen.same_boot else "rebooted since"
    held_by = f"held by run {seen.run}" if seen.run != "-" else "held by no run"
    jobs = f", running: {', '.join(seen.jobs)}" if seen.jobs else ""
    return (
        f"record {seen.state}, token {seen.token}, generation {seen.generation}, {held_by}, {boot}, "
        f"processes {processes(told)}, gate {seen.gate}{jobs}"
    )


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S} UTC"
