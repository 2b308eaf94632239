"""What commands share: the cluster file, the journal, and an event loop that ends in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from migrator.errors import MigratorError
from migrator.executor.cancel import under_way
from migrator.executor.fleet import Fleet
from migrator.inventory import cluster_file
from migrator.journal.store import Journal, default_path

T = TypeVar("T")


class Interrupted(MigratorError):
    """Ctrl-C or SIGTERM ended the command, in order."""


def cluster_path(ctx: click.Context) -> Path:
    return cluster_file.find(ctx.obj["cluster"])


def open_fleet(ctx: click.Context) -> Fleet:
    return Fleet(cluster_file.load(cluster_path(ctx)))


def open_journal(ctx: click.Context) -> Journal:
    given = ctx.obj["journal"]
    return Journal(Path(given) if given else default_path())


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command's coroutine. Ctrl-C and SIGTERM cancel it once; it rolls back or finishes, then ends."""

    async def main() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        asked = 0

        def stop() -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                click.echo("stopping: what is not committed is rolled back, the rest is finished", err=True)
                task.cancel()
            else:
                safe = "; ".join(under_way()) or "the end of the command"
                click.echo(f"still making safe: {safe}; wait, or see: migrator runs", err=True)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            raise Interrupted(
                "interrupted: what was not committed is rolled back, what was is finished; see: migrator runs"
            ) from None

    return asyncio.run(main())
