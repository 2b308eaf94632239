"""python -m migrator.demo.drain_bench: what a drain reaches of its link, and what the orchestrator costs.

Four plays on labs of namespaces, each by the command line as an operator has it: eight containers over one link, with
pauses in turn and overlapping; fifty moves in flight; and a container of 100,000 files, of which a hundred are written
again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from migrator.demo.bench import DOCUMENT, warm_up
from migrator.demo.bench_report import machine_facts
from migrator.demo.clients import Client, CounterTalk
from migrator.demo.cost import Cost, cost_of
from migrator.demo.page import with_section
from migrator.demo.services import COUNTER_PORT, Service, counter
from migrator.demo.stage import Stage, StageError
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard

LAB = "bench-drain"
LINK_MBIT, CPUS = 1000, 64
DRAINED, DRAINED_MIB = 8, 512
FLIGHT, FLIGHT_MIB = 50, 8
FILES, CHANGED = 100_000, 100
LIMIT_S = 900
OVERLAPPING = ("--overlapping-pauses", "--parallel", "2")
REACH_LINK, REACH_STEP_MS, REACH_MIB, REACH_FILES_MS = 1.10, 30, 150, 200
# Many small files in directories of a thousand; a hundred of them get new contents ten times a second.
FILES_PROGRAM = """
import os, pathlib, socketserver, sys, threading, time
root = pathlib.Path("/srv/many")
files, changed, port = (int(word) for word in sys.argv[1:4])
for at in range(files):
    if at % 1000 == 0:
        here = root / str(at // 1000)
        here.mkdir(parents=True, exist_ok=True)
    (here / str(at)).write_bytes(b"%d" % at)

def write():
    turn = 0
    while True:
        turn += 1
        for at in range(0, files, files // changed):
            (root / str(at // 1000) / str(at)).write_bytes(b"%d %d" % (at, turn))
        time.sleep(0.1)

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"1\\n")

threading.Thread(target=write, daemon=True).start()
socketserver.ThreadingTCPServer(("", port), Handler).serve_forever()
"""

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Drained:
    """A drain's run, as `show` tells it, and what its orchestrator cost, start of Python and plan included."""

    run: dict[str, Any]
    cost: Cost

    @property
    def bytes(self) -> int:
        return sum(int(move["memory_bytes"]) + int(move["files_bytes"]) for move in self.run["migrations"])

    @property
    def over_link(self) -> float:
        """The makespan over the time that the bytes alone take on the link."""
        return float(self.run["makespan_ms"]) / 1000 / (self.bytes * 8 / (LINK_MBIT * 1e6))

    @property
    def steps(self) -> int:
        return sum(event["phase"] == "end" for move in self.run["migrations"] for event in move["events"])

    @property
    def in_flight_max(self) -> int:
        """How many had begun and not ended at one time."""
        times: list[list[int]] = [[event["at_ms"] for event in move["events"]] for move in self.run["migrations"]]
        return max(sum(min(each) <= begun <= max(each) for each in times) for begun in (min(each) for each in times))

    @property
    def step_ms(self) -> float:
        return self.cost.cpu_s * 1000 / self.steps


async def drained(stage: Stage, node: str, *more: str) -> Drained:
    """Drains a node by a command whose cost is taken."""
    words = (stage.cli.program, "drain", node, "--yes", "--json", *more)
    os.environ.update({key: stage.cli.env[key] for key in ("MIGRATOR_CLUSTER", "MIGRATOR_JOURNAL")})
    with tempfile.NamedTemporaryFile() as said:
        cost = await asyncio.to_thread(cost_of, words, Path(said.name), LIMIT_S)
        told = said.read().decode()
    if cost.code != 0:
        raise StageError(f"draining {node}: {(told.strip() or 'no word').splitlines()[-1]}")
    runs = (await stage.cli.run("runs", "--json")).checked("asking for the run").document["runs"]
    return Drained(await stage.show(max(runs, key=lambda run: run["created_ms"])["run"]), cost)


async def over_one_link(stage: Stage) -> Drained:
    """Eight containers leave a node over its one link, one pause after the other."""
    await _crowd(stage, DRAINED, DRAINED_MIB)
    await asyncio.to_thread(warm_up)
    return await drained(stage, stage.nodes[0], "--max-blackout", "60")


async def over_one_link_at_once(stage: Stage) -> Drained:
    """The same where pauses may overlap: one container's memory flows while another's is dumped or restored."""
    await _crowd(stage, DRAINED, DRAINED_MIB)
    await asyncio.to_thread(warm_up)
    return await drained(stage, stage.nodes[0], "--max-blackout", "60", *OVERLAPPING)


async def many_in_flight(stage: Stage) -> Drained:
    """Fifty containers leave a node, all at one time."""
    await _crowd(stage, FLIGHT, FLIGHT_MIB)
    more = ("--parallel", str(FLIGHT), "--overlapping-pauses", "--max-blackout", "600")
    return await drained(stage, stage.nodes[0], *more)


async def many_files(stage: Stage) -> list[int]:
    """Milliseconds of the last pass over the files, in the freeze: three moves there and back."""
    words = ("python3", "-c", FILES_PROGRAM, str(FILES), str(CHANGED), str(COUNTER_PORT))
    service = Service("files", "a program of many files", COUNTER_PORT, words)
    await stage.create(service, stage.nodes[0], 0)
    for _ in range(30):  # a connection waits for 20 s
        try:
            await _answers(stage, 0, service)
            break
        except TimeoutError:
            continue
    last_ms = []
    for target in (stage.nodes[1], stage.nodes[0], stage.nodes[1]):
        moved = await stage.cli.run("migrate", "files", "--to", target, "--json", timeout_s=LIMIT_S)
        shown = await stage.show(moved.checked(f"moving files to {target}").document["run"])
        synced = next(
            e["data"] for e in shown["migrations"][0]["events"] if (e["state"], e["phase"]) == ("synced", "end")
        )
        last_ms.append(int(synced["sync_ms"]))
    return last_ms


async def _crowd(stage: Stage, count: int, mib: int) -> None:
    services = [counter(f"c{number}", mib, 0) for number in range(count)]
    for number, service in enumerate(services):
        await stage.create(service, stage.nodes[0], number)
    for number, service in enumerate(services):
        await _answers(stage, number, service)


async def _answers(stage: Stage, index: int, service: Service) -> None:
    client = Client(service.name, service.kind, CounterTalk())
    try:
        await client.connect(stage.address(index), service.port)
    finally:
        client.close()


async def on_lab(link_mbit: int | None, play: Callable[[Stage], Awaitable[Seen]]) -> tuple[Seen, dict[str, str]]:
    """Plays on a lab that is gone afterwards; with what its nodes run."""
    stage = Stage(LAB, link_mbit, CPUS)
    await stage.refuse_if_up()
    try:
        await stage.up(3)
        return await play(stage), await machine_facts(stage, stage.nodes[0])
    finally:
        await stage.down_surely()


def _link_row(how: str, link: Drained) -> tuple[str, str, str, bool]:
    return (
        f"{DRAINED} containers of {DRAINED_MIB} MiB drained over one link of {LINK_MBIT // 1000} Gb/s{how}",
        f"{link.run['makespan_ms'] / 1000:.1f} s for {link.bytes >> 20:,} MiB: "
        f"{link.over_link:.2f} times bytes over speed "
        f"(planned: {link.run['predicted']['makespan_ms'] / 1000:.1f} s)",
        f"{REACH_LINK:.2f}",
        link.over_link <= REACH_LINK,
    )


def report(link: Drained, at_once: Drained, flight: Drained, files_ms: Sequence[int], facts: dict[str, str]) -> str:
    """The section of docs/benchmarks.md."""
    last_ms = median(files_ms)
    rows = [
        _link_row("", link),
        _link_row(f", with `{' '.join(OVERLAPPING)}`", at_once),
        (
            f"the orchestrator's CPU, {flight.in_flight_max} moves in flight",
            f"{flight.step_ms:.1f} ms a step ({flight.cost.cpu_s:.1f} s for {flight.steps} steps, the plan included)",
            f"{REACH_STEP_MS} ms",
            flight.step_ms < REACH_STEP_MS,
        ),
        (
            f"its memory, {flight.in_flight_max} moves in flight",
            f"{flight.cost.memory_bytes >> 20} MiB",
            f"{REACH_MIB} MB",
            flight.cost.memory_bytes < REACH_MIB * 1_000_000,
        ),
        (
            f"last pass over {FILES:,} files, {CHANGED} of them written all the time",
            f"{last_ms:.0f} ms at the median of {', '.join(map(str, files_ms))}",
            f"{REACH_FILES_MS} ms",
            last_ms < REACH_FILES_MS,
        ),
    ]
    table = [f"| {what} | {seen} | {wanted} | {'met' if met else 'missed'} |" for what, seen, wanted, met in rows]
    return "\n".join(
        [
            "## Drains, and what the orchestrator costs",
            "",
            "`make bench-drain` writes this section, on four labs of namespaces, one after the other. The",
            "orchestrator's figures are those of the whole process, the start of Python and the plan included; nodes",
            "and orchestrator share the cores.",
            "",
            "| | seen | reach | |",
            "|---|---|--:|---|",
            *table,
            "",
            f"Measured on {', '.join(f'{name} {value}' for name, value in facts.items())}.",
            "",
        ]
    )


async def play_all() -> str:
    link, _ = await on_lab(LINK_MBIT, over_one_link)
    print(f"over one link: {link.over_link:.2f} times bytes over speed", flush=True)
    at_once, _ = await on_lab(LINK_MBIT, over_one_link_at_once)
    print(f"over one link, pauses overlapping: {at_once.over_link:.2f} times bytes over speed", flush=True)
    flight, _ = await on_lab(None, many_in_flight)
    print(
        f"in flight: {flight.in_flight_max}, {flight.step_ms:.1f} ms a step, {flight.cost.memory_bytes >> 20} MiB",
        flush=True,
    )
    files_ms, facts = await on_lab(None, many_files)
    print(f"last pass over the files: {files_ms} ms", flush=True)
    return report(link, at_once, flight, files_ms, facts)


def main() -> int:
    argparse.ArgumentParser(prog="python -m migrator.demo.drain_bench", description=__doc__).parse_args()
    guard = start_guard(LAB)
    try:
        section = asyncio.run(play_all())
    except (MigratorError, TimeoutError) as error:
        print(f"bench-drain: {error or 'a container did not answer'}", file=sys.stderr)
        return 1
    finally:
        guard.dismiss()
    DOCUMENT.write_text(with_section(DOCUMENT.read_text(), section))
    print(f"written to docs/{DOCUMENT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
