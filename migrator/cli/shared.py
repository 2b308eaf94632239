"""What commands share: the cluster file, the journal, and an event loop that ends in order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.cli.hints import pasteable
from migrator.cli.signals import SIGNALS
from migrator.errors import BadInput, MigratorError

if TYPE_CHECKING:  # what asks nodes is loaded where nodes are asked: a plan from a snapshot asks none
    import asyncio

    from migrator.executor.fleet import Fleet
    from migrator.inventory.ahead import Ahead
    from migrator.inventory.cluster_text import Written
    from migrator.journal.store import Journal

T = TypeVar("T")
TELL_AFTER_S = 0.5  # a stop that takes no longer needs no word but its last


class Interrupted(MigratorError):
    """Ctrl-C or SIGTERM ended the command, in order."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What an interrupted command says: while it makes all safe, when that is done, and where to look."""

    meanwhile: str
    last: str
    see: str = "migrator ct list"


OF_RUNS = Ending(
    "what is not committed is rolled back, the rest is finished",
    "what was not committed is rolled back, what was is finished",
    "migrator runs",
)
OF_MAKING = Ending("what does not run yet is taken back", "what did not run yet is taken back")
OF_CLONES = Ending("the clone is taken back, its source goes on", "the clone is taken back, its source goes on")
OF_PUSHES = Ending(
    "what was sent is kept", "what was sent is kept, and the same again goes on", "migrator template list"
)
OF_ACTS = Ending("what a node has begun ends there", "what a node has begun ends there; give it again to be sure")


def cluster_path(ctx: click.Context) -> Path:
    from migrator.inventory.cluster_text import find

    return find(ctx.obj["cluster"])


without_option = click.option(
    "--without",
    "without",
    multiple=True,
    metavar="NODE",
    help="A node that does not answer and has no container of this name or address; may be repeated.",
)


def open_fleet(ctx: click.Context) -> Fleet:
    from migrator.executor.fleet import Fleet
    from migrator.inventory import cluster_file

    return Fleet(cluster_file.load(cluster_path(ctx)))


@contextlib.asynccontextmanager
async def open_whole_fleet(ctx: click.Context) -> AsyncIterator[Fleet]:
    """As `open_fleet`, for who asks all nodes at once: they are connected to while the file is checked."""
    import asyncio

    from migrator.inventory.ahead import Ahead
    from migrator.inventory.cluster_text import likely, read

    written = read(cluster_path(ctx))
    async with Ahead(likely(written.raw)) as ahead:
        async with await asyncio.to_thread(_fleet, written, ahead) as fleet:
            yield fleet


def _fleet(written: Written, ahead: Ahead) -> Fleet:
    from migrator.executor.fleet import Fleet
    from migrator.inventory.cluster_file import checked

    file = checked(written)
    return Fleet(file, lambda entry: ahead.node(entry.name, file.ssh_address(entry)))


def journal_path(ctx: click.Context) -> Path:
    from migrator.journal.store import default_path

    given = ctx.obj["journal"]
    return Path(given) if given else default_path()


def open_journal(ctx: click.Context) -> Journal:
    from migrator.journal.store import Journal

    return Journal(journal_path(ctx))


def not_over(output: Path | None, *read: Path | None) -> None:
    """Raises BadInput where a file that is to be written is one of those that are read."""
    for path in read:
        if output is not None and path is not None and output.exists() and path.exists() and output.samefile(path):
            raise BadInput(f"-o {output}: is the file that is read; name another")


class _Stop:
    """Asks a command's work to stop at the first signal; at each later one says what is still being made safe."""

    def __init__(self, only_looks: bool, ending: Ending) -> None:
        self._only_looks, self._ending = only_looks, ending
        self._asked = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def came(self) -> None:
        """A signal, in the middle of anything."""
        self._asked += 1
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ask, self._asked)

    def begin(self, task: asyncio.Task[Any]) -> None:
        import asyncio

        self._task, self._loop = task, asyncio.get_running_loop()
        if self._asked:  # while the loop was being made
            self._ask(1)

    def _ask(self, time: int) -> None:
        if self._task is None or self._task.done() or self._loop is None:
            return
        if time == 1:
            self._task.cancel()
            self._loop.call_later(TELL_AFTER_S, self._tell)
        else:
            from migrator.executor.cancel import under_way

            safe = "; ".join(under_way()) or "the end of the command"
            click.echo(pasteable(f"still making safe: {safe}; wait, or see: {self._ending.see}"), err=True)

    def _tell(self) -> None:
        if not self._only_looks and self._task is not None and not self._task.done():
            click.echo(f"stopping: {self._ending.meanwhile}", err=True)


def run_async(work: Coroutine[Any, Any, T], only_looks: bool = False, ending: Ending = OF_RUNS) -> T:
    """Runs a command's coroutine. Ctrl-C and SIGTERM cancel it once; it rolls back or finishes, then ends.

    `only_looks`: it changes nothing, and a signal after it still finds a command that has done nothing. `ending` is
    what is said of one that was interrupted.
    """
    import asyncio

    stop = _Stop(only_looks, ending)

    async def main() -> T:
        task = asyncio.ensure_future(work)
        stop.begin(task)
        try:
            return await task
        except asyncio.CancelledError:
            raise Interrupted(
                "stopped before anything was done" if only_looks else f"interrupted: {ending.last}; see: {ending.see}"
            ) from None
        finally:
            SIGNALS.over()  # before the loop goes, which could not be told any more

    SIGNALS.working(stop.came)
    try:
        return asyncio.run(main())
    finally:
        if only_looks:
            SIGNALS.early()
