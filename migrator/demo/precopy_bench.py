"""python -m migrator.demo.precopy_bench: the pause of pre-copy beside that of stop-and-copy, between virtual machines.

The machines are emulated, and their kernels track which pages are written, as this one's may not. Emulation makes every
step some ten times longer than it is, so the ratio is what counts. Both modes move the same container in turns; the
pause is the journal's, from the freeze to the release. A client asks all the time: its median answer while pages are
copied before the freeze stands beside the one of the seconds before the move.
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

from migrator.demo.answers import Answered, AnswerTimes, median_ms
from migrator.demo.bench import DOCUMENT
from migrator.demo.page import with_section
from migrator.demo.services import COUNTER_PORT, counter
from migrator.demo.stage import Stage, StageError
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard
from migrator.model.modes import Mode

LAB = "bench-precopy"
KERNEL = "6.12"
MIB, PAGES_PER_S = 128, 500
REACH = 1 / 3
REACH_ANSWER = 1.2
QUIET_S = 5
MOVE_TIMEOUT_S = 600
# Rounds go on as long as they shrink: what an emulated machine makes of the fixed part of a pause is under no target.
TO_THE_END = ("--target-blackout", "1", "--not-convergent", "go-on")
MODES = (Mode.STOP_AND_COPY, Mode.PRE_COPY)


@dataclass(frozen=True, slots=True)
class Moved:
    """One move. `paused_bytes` is the memory that was sent in the pause, `rounds_bytes` what each round sent before;
    `quiet_ms` and `rounds_ms` are the client's median answer before the move and while the rounds ran, None without.
    """

    mode: Mode
    blackout_ms: int
    duration_ms: int
    paused_bytes: int
    rounds_bytes: tuple[int, ...]
    quiet_ms: float | None = None
    rounds_ms: float | None = None


class Machines(Stage):
    """A lab of virtual machines."""

    def up_words(self, nodes: int = 2) -> tuple[str, ...]:
        return ("lab", "up", "--name", self.lab, "--vms", str(nodes), "--kernels", KERNEL)


async def move(stage: Stage, target: str, mode: Mode) -> Moved:
    more = TO_THE_END if mode is Mode.PRE_COPY else ()
    words = ("migrate", "counter", "--to", target, "--mode", mode, "--max-blackout", "300", *more, "--json")
    client = AnswerTimes()
    async with client.asking(stage.address(0), COUNTER_PORT):
        await asyncio.sleep(QUIET_S)  # what is measured is this time
        done = (await stage.cli.run(*words, timeout_s=MOVE_TIMEOUT_S)).checked(f"the move to {target}")
    shown = await stage.show(done.document["run"])
    return moved(mode, shown["migrations"][0], client.seen)


def moved(mode: Mode, document: dict[str, Any], answers: Sequence[Answered]) -> Moved:
    reached = {event["state"]: event["data"] for event in document["events"] if event["phase"] == "end"}
    at_ms = {(event["state"], event["phase"]): event["at_ms"] for event in document["events"]}
    rounds = tuple(each["sent"] for state in ("seeded", "fenced") for each in reached[state].get("rounds", ()))
    begun_ms = document["events"][0]["at_ms"]
    return Moved(
        mode,
        document["blackout_ms"],
        document["duration_ms"],
        reached["dumped"]["image_bytes"],
        rounds,
        median_ms(answers, 0, begun_ms),
        median_ms(answers, at_ms["seeded", "begin"], at_ms["seeded", "end"]) if rounds else None,
    )


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
                print(line(seen[-1], target), flush=True)
        return seen
    finally:
        await stage.down_surely()


def line(of: Moved, target: str) -> str:
    said = f"{of.mode} to {target}: paused for {of.blackout_ms / 1000:.1f} s"
    if of.quiet_ms and of.rounds_ms:
        said += f"; an answer took {of.quiet_ms:.1f} ms before it, {of.rounds_ms:.1f} ms while rounds ran"
    return said


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
            *reaches(seen),
            "",
        ]
    )


def reaches(seen: Sequence[Moved]) -> list[str]:
    """A line for each of what is wanted."""
    plain, rounds = (median(each.blackout_ms for each in seen if each.mode is mode) for mode in MODES)
    said = [_reached("pre-copy over stop-and-copy", rounds / plain, REACH)]
    ratios = [each.rounds_ms / each.quiet_ms for each in seen if each.rounds_ms and each.quiet_ms]
    if ratios:
        said.append(
            _reached("a client's median answer while rounds run, over the quiet one", median(ratios), REACH_ANSWER)
        )
    return said


def _reached(what: str, ratio: float, wanted: float) -> str:
    return f"- {what}: {ratio:.2f} (wanted: at most {wanted:.2f}, {'met' if ratio <= wanted else 'missed'})"


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
    print("\n".join(reaches(seen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
