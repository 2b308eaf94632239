"""python -m migrator.demo.rebalance_bench: how even a fleet becomes, with how many moves, by Ganeti's own score.

hbal balances the same file, and prints the score of both results: ours is exported to its text format. It is ended
after a time; then what it had come to by then counts. Each of our plans is held against the facts by the checker.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from migrator.demo.cost import Cost, cost_of
from migrator.demo.page import with_section
from migrator.demo.planner_bench import DATA, DOCUMENT, LIMIT_S, PROGRAM, Bench, BenchError
from migrator.demo.rebalance_report import Balanced, Peer, line, section

FLEETS = {20: 200, 100: 1_000, 1_000: 10_000}  # containers by nodes
WEIGHTS = "weights: {cpu: 16, containers: 10}\n"  # as hbal weighs: by real CPUs, and numbers as they are
MIN_GAIN = "120"  # percent of a node: as few moves as make the numbers even
_SCORE = re.compile(r"^Initial score: ([0-9.]+)$", re.MULTILINE)
_STEP = re.compile(r"^ *[0-9]+\. \S+ .* ([0-9]+\.[0-9]+) a=", re.MULTILINE)


def unmarked(text: str) -> str:
    """A fleet's file with every node open: those that were to be emptied too."""
    return re.sub(r"^((?:[^|\n]*\|){7})Y(\|[^|\n]*\|[^|\n]*)$", r"\1N\2", text, flags=re.MULTILINE)


def least_moves(text: str) -> int:
    """So many moves it takes at least until all nodes hold equally many and no tag is on a node twice."""
    nodes, instances = (part.splitlines() for part in text.split("\n\n")[1:3])
    tags: dict[str, list[str]] = {row.split("|")[0]: [] for row in nodes}
    for row in instances:
        fields = row.split("|")
        tags[fields[6]].append(fields[9])
    most = -(-len(instances) // len(nodes))
    return sum(max(0, len(held) - most, len(held) - len(set(held))) for held in tags.values())


def steps(said: str) -> list[float]:
    """The scores that hbal has come to, step by step."""
    return [float(score) for score in _STEP.findall(said)]


class Rebalances:
    """One fleet after the other, ours and hbal's."""

    def __init__(self, bench: Bench, hbal: str, seconds: float) -> None:
        self.bench, self.hbal, self.seconds = bench, hbal, seconds
        self.fleet, self.plan = bench.folder / "open.data", bench.folder / "plan.json"

    def case(self, nodes: int) -> Balanced:
        fleet, given = self.bench.fleet(nodes, FLEETS[nodes], 0)
        self.fleet.write_text(unmarked(fleet.read_text()))
        snapshot = self.bench.snapshot(self.fleet, "10Gbit")
        cost = self._plan(snapshot)
        moves = len(json.loads(self.plan.read_text())["moves"])
        peer = self._peer()
        return Balanced(
            nodes,
            FLEETS[nodes],
            given,
            least_moves(self.fleet.read_text()),
            self._score(self.fleet),
            cost,
            moves,
            self._after(moves),
            peer,
            self._as_good(moves, peer.score) if peer.moves else 0,
        )

    def _plan(self, snapshot: Path) -> Cost:
        policy = self.bench.folder / "weights.yaml"
        policy.write_text(WEIGHTS)
        words = [PROGRAM, "plan", "rebalance", "--seconds", f"{self.seconds:g}", "--min-gain", MIN_GAIN]
        words += ["--policy", str(policy), "--max-blackout", "86400", "--parallel", "8"]
        cost = self._run([*words, "--snapshot", str(snapshot), "-o", str(self.plan)])
        self._run([PROGRAM, "check", str(self.plan), "--snapshot", str(snapshot)])
        return cost

    def _peer(self) -> Peer:
        out = self.bench.folder / "hbal"
        cost = cost_of([self.hbal, "-t", str(self.fleet)], out, self.bench.peer_limit_s)
        scores = steps(out.read_text())
        return Peer(cost, len(scores), scores[-1] if scores else self._score(self.fleet))

    def _after(self, moves: int) -> float:
        """hbal's score once the first moves of our plan are done."""
        end = self.bench.folder / "end.data"
        self._run(
            [
                PROGRAM,
                "export",
                "ganeti",
                str(self.plan),
                "--of",
                str(self.fleet),
                "--first",
                str(moves),
                "-o",
                str(end),
            ]
        )
        return self._score(end)

    def _as_good(self, moves: int, score: float) -> int | None:
        """After how many of our moves the fleet is as even as hbal makes it; None if never."""
        if self._after(moves) > score:
            return None
        low, high = -1, moves  # it is not after `low`, and it is after `high`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._after(middle) <= score else (middle, high)
        return high

    def _score(self, fleet: Path) -> float:
        out = self.bench.folder / "score"
        self._run([self.hbal, "-t", str(fleet), "-l", "0"], out)
        found = _SCORE.search(out.read_text())
        if found is None:
            raise BenchError(f"hbal -t {fleet} -l 0: it prints no score")
        return float(found[1])

    def _run(self, words: list[str], out: Path | None = None) -> Cost:
        out = out or self.bench.folder / "out"
        cost = cost_of(words, out, LIMIT_S)
        if cost.code != 0:
            raise BenchError(f"{' '.join(words[:4])} ...: {out.read_text()[-300:].strip() or 'it took too long'}")
        return cost


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.rebalance_bench", description=__doc__)
    told = os.environ.get("DATA") or str(DATA)
    parser.add_argument("--data", type=Path, default=Path(told), help="given fleets (default: $DATA)")
    parser.add_argument("--nodes", type=int, nargs="+", choices=list(FLEETS), default=list(FLEETS), help="which fleets")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="our search's time (default: 30)")
    parser.add_argument("--peer-seconds", type=float, default=600, metavar="S", help="hbal's time (default: 600)")
    parser.add_argument("--no-page", action="store_true", help="print, and write nothing to docs/")
    given = parser.parse_args()
    hbal = shutil.which("hbal")
    if hbal is None:
        print("rebalance_bench: hbal is not here, and its score is what is measured; install ganeti-htools")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="migrator-bench-") as folder:
            bench = Rebalances(Bench(Path(folder), given.data, given.peer_seconds), hbal, given.seconds)
            results = []
            for nodes in given.nodes:
                results.append(bench.case(nodes))
                print(line(results[-1]), flush=True)
    except BenchError as error:
        print(f"rebalance_bench: {error}", file=sys.stderr)
        return 1
    if not given.no_page:
        text = section(results, given.seconds, given.peer_seconds)
        DOCUMENT.write_text(with_section(DOCUMENT.read_text(), text))
        print(f"written to docs/{DOCUMENT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
