"""python -m migrator.chaos: breaks everything that can break in every state of a migration, on real labs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from migrator.chaos.cells import Cell, matrix, nothing_there, selection
from migrator.chaos.matrix import play_all
from migrator.chaos.play import Seen
from migrator.errors import MigratorError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.chaos", description=__doc__)
    parser.add_argument("--lanes", type=int, default=3, help="labs at once (default: 3)")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose name holds one of these, by commas")
    parser.add_argument("--selection", action="store_true", help="the cells that make test plays")
    parser.add_argument("--verbose", action="store_true", help="with what the orchestrators said")
    given = parser.parse_args()
    cells = selection() if given.selection else matrix()
    wanted = [text for text in given.only.split(",") if text]
    cells = [cell for cell in cells if not wanted or any(text in cell.name for text in wanted)]
    return asyncio.run(until_signal(cells, given))


async def until_signal(cells: list[Cell], given: argparse.Namespace) -> int:
    """Ctrl-C, SIGTERM and a closed terminal end it early, in order."""
    work = asyncio.create_task(run(cells, given))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        print("interrupted", flush=True)
    except ExceptionGroup as group:
        known, unknown = group.split(MigratorError)
        if unknown is not None:
            raise
        for error in known.exceptions if known is not None else ():
            print(f"chaos: {error}", file=sys.stderr)
    return 1


async def run(cells: list[Cell], given: argparse.Namespace) -> int:
    def say(seen: Seen) -> None:
        print(line(seen), flush=True)
        if given.verbose:
            for said in seen.said:
                print(f"      {said}", flush=True)

    for cell in cells:
        if reason := nothing_there(cell):
            print(f"   -  {cell.name}: nothing to break there: {reason}")
    results = await play_all(cells, given.lanes, f"c{os.getpid() % 100000}x", say)
    broken = [seen for seen in results if seen.broken]
    print(f"{len(results)} cells, {len(broken)} with a broken promise")
    return 1 if broken else 0


def line(seen: Seen) -> str:
    """One line a cell, for who watches."""
    mark = "BAD " if seen.broken else "ok  "
    code = "killed" if seen.exit_code is None else f"exit {seen.exit_code}"
    how = f"{code}{', resumed' if seen.resumed else ''}"
    what = f"{seen.runs_on or 'LOST'}, {'kept' if seen.kept else 'not kept'}, pause {seen.pause_ms / 1000:.1f} s"
    return f"{mark}  {seen.cell.name}: {how}: {what} ({seen.took_s:.1f} s) {'; '.join(seen.broken)}"


if __name__ == "__main__":
    sys.exit(main())
