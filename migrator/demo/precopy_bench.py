"""python -m migrator.demo.precopy_bench: the pause of pre-copy beside that of stop-and-copy, between virtual machines.

The machines are emulated, and their kernels track which pages are written, as this one's may not. Emulation makes every
step some ten times longer than it is, so the ratio is what counts. Both modes move the same container in turns; the
pause is the journal's, from the freeze to the release.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from migrator.demo.bench import DOCUMENT
from migrator.demo.page import with_section
from migrator.demo.services import counter
from migrator.demo.stage import Stage, StageError
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard
from migrator.model.modes import Mode

LAB = "bench-precopy"
KERNEL = "6.12"
MIB, PAGES_PER_S = 128, 500
REACH = 1 / 3
MOVE_TIMEOUT_S = 600
# Wide enough that what an emulated machine makes of the fixed part of a pause is no reason for another round.
TARGET_S = 60
MODES = (Mode.STOP_AND_COPY, Mode.PRE_COPY)


@dataclass(frozen=True, slots=True)
class Moved:
    """One move. `paused_bytes` is the memory that was sent in the pause, `rounds_bytes` what each round sent before."""

    mode: Mode
    blackout_ms: int
    duration_ms: int
    paused_bytes: int
    rounds_bytes: tuple[int, ...]


class Machines(Stage):
    """A lab of virtual machines."""

    def up_words(self, nodes: int = 2) -> tuple[str, ...]:
        return ("lab", "up", "--name", self.lab, "--vms", str(nodes), "--kernels", KERNEL)


async def move(stage: Stage, target: str, mode: Mode) -> Moved:
    more = ("--target-blackout", str(TARGET_S)) if mode is Mode.PRE_COPY else ()
    words = ("migrate", "counter", "--to", target, "--mode", mode, "--max-blackout", "300", *more, "--json")
    done = (await stage.cli.run(*words, timeout_s=MOVE_TIMEOUT_S)).checked(f"the move to {target}")
    shown = await stage.show(done.document["run"])
    return moved(mode, shown["migrations"][0])


def moved(mode: Mode, document: dict[str, Any]) -> Moved:
    reached = {event["state"]: event["data"] for event in document["events"] if event["phase"] == "end"}
    rounds = tuple(each["sent"] for each in reached["seeded"].get("rounds", ()))
    return Moved(mode, document["blackout_ms"], document["duration_ms"], reached["dumped"]["image_bytes"], rounds)


async def measure(rounds: int) -> list[Moved]:
    stage = Machines(LAB)
    await stage.refuse_if_up()
    try:
        await stage.up(2)
        await stage.create(counter("counter", MIB, PAGES_PER_S), "n1", 0)
        seen, targets = [], ["n2", "n1"]
        for _ in range(rounds):
            for mode, target in zip(MODES, targets, strict=True):
                seen.append(await move(stage, target, mode))
                print(f"{mode} to {target}: paused for {seen[-1].blackout_ms / 1000:.1f} s", flush=True)
        return seen
    finally:
        await stage.down_surely()


def report(seen: Sequence[Moved]) -> str:
    """The section of docs/benchmarks.md."""
    rows = []
    for mode in MODES:
        of = [each for each in seen if each.mode is mode]
        rounds = ", ".join(f"{size / (1 << 20):.1f}" for size in of[-1].rounds_bytes) or "none"
        pause, duration = (median(getattr(each, key) for each in of) / 1000 for key in ("blackout_ms", "duration_ms"))
        sent = median(each.paused_bytes for each in of) / (1 << 20)
        rows.append(f"| {mode} | {pause:.1f} s | {sent:.1f} MiB | {rounds} | {duration:.0f} s |")
    return "\n".join(
        [
            "## Pre-copy between virtual machines",
            "",
            f"`make bench-precopy`: {MIB} MiB, of which {PAGES_PER_S} pages a second are written, between two emulated",
            f"machines with Linux {KERNEL}, {len(seen) // 2} moves in each mode, in turns; medians. Emulation inflates",
            "all times: compare.",
            "",
            "| mode | pause | memory sent in it | rounds before it, MiB | whole move |",
            "|---|--:|--:|--:|--:|",
            *rows,
            "",
            reach(seen),
            "",
        ]
    )


def reach(seen: Sequence[Moved]) -> str:
    plain, rounds = (median(each.blackout_ms for each in seen if each.mode is mode) for mode in MODES)
    ratio = rounds / plain
    met = "met" if ratio <= REACH else "missed"
    return f"- pre-copy over stop-and-copy: {ratio:.2f} (wanted: at most {REACH:.2f}, {met})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.precopy_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    guard = start_guard(LAB)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        seen = asyncio.run(measure(rounds))
    except (MigratorError, StageError) as error:
        print(f"bench-precopy: {error}", file=sys.stderr)
        return 1
    finally:
        guard.dismiss()
    DOCUMENT.write_text(with_section(DOCUMENT.read_text(), report(seen)))
    print(reach(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
