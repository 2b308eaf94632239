"""python -m migrator.chaos: breaks everything that can break in every state of a migration, on real labs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from migrator.chaos import report
from migrator.chaos.cells import Cell, matrix, nothing_there, selection
from migrator.chaos.lane import Lane
from migrator.chaos.matrix import play_all
from migrator.chaos.seen import Seen
from migrator.chaos.soak import Soak, soak
from migrator.chaos.tables import matrix_text
from migrator.errors import MigratorError

SAY_EVERY = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.chaos", description=__doc__)
    parser.add_argument("--lanes", type=int, default=6, help="labs at once (default: 6)")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose name holds one of these, by commas")
    parser.add_argument("--selection", action="store_true", help="the cells that make test plays")
    parser.add_argument("--verbose", action="store_true", help="with what the orchestrators and the clients said")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the journals of cells that broke a promise")
    parser.add_argument("--soak", type=int, metavar="N", help="no matrix: N migrations back and forth (an even number)")
    given = parser.parse_args()
    if given.soak is not None and (given.soak < 2 or given.soak % 2):
        parser.error("--soak: an even number, 2 or more")
    return asyncio.run(until_signal(given))


async def until_signal(given: argparse.Namespace) -> int:
    """Ctrl-C, SIGTERM and a closed terminal end it early, in order: the labs go as they do at the end."""
    work = asyncio.create_task(run_soak(given.soak) if given.soak else run_matrix(given))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        print("interrupted", flush=True)
    except MigratorError as error:
        print(f"chaos: {error}", file=sys.stderr)
    except ExceptionGroup as group:
        known, unknown = group.split(MigratorError)
        if unknown is not None:
            raise
        for said in known.exceptions if known is not None else ():
            print(f"chaos: {said}", file=sys.stderr)
    return 1


async def run_matrix(given: argparse.Namespace) -> int:
    """Plays the wanted cells; the whole matrix goes into the page."""
    wanted = [text for text in given.only.split(",") if text]
    cells = selection() if given.selection else matrix()
    cells = [cell for cell in cells if not wanted or any(text in cell.name for text in wanted)]

    def say(seen: Seen) -> None:
        print(line(seen), flush=True)
        if given.verbose:
            for said in seen.said:
                print(f"      {said}", flush=True)

    for cell in cells:
        if reason := nothing_there(cell):
            print(f"-     {cell.name}: nothing to break there: {reason}")
    began_s = time.monotonic()
    results = await play_all(cells, given.lanes, lab_name(), say, given.keep)
    if not wanted and not given.selection:
        report.write("chaos", matrix_text(cells, results, time.monotonic() - began_s))
    return verdict(cells, results)


def verdict(cells: list[Cell], results: list[Seen]) -> int:
    broken = [seen for seen in results if seen.broken]
    missing = sum(not nothing_there(cell) for cell in cells) - len(results)
    print(f"{len(results)} cells played, {len(broken)} with a broken promise", flush=True)
    return 1 if broken or missing else 0


def line(seen: Seen) -> str:
    """One line a cell, for who watches."""
    mark = "BAD " if seen.broken else "ok  "
    code = "killed" if seen.exit_code is None else f"exit {seen.exit_code}"
    how = f"{code}{', resumed' if seen.resumed else ''}"
    outage = f"{'down' if seen.cold else 'pause'} {seen.outage_ms / 1000:.1f} s"
    what = f"{seen.runs_on}, {seen.connection}, {outage}"
    return f"{mark}  {seen.cell.name}: {how}: {what} ({seen.took_s:.1f} s) {'; '.join(seen.broken)}"


async def run_soak(count: int) -> int:
    """The soak; what was seen goes into the page."""

    def say(seen: Soak) -> None:
        if seen.done % SAY_EVERY == 0 or seen.done == count:
            print(f"{seen.done} migrations, {seen.weights[-1]['rss_kib']} KiB", flush=True)

    lane = Lane(lab_name())
    began_s = time.monotonic()
    try:
        await lane.up()
        seen = await soak(count, lane, say)
    finally:
        await asyncio.shield(asyncio.create_task(lane.down()))
    if seen.weights:
        report.write("soak", report.soak_text(seen, time.monotonic() - began_s))
    if seen.weights:
        print(report.memory_line(seen))
    print("; ".join(seen.broken) or f"{seen.done} migrations, {seen.answers} answers, nothing more than before")
    return 1 if seen.broken else 0


def lab_name() -> str:
    return f"chaos{os.getpid() % 1_000_000}-"


if __name__ == "__main__":
    sys.exit(main())
