"""The benchmark's figures: medians, the ratio, and the section of the page in docs that shows them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from migrator.demo.floor import FloorTimes
from migrator.demo.stage import Stage

TARGET_RATIO = 2.5
# Parts of the pause, in order; the indented ones are what the dump itself says of its time.
PARTS = ("fenced", "dumped", "- dump", "- send", "synced", "restored", "verified", "sealed", "released")


@dataclass(frozen=True, slots=True)
class Round:
    """The floor, and one migration after it."""

    floor: FloorTimes
    udp_gap_ms: float
    tcp_gap_ms: float
    blackout_ms: int
    parts_ms: Mapping[str, int]

    @property
    def line(self) -> str:
        blackout = f"blackout {self.udp_gap_ms:.0f} ms by UDP, {self.tcp_gap_ms:.0f} ms by TCP"
        return f"floor {self.floor.total_ms:.0f} ms, {blackout}"


def ratio(rounds: Sequence[Round]) -> float:
    """The median blackout over the median floor."""
    return median(r.udp_gap_ms for r in rounds) / median(r.floor.total_ms for r in rounds)


def table(rounds: Sequence[Round]) -> str:
    """Every round and the medians, in Markdown."""
    head = ("round", "floor", "blackout (UDP)", "TCP gap", "blackout (journal)", "blackout / floor")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for number, r in enumerate(rounds, 1):
        lines.append(_row(str(number), r.floor.total_ms, r.udp_gap_ms, r.tcp_gap_ms, r.blackout_ms))
    middle = [
        median(r.floor.total_ms for r in rounds),
        median(r.udp_gap_ms for r in rounds),
        median(r.tcp_gap_ms for r in rounds),
        median(r.blackout_ms for r in rounds),
    ]
    return "\n".join([*lines, _row("**median**", *middle)])


def _row(name: str, floor_ms: float, udp_ms: float, tcp_ms: float, journal_ms: float) -> str:
    times = " | ".join(f"{time_ms:.0f} ms" for time_ms in (floor_ms, udp_ms, tcp_ms, journal_ms))
    return f"| {name} | {times} | {udp_ms / floor_ms:.2f} |"


def parts_ms(move: Mapping[str, Any]) -> dict[str, int]:
    """How long each part of the pause took, from a move as `show --json` tells it."""
    dumped = next(e["data"] for e in move["events"] if e["state"] == "dumped" and e["phase"] == "end")
    return {**move["phases_ms"], "- dump": dumped.get("dump_ms", 0), "- send": dumped.get("send_ms", 0)}


def parts_table(rounds: Sequence[Round]) -> str:
    """Where the frozen time goes: the median of each state, and the floor's parts beside them."""
    lines = ["| part of the pause | median |", "|---|--:|"]
    for part in PARTS:
        lines.append(f"| {part} | {median(r.parts_ms.get(part, 0) for r in rounds):.0f} ms |")
    for part in ("pause", "checkpoint", "restore"):
        lines.append(f"| floor: {part} | {median(getattr(r.floor, f'{part}_ms') for r in rounds):.0f} ms |")
    return "\n".join(lines)


def host_facts() -> dict[str, str]:
    """This machine."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": platform.release(),
    }


async def machine_facts(stage: Stage, node: str) -> dict[str, str]:
    """What the figures were measured on: this machine, and what its nodes run."""
    facts = host_facts()
    for name, command in (("CRIU", ("criu", "--version")), ("runc", ("runc", "--version"))):
        told = await stage.cli.run("lab", "exec", "--name", stage.lab, node, "--", *command)
        facts[name] = told.checked(f"asking for {name}'s version").stdout.splitlines()[0].split()[-1]
    return facts


def _first(path: str, key: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def report(rounds: Sequence[Round], facts: Mapping[str, str], mib: int) -> str:
    """The section of docs/benchmarks.md, whole."""
    machine = ", ".join(f"{name} {value}" for name, value in facts.items())
    verdict = "met" if ratio(rounds) <= TARGET_RATIO else "missed"
    return f"""## The blackout of a migration

`make bench-blackout` writes this section. It needs what the demo needs, takes about a minute, and leaves nothing
behind.

One container with {mib} MiB of random memory moves between two nodes of a lab whose links are not shaped, while a
client asks it by UDP every 2 ms. *Blackout* is the longest silence that this client sees. *TCP gap* is the same for a
client that asks over one TCP connection: TCP's retransmission timer rounds it up. *Blackout (journal)* is the time from
the order to freeze until the release, by the orchestrator's clock.

*Floor* is what the same container needs on one node for a freeze, a dump to tmpfs and a restore by bare runc, with no
network to build or to lock and nobody to wait for. Floor and migration take turns in one run, so what else the
machine does falls on both. The target is a median blackout of at most {TARGET_RATIO} floors.

**{ratio(rounds):.2f} floors: the target is {verdict}.**

{table(rounds)}

Where the time goes:

{parts_table(rounds)}

Measured {datetime.now(UTC):%Y-%m-%d} on one machine that holds all nodes: {machine}.
The figures of another machine, or of a busy one, differ; the ratio differs less.
"""
