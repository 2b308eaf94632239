"""python -m migrator.demo.roadef_bench: the challenge's instances in a folder, beside published answers to them.

Every instance is solved by a process of its own, `migrator bench roadef`, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from migrator.demo.bench_report import host_facts
from migrator.demo.cost import cost_of
from migrator.demo.page import with_section
from migrator.demo.planner_bench import DATA, DOCUMENT, PROGRAM

SECONDS = 300.0
EXCESS_MAX = 0.02
HEADING = "## Machine reassignment (ROADEF/EURO 2012)"
COLUMNS = ["instance", "start", "lower bound", "S41", "found", "excess", "time", "memory", "measured"]
EXCESS = COLUMNS.index("excess")

# Lower bounds, and the results of S41, the winning team's program, at 300 s.
PUBLISHED = {
    "a1_1": (44306390, 44306501),
    "a1_2": (777530730, 777912030),
    "a1_3": (583005700, 583006422),
    "a1_4": (242387530, 262125116),
    "a1_5": (727578290, 727578310),
    "a2_1": (0, 329),
    "a2_2": (13590090, 746097632),
    "a2_3": (521441700, 1210644572),
    "a2_4": (1680222380, 1680615349),
    "a2_5": (307035180, 318358949),
    "b_1": (3290754940, 3353533859),
    "b_2": (1015153860, 1015569276),
    "b_3": (156631070, 157091678),
}


@dataclass(frozen=True)
class Row:
    """One instance, solved."""

    name: str
    start: int
    found: int
    seconds: float
    memory_bytes: int

    @property
    def excess(self) -> float | None:
        """(found - S41) / (start - lower bound); None where nothing is published."""
        if self.name not in PUBLISHED:
            return None
        bound, s41 = PUBLISHED[self.name]
        return (self.found - s41) / (self.start - bound)


class BenchError(Exception):
    """A command of the benchmark did not do what it was there for."""


def names(folder: Path) -> list[str]:
    """The instances of a folder: those with both files."""
    found = (path.stem.removeprefix("model_") for path in folder.glob("model_*.txt"))
    return sorted(name for name in found if (folder / f"assignment_{name}.txt").exists())


def solve(folder: Path, name: str, seconds: float, scratch: Path) -> Row:
    """One instance, by the command that a person would use."""
    files = [str(folder / f"model_{name}.txt"), str(folder / f"assignment_{name}.txt")]
    words = [PROGRAM, "bench", "roadef", *files, "--seconds", str(seconds), "-o", str(scratch / "new"), "--json"]
    cost = cost_of(words, scratch / "out", 2 * seconds + 60)
    if cost.code != 0:
        raise BenchError(f"{name}: {(scratch / 'out').read_text()[-300:].strip() or 'it took too long'}")
    told = json.loads((scratch / "out").read_text())
    return Row(name, told["before"]["total"], told["after"]["total"], told["seconds"], told["memory_bytes"])


def cells(row: Row, day: str) -> list[str]:
    """A row of the table, as text."""
    bound, s41 = PUBLISHED.get(row.name, ("-", "-"))
    excess = "-" if row.excess is None else f"{100 * row.excess:.2f}%"
    sizes = [f"{row.seconds:.0f} s", f"{row.memory_bytes / 1e6:.0f} MB"]
    return [row.name, str(row.start), str(bound), str(s41), str(row.found), excess, *sizes, day]


def kept(page: str) -> dict[str, list[str]]:
    """The rows that the page's table has, by instance."""
    found: dict[str, list[str]] = {}
    inside = False
    for line in page.splitlines():
        if line.startswith("## "):
            inside = line == HEADING
        told = [cell.strip() for cell in line.strip("|").split("|")]
        if inside and line.startswith("| ") and len(told) == len(COLUMNS) and told != COLUMNS:
            found[told[0]] = told
    return found


def section(rows: dict[str, list[str]]) -> str:
    """The section of docs/benchmarks.md, whole."""
    table = [rows[name] for name in sorted(rows)]
    over = [row[0] for row in table if row[EXCESS] != "-" and float(row[EXCESS].rstrip("%")) > 100 * EXCESS_MAX]
    verdict = f"Over 2 %: {', '.join(over)}." if over else "All are within 2 %."
    machine = ", ".join(f"{name} {value}" for name, value in host_facts().items())
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"""{HEADING}

`make bench-roadef` writes this section, each row when it is there; `make bench-roadef INSTANCES="a1_2 b_1"` makes
these rows anew and keeps the others, and `SECONDS=60` gives each another time. With `DATA=FOLDER` it reads
`FOLDER/roadef/model_X.txt` and `assignment_X.txt`, in the challenge's format. One of them is
`migrator bench roadef MODEL ASSIGNMENT -o OUT`; with `--iterations N` instead of a time (rounded up to 64), equal words
give an equal answer.

Google's problem judges the search, not the product: processes on machines under capacities, conflicts, spread,
dependencies and room for what moves; the cost is load over the safety capacities, balance, and moves. S41 is the
winning team's program, with its published results at 300 s. *Excess* is (found - S41) / (start - lower bound); the
target is at most 2 %. Every answer is judged by `roadef/cost.py`, which shares no code with the search. Two processes
search, in NumPy and Python; memory is that of both.

**{verdict}**

| {" | ".join(COLUMNS)} |
|---|--:|--:|--:|--:|--:|--:|--:|---|
{lines}

Machine of the last row measured: {machine}.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.roadef_bench", description=__doc__)
    told = os.environ.get("DATA") or str(DATA)
    parser.add_argument("--data", type=Path, default=Path(told), help="has the folder roadef (default: $DATA)")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help=f"of each (default: {SECONDS:g})")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these alone; the page keeps its other rows")
    parser.add_argument("--no-page", action="store_true", help="print, and write nothing to docs/")
    given = parser.parse_args()
    folder = given.data / "roadef"
    there = names(folder)
    wanted = given.only or there
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        print(f"roadef_bench: {folder}: no such instances are there: {', '.join(unknown) or 'none'}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="migrator-bench-") as scratch:
            for name in wanted:
                row = cells(solve(folder, name, given.seconds, Path(scratch)), f"{datetime.now(UTC):%Y-%m-%d}")
                print("  ".join(row), flush=True)
                if not given.no_page:
                    page = DOCUMENT.read_text()
                    DOCUMENT.write_text(with_section(page, section(kept(page) | {name: row})))
    except BenchError as error:
        print(f"roadef_bench: {error}", file=sys.stderr)
        return 1
    if not given.no_page:
        print(f"written to docs/{DOCUMENT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
