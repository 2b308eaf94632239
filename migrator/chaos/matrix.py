"""Plays cells on several lanes at once: most of a cell is waiting, for time-outs, watchdogs and boots."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from migrator.chaos.cells import Cell, nothing_there
from migrator.chaos.lane import Lane
from migrator.chaos.play import play
from migrator.chaos.seen import Seen

CELL_TIMEOUT_S = 400.0


async def play_all(
    cells: Sequence[Cell], lanes: int, name: str, say: Callable[[Seen], None], keep: Path | None = None
) -> list[Seen]:
    """What was seen of every cell that has something to break, in the cells' order. Labs are gone at the end.

    `keep` is a directory for the journal and the orchestrators' words of each lane that broke a promise.
    """
    left = [cell for cell in cells if not nothing_there(cell)]
    left.reverse()
    results: list[Seen] = []

    async def run(lane: Lane) -> None:
        try:
            await lane.up()
            while left:
                seen = await bounded(left.pop(), lane)
                results.append(seen)
                say(seen)
                if seen.broken and keep is not None:
                    shutil.copytree(lane.paths.dir, keep / seen.cell.name.replace(" ", "-"), ignore=_but_journals)
                if seen.broken and left:
                    await lane.again()  # what the next cell sees must be its own
        finally:
            await asyncio.shield(asyncio.create_task(lane.down()))

    async with asyncio.TaskGroup() as group:
        for number in range(min(lanes, len(left))):
            group.create_task(run(Lane(f"{name}{number + 1}")))
    order = {cell: index for index, cell in enumerate(cells)}
    return sorted(results, key=lambda seen: order[seen.cell])


def _but_journals(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith(("journal.", "orchestrator."))]


async def bounded(cell: Cell, lane: Lane) -> Seen:
    """A cell that hangs is a broken promise like any other."""
    try:
        async with asyncio.timeout(CELL_TIMEOUT_S):
            return await play(cell, lane)
    except TimeoutError:
        return Seen(cell, broken=[f"it hangs: no end after {CELL_TIMEOUT_S:.0f} s"])
