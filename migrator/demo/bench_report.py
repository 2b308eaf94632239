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
from migrator.demo.podman import PodmanTimes
from migrator.demo.stage import Stage

STOP, TRUSTED, POST = "stop-and-copy", "stop-and-copy, trusted", "post-copy"
PODMAN = "podman, without its restore"
# What is measured, each as the mode that is asked for and whether the network is declared trusted.
MODES = {STOP: ("stop-and-copy", False), TRUSTED: ("stop-and-copy", True), POST: ("post-copy", False)}
WRITES_PAGES_PER_S = 2000
# Parts of the pause, in order; the indented ones are what the dump itself says of its time.
PARTS = ("fenced", "dumped", "- dump", "- send", "synced", "restored", "verified", "sealed", "released")
HEAD = ("memory", "program", "mode", "floor", "blackout (UDP)", "TCP gap", "blackout (journal)", "blackout / floor")
REACH_MIB, REACH_LINK_MBIT, REACH_LINK = 256, 1000, 1.1

# Said above the table of shaped links.
LINKS = """Over shaped links stop-and-copy is held against the floor and the time that its bytes alone take. *Sent in
the pause* is what the journal says: the images with their pages, of which none is of zeros here, and the last pass
over the files. Heads of packets are on top, 4 to 5 % of a link."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a container holds, whether it writes to it all the time, and how fast the nodes' links are.

    `link_mbit` is None where links are not shaped.
    """

    mib: int
    writing: bool
    link_mbit: int | None = None

    @property
    def program(self) -> str:
        """What the program does, and over which links it moves where they are shaped."""
        does = "writing" if self.writing else "quiet"
        return does if self.link_mbit is None else f"{does}, {self.link_mbit / 1000:g} Gb/s"

    @property
    def words(self) -> str:
        return f"{self.mib} MiB, {self.program}"

    @property
    def plain(self) -> bool:
        """Whether nothing but the memory's size tells it from others: quiet, over links that are not shaped."""
        return not self.writing and self.link_mbit is None


@dataclass(frozen=True, slots=True)
class Seen:
    """One migration: its clients' longest silences, and what the journal says.

    `sent_bytes` is what crossed the link between freeze and release.
    """

    udp_gap_ms: float
    tcp_gap_ms: float
    blackout_ms: int
    parts_ms: Mapping[str, int]
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Round:
    """The floor, a migration by each mode after it, and what podman took where it is there."""

    floor: FloorTimes
    moves: Mapping[str, Seen]
    podman: PodmanTimes | None = None

    @property
    def line(self) -> str:
        told = [f"{mode} {seen.udp_gap_ms:.0f} ms ({seen.tcp_gap_ms:.0f} by TCP)" for mode, seen in self.moves.items()]
        if self.podman:
            told.append(f"{PODMAN} {self.podman.total_ms:.0f} ms ({self.podman.checkpoint_ms:.0f} of them checkpoint)")
        return f"floor {self.floor.total_ms:.0f} ms, {', '.join(told)}"


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of one load."""

    load: Load
    rounds: Sequence[Round]

    @property
    def floor_ms(self) -> float:
        return median(r.floor.total_ms for r in self.rounds)

    def blackout_ms(self, mode: str) -> float:
        """The median of what the UDP client saw."""
        return median(r.moves[mode].udp_gap_ms for r in self.rounds)

    @property
    def podman(self) -> PodmanTimes | None:
        """The median of podman's times, the shorter of two in the middle; None unless every round has one."""
        times = sorted((r.podman for r in self.rounds if r.podman), key=lambda each: each.total_ms)
        return times[(len(times) - 1) // 2] if len(times) == len(self.rounds) else None

    def parts(self, mode: str, part: str) -> float:
        return median(r.moves[mode].parts_ms.get(part, 0) for r in self.rounds)

    @property
    def sent_bytes(self) -> float:
        """What stop-and-copy sends in the pause."""
        return median(r.moves[STOP].sent_bytes for r in self.rounds)

    @property
    def link_ms(self) -> float:
        """What these bytes take on a shaped link that is never idle and carries nothing else, packet heads neither."""
        return self.sent_bytes * 8 / ((self.load.link_mbit or 0) * 1000)

    @property
    def link_floor_ms(self) -> float:
        """What stop-and-copy over a shaped link is measured against."""
        return self.floor_ms + self.link_ms


@dataclass(frozen=True, slots=True)
class Reach:
    """What was wanted, and what was seen."""

    what: str
    wanted: float
    seen: float

    @property
    def met(self) -> bool:
        return self.seen <= self.wanted

    @property
    def line(self) -> str:
        return f"{self.what}: {self.seen:.2f} (wanted: at most {self.wanted:.2f}, {'met' if self.met else 'missed'})"


def reaches(measured: Sequence[Measured]) -> list[Reach]:
    """What is wanted of the quiet loads that were measured."""
    quiet = {m.load.mib: m for m in measured if m.load.plain}
    found = []
    if 256 in quiet:
        of = quiet[256]
        found.append(Reach("stop-and-copy, 256 MiB, over the floor", 1.3, of.blackout_ms(STOP) / of.floor_ms))
        what = "stop-and-copy, 256 MiB, over a trusted network, over the floor"
        found.append(Reach(what, 1.15, of.blackout_ms(TRUSTED) / of.floor_ms))
    if 16 in quiet and (most := max(quiet)) > 16:
        small, large = quiet[16].blackout_ms(POST), quiet[most].blackout_ms(POST)
        found.append(Reach(f"post-copy, {most} MiB, over post-copy at 16 MiB", 1.2, large / small))
        found.append(Reach(f"post-copy, {most} MiB, over the floor of 16 MiB", 1.4, large / quiet[16].floor_ms))
    for m in measured:
        if m.load == Load(REACH_MIB, False, REACH_LINK_MBIT):
            what = f"stop-and-copy, {m.load.words}, over floor and bytes over link speed"
            found.append(Reach(what, REACH_LINK, m.blackout_ms(STOP) / m.link_floor_ms))
    return found


def table(measured: Sequence[Measured]) -> str:
    """The medians of every load and mode, in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|--:|---|---" + "|--:" * (len(HEAD) - 3) + "|"]
    for m in measured:
        for mode in MODES:
            moves = [r.moves[mode] for r in m.rounds]
            udp_ms = m.blackout_ms(mode)
            times = (m.floor_ms, udp_ms, median(s.tcp_gap_ms for s in moves), median(s.blackout_ms for s in moves))
            told = " | ".join(f"{time_ms:.0f} ms" for time_ms in times)
            lines.append(f"| {m.load.mib} MiB | {m.load.program} | {mode} | {told} | {udp_ms / m.floor_ms:.2f} |")
        if m.podman:
            least_ms = m.podman.total_ms
            told = f"{m.floor_ms:.0f} ms | over {least_ms:.0f} ms | | | over {least_ms / m.floor_ms:.2f}"
            lines.append(f"| {m.load.mib} MiB | {m.load.program} | {PODMAN} | {told} |")
    return "\n".join(lines)


def parts_ms(move: Mapping[str, Any]) -> dict[str, int]:
    """How long each part of the pause took, from a move as `show --json` tells it."""
    dumped = _at_end(move, "dumped")
    return {**move["phases_ms"], "- dump": dumped.get("dump_ms", 0), "- send": dumped.get("send_ms", 0)}


def sent_bytes(move: Mapping[str, Any]) -> int:
    """What a move by stop-and-copy sent in its pause: images with their pages, and the last pass over the files."""
    return int(_at_end(move, "dumped").get("image_bytes", 0)) + int(_at_end(move, "synced").get("sent_bytes", 0))


def _at_end(move: Mapping[str, Any], state: str) -> Mapping[str, Any]:
    """What the journal says of a state that was reached."""
    ends = (e["data"] for e in move["events"] if e["state"] == state and e["phase"] == "end")
    return next(ends, {})


def link_table(measured: Sequence[Measured]) -> str:
    """What stop-and-copy makes of shaped links, in Markdown; nothing where none was shaped."""
    lines = [
        "| memory | program | sent in the pause | over link speed | floor and that | blackout (UDP) | ratio |",
        "|--:|---" + "|--:" * 5 + "|",
    ]
    for m in measured:
        if m.load.link_mbit is not None:
            udp_ms = m.blackout_ms(STOP)
            told = f"{m.sent_bytes / 1e6:.0f} MB | {m.link_ms:.0f} ms | {m.link_floor_ms:.0f} ms | {udp_ms:.0f} ms"
            lines.append(f"| {m.load.mib} MiB | {m.load.program} | {told} | {udp_ms / m.link_floor_ms:.2f} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def parts_table(measured: Measured) -> str:
    """Where the frozen time goes: the median of each state by mode, and the floor's parts beside them."""
    lines = [f"| part of the pause | {' | '.join(MODES)} | floor |", "|---" + "|--:" * (len(MODES) + 1) + "|"]
    for part in PARTS:
        lines.append(f"| {part} | {' | '.join(f'{measured.parts(mode, part):.0f} ms' for mode in MODES)} | |")
    for part in ("pause", "checkpoint", "restore"):
        floor_ms = median(getattr(r.floor, f"{part}_ms") for r in measured.rounds)
        lines.append(f"| {part} |{' |' * len(MODES)} {floor_ms:.0f} ms |")
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


def podman_words(measured: Sequence[Measured]) -> str:
    """What podman's rows are, or that there are none."""
    seen = [(m.load, m.podman) for m in measured if m.podman]
    if not seen:
        return "podman was not there, or its checkpoint did not work, so its rows are missing."
    load, times = max(seen, key=lambda each: (each[0].plain, each[0].mib))
    return f"""*{PODMAN}* is the same program, alike in root and memory, under podman: the time that
`podman container checkpoint --export` takes, without compression, which could only add to it where memory is random,
and then `scp` of the archive to another node. All files lie in memory, and the container has no network
(`--network none`). podman's restore needs a wrapper around its runtime there ([runtimes](runtimes.md#podman)) and is
not counted, so the figure is a *lower bound*
of what clients would see. At {load.words}: {times.checkpoint_ms:.0f} ms for the checkpoint, {times.copy_ms:.0f} ms for
the copy."""


def report(measured: Sequence[Measured], facts: Mapping[str, str]) -> str:
    """The section of docs/benchmarks.md, whole."""
    machine = ", ".join(f"{name} {value}" for name, value in facts.items())
    largest = max((m for m in measured if m.load.plain), key=lambda m: m.load.mib)
    rounds = len(measured[0].rounds)
    over_links = f"\n{LINKS}\n\n{shaped}\n" if (shaped := link_table(measured)) else ""
    return f"""## The blackout of a migration

`make bench-blackout` writes this section and its plot. It needs what the demo needs, takes a few minutes, and leaves
nothing behind but podman's packages, fetched once from this machine's Debian mirror and cached beside the lab's image.
`FULL=1` measures 64 and 1,024 MiB too, and the quiet programs once more over links of 1 Gb/s, five times.

A container with so much random memory moves between two nodes of a lab, by each mode in turn, while a client asks it by
UDP every 2 ms. Links are not shaped, unless the row says how fast they are. *Writing* programs write to
{WRITES_PAGES_PER_S:,} pages of their memory a second. *Blackout* is the longest silence that the client sees. *TCP gap*
is the same for a client that asks over one TCP connection: TCP's retransmission timer rounds it up. *Trusted* is with
the nodes' network declared trusted, so that memory goes beside ssh
([decision 25](decisions/0025-memory-beside-ssh.md)). *Blackout (journal)* is the time from the order to freeze until
the release, by the orchestrator's clock.

*Floor* is what the same container needs on one node for a freeze, a dump to tmpfs and a restore by bare runc, with no
network to build or to lock and nobody to wait for. Floor and migrations take turns in one run, so what else the
machine does falls on all.

{podman_words(measured)}

Medians of {rounds}:

{table(measured)}

![Blackout by memory and mode](blackout.svg)

{chr(10).join(f"- {reach.line}" for reach in reaches(measured))}
{over_links}
Where the time goes, at {largest.load.words}:

{parts_table(largest)}

Measured {datetime.now(UTC):%Y-%m-%d} on one machine that holds all nodes: {machine}.
The figures of another machine, or of a busy one, differ; the ratios differ less.
"""
