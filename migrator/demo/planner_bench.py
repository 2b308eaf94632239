"""python -m migrator.demo.planner_bench: what a plan costs, from a snapshot file to a plan file, and how good it is.

Every figure is of a whole process. Ganeti's hbal plans the same file beside it where it is installed. The given fleets
are used where they are; others are made (fleets.py). Each plan is held against the facts by the checker.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.demo.cost import Cost, cost_of
from migrator.demo.fleets import ring_text
from migrator.demo.page import with_section
from migrator.demo.planner_report import (
    CASES,
    RINGS,
    Case,
    Peer,
    Result,
    Ring,
    Scaled,
    Times,
    curve,
    line,
    rings_line,
    section,
)

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "planner-cost.svg"
DATA = ROOT.parent / "shared" / "bench"
SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
LIMIT_S = 600.0
RUNS = 3  # of which the cheapest counts
PROGRAM = str(Path(sys.executable).with_name("migrator"))


class BenchError(Exception):
    """A command of the benchmark did not do what it was there for."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the benchmark works and reads, and how long a peer may take."""

    folder: Path
    data: Path
    peer_limit_s: float

    def fleet(self, nodes: int, containers: int, emptied: int) -> tuple[Path, bool]:
        """A fleet's file, and whether it was given; made in a process of its own, so that this one stays small."""
        given = self.data / "fleets" / f"d_{nodes}_{containers}.data"
        if given.exists():
            return given, True
        made = self.folder / given.name
        words = [sys.executable, "-m", "migrator.demo.fleets", str(nodes), str(containers), str(emptied)]
        run_well(words, made)
        return made, False

    def snapshot(self, fleet: Path, link: str) -> Path:
        made = self.folder / "snapshot.json"
        words = [PROGRAM, "import", "ganeti", str(fleet), "--link", link, "-o", str(made)]
        run_well(words, self.folder / "out")
        return made

    def drain(self, snapshot: Path, parallel: int, *more: str) -> tuple[Cost, Times]:
        """Plans to empty the marked nodes, checks the plan, and says what it tells of its times."""
        plan = self.folder / "plan.json"
        words = [PROGRAM, "plan", "drain", "--cordoned", "--max-blackout", "86400", "--parallel", str(parallel), *more]
        cost = run_well([*words, "--snapshot", str(snapshot), "-o", str(plan)], self.folder / "out")
        run_well([PROGRAM, "check", str(plan), "--snapshot", str(snapshot)], self.folder / "out")
        return cost, times(json.loads(plan.read_text()))

    def case(self, case: Case) -> Result:
        fleet, given = self.fleet(case.nodes, case.containers, case.emptied)
        snapshot = self.snapshot(fleet, case.link)
        runs = RUNS if case.cpu_s_max is not None else 1
        cost, in_turn = min((self.drain(snapshot, case.parallel) for _ in range(runs)), key=lambda run: run[0].cpu_s)
        _, together = self.drain(snapshot, case.parallel, "--overlapping-pauses")
        return Result(case, given, cost, in_turn, together, self.hbal(fleet) if case.with_peer else None)

    def ring(self, size: int) -> Ring:
        """So many full nodes, each of whose containers goes to the next one, and one node that is free."""
        fleet, plan = self.folder / "ring.data", self.folder / "plan.json"
        fleet.write_text(ring_text(size))
        snapshot = self.snapshot(fleet, "10Gbit")
        wishes = [f"i{number:06d}=n{(number + 1) % size:05d}" for number in range(size)]
        words = [
            PROGRAM,
            "plan",
            "move",
            *wishes,
            "--max-blackout",
            "86400",
            "--snapshot",
            str(snapshot),
            "-o",
            str(plan),
        ]
        plan.unlink(missing_ok=True)
        cost = cost_of(words, self.folder / "out", LIMIT_S)
        if cost.code != 0:
            return Ring(size, None, cost)
        run_well([PROGRAM, "check", str(plan), "--snapshot", str(snapshot)], self.folder / "out")
        return Ring(size, len(json.loads(plan.read_text())["moves"]), cost)

    def hbal(self, fleet: Path) -> Peer | None:
        """Ganeti's balancer, told to do no more than empty the marked nodes. None where it is not installed."""
        program = shutil.which("hbal")
        if program is None:
            return None
        out = self.folder / "hbal"
        cost = cost_of([program, "-t", str(fleet), "--evac-mode", "-C"], out, self.peer_limit_s)
        lines = [text.strip() for text in out.read_text().splitlines()]
        moves = sum(text.startswith(("gnt-instance migrate", "gnt-instance failover")) for text in lines)
        return Peer(cost, moves, sum(text.startswith("echo jobset") for text in lines))

    def scaled(self, containers: int) -> Scaled:
        """One point of the curve: a made fleet, also where one is given, so that all points are alike."""
        apart = Bench(self.folder, self.folder / "none", self.peer_limit_s)
        nodes = containers // 10
        fleet, _ = apart.fleet(nodes, containers, nodes // 20)
        snapshot = self.snapshot(fleet, "10Gbit")
        cost, made = min((self.drain(snapshot, 4) for _ in range(RUNS)), key=lambda run: run[0].cpu_s)
        return Scaled(containers, made.moves, cost)


def times(plan: dict[str, Any]) -> Times:
    """What a plan file's content tells of its times."""
    pauses: dict[str, list[tuple[float, float]]] = defaultdict(list)  # by link: how long, and how soon it may begin
    for move in plan["moves"]:
        estimate = move["estimate"]
        mine = (estimate["blackout_s"], estimate["duration_s"] - estimate["blackout_s"])
        pauses[f"from {move['source']}"].append(mine)
        pauses[f"to {move['target']}"].append(mine)
    return Times(
        moves=len(plan["moves"]),
        makespan_s=plan["makespan_s"],
        bound_s=plan["makespan_bound_s"],
        pauses_s=max(
            (sum(lasts_s for lasts_s, _ in there) + min(ready_s for _, ready_s in there) for there in pauses.values()),
            default=0.0,
        ),
        pause_s=max((move["pause"]["end_s"] - move["pause"]["start_s"] for move in plan["moves"]), default=0.0),
    )


def run_well(words: list[str], out: Path) -> Cost:
    """What a command cost, its output in a file; BenchError with its last words if it did not end well."""
    cost = cost_of(words, out, LIMIT_S)
    if cost.code != 0:
        raise BenchError(f"{' '.join(words[:4])} ...: {out.read_text()[-300:].strip() or 'it took too long'}")
    return cost


def measure(
    bench: Bench, sizes: list[int], say: Callable[[str], None]
) -> tuple[list[Result], list[Ring], list[Scaled]]:
    """All cases, all rings, then all points of the curve."""
    results, points = [], []
    for case in CASES:
        results.append(bench.case(case))
        say(line(results[-1]))
    turned = [bench.ring(size) for size in RINGS]
    say(rings_line(turned))
    for size in sizes:
        points.append(bench.scaled(size))
        say(f"{size:,} containers: {points[-1].cost.cpu_s:.2f} CPU-s, {points[-1].cost.memory_bytes / 1e6:.0f} MB")
    return results, turned, points


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.planner_bench", description=__doc__)
    told = os.environ.get("DATA") or str(DATA)
    parser.add_argument("--data", type=Path, default=Path(told), help="given fleets (default: $DATA)")
    parser.add_argument("--peer-seconds", type=float, default=150, metavar="S", help="a peer's time (default: 150)")
    parser.add_argument("--largest", type=int, default=SIZES[-1], metavar="N", help="end of the curve")
    parser.add_argument("--no-page", action="store_true", help="print, and write nothing to docs/")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="migrator-bench-") as folder:
            bench = Bench(Path(folder), given.data, given.peer_seconds)
            results, turned, points = measure(bench, [size for size in SIZES if size <= given.largest], print)
    except BenchError as error:
        print(f"planner_bench: {error}", file=sys.stderr)
        return 1
    if not given.no_page:
        PLOT.write_text(curve(points))
        DOCUMENT.write_text(with_section(DOCUMENT.read_text(), section(results, turned, points, PLOT.name)))
        print(f"written to docs/{DOCUMENT.name} and docs/{PLOT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
