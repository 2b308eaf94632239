"""python -m migrator.demo.reboot_bench: in how few groups a fleet can be rebooted, beside Ganeti's hroller.

hroller reads the same file, every node open, and empties each group as we do (`--full-evacuation`); it knows no links
and orders no moves. Every group's drain and return are held by the checker against where those before them end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from migrator.demo.bench_report import host_facts
from migrator.demo.cost import Cost
from migrator.demo.page import with_section
from migrator.demo.planner_bench import DATA, DOCUMENT, LIMIT_S, PROGRAM, Bench, BenchError, run_well
from migrator.demo.planner_report import MB
from migrator.demo.rebalance_bench import FLEETS, unmarked

_GROUP = re.compile(r"^n[0-9]+(,n[0-9]+)*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Groups:
    """What one fleet came to. `least` is the number that no plan can be below, `peer` hroller's; None if not here."""

    nodes: int
    given: bool
    groups: int
    least: int
    cost: Cost
    peer: int | None
    peer_cost: Cost | None


def groups_of(said: str) -> int:
    """How many groups hroller has printed: a line of names for each."""
    return len(_GROUP.findall(said))


def case(bench: Bench, nodes: int) -> Groups:
    """Ours and hroller's for one fleet, each of our groups checked."""
    source, given = bench.fleet(nodes, FLEETS[nodes], 0)
    fleet, made, out = (bench.folder / name for name in ("open.data", "reboot.json", "out"))
    fleet.write_text(unmarked(source.read_text()))
    snapshot = bench.snapshot(fleet, "10Gbit")
    words = [PROGRAM, "plan", "reboot", "--all", "--max-blackout", "86400", "--snapshot", str(snapshot)]
    cost = run_well([*words, "-o", str(made)], out)
    document = json.loads(made.read_text())
    run_well([PROGRAM, "check", str(made), "--snapshot", str(snapshot)], out)
    hroller = shutil.which("hroller")
    theirs = run_well([hroller, "-t", str(fleet), "--full-evacuation"], out) if hroller else None
    return Groups(
        nodes,
        given,
        len(document["groups"]),
        int(document["groups_min"]),
        cost,
        groups_of(out.read_text()) if theirs else None,
        theirs,
    )


def section(results: list[Groups]) -> str:
    """The section of the page, whole."""
    machine = ", ".join(f"{name} {value}" for name, value in host_facts().items())
    lines = [
        "| reboot of all nodes | fleet | groups | at least | CPU | memory | hroller | its CPU |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        peer = (str(r.peer), f"{r.peer_cost.cpu_s:.1f} s") if r.peer_cost else ("not here", "-")
        cells = (
            f"{r.nodes:,} nodes, {FLEETS[r.nodes]:,} containers",
            "given" if r.given else "made",
            str(r.groups),
            str(r.least),
            f"{r.cost.cpu_s:.1f} s",
            f"{r.cost.memory_bytes / MB:.0f} MB",
            *peer,
        )
        lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines)
    return f"""## Groups of a rolling reboot

`make bench-reboot` writes this section. The fleets are those of the sections above, every node open. Ours is
`migrator plan reboot --all`: each group with its drain and its return, every move in order, all of them
replayed one after the other by `migrator check`. *At least* is the number of groups that, by the
planner's proof, no plan can be below. hroller (`hroller -t FILE --full-evacuation`, of Debian's package ganeti-htools)
says which nodes are a group, and not in what order their containers can leave.

{table}

Measured {datetime.now(UTC):%Y-%m-%d}: {machine}.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.reboot_bench", description=__doc__)
    told = os.environ.get("DATA") or str(DATA)
    parser.add_argument("--data", type=Path, default=Path(told), help="given fleets (default: $DATA)")
    parser.add_argument("--nodes", type=int, nargs="+", choices=list(FLEETS), default=list(FLEETS), help="which fleets")
    given = parser.parse_args()
    results = []
    try:
        with tempfile.TemporaryDirectory(prefix="migrator-bench-") as folder:
            for nodes in given.nodes:
                results.append(case(Bench(Path(folder), given.data, LIMIT_S), nodes))
                print(f"{nodes} nodes: {results[-1].groups} groups; hroller: {results[-1].peer}", flush=True)
    except BenchError as error:
        print(f"reboot_bench: {error}", file=sys.stderr)
        return 1
    DOCUMENT.write_text(with_section(DOCUMENT.read_text(), section(results)))
    print(f"written to docs/{DOCUMENT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
