"""python -m migrator.demo.prediction_bench: what --dry-run says of a move, and what the move then takes.

Moves of some sizes over some links teach a journal (calibration). Moves of other sizes, of writing programs and over
other links are then predicted from that journal alone, which the runs that are judged do not touch, and made.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from migrator.demo.bench import DOCUMENT, listening, warm_up
from migrator.demo.bench_report import WRITES_PAGES_PER_S, Load, machine_facts
from migrator.demo.page import with_section
from migrator.demo.prediction_report import REACH, Judged, Link, report, summary
from migrator.demo.services import Service, counter
from migrator.demo.stage import Stage
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard
from migrator.model.modes import Mode

LAB = "bench-prediction"
MODES = (Mode.STOP_AND_COPY, Mode.POST_COPY)
TAUGHT = tuple(Load(mib, writing=False) for mib in (16, 128))
HELD_OUT = (Load(64, writing=False), Load(256, writing=False), Load(256, writing=True))
TAUGHT_LINKS: tuple[Link, ...] = (1000, None)  # Mbit/s; the last is the first that is judged
JUDGED_LINKS: tuple[Link, ...] = (None, 2000, 500)
ROUNDS = 2

Say = Callable[[str], None]


class LinkedStage(Stage):
    """A lab whose links all have one speed, or are not shaped. It learns into a journal that outlives it."""

    def __init__(self, lab: str, link_mbit: Link, journal: Path) -> None:
        super().__init__(lab, link_mbit)
        self.journal = journal
        self.made = 0

    async def up(self, nodes: int = 2) -> None:
        await super().up(nodes)
        self.cli.env["MIGRATOR_JOURNAL"] = str(self.journal)
        await asyncio.to_thread(warm_up)

    async def counter(self, load: Load) -> Service:
        """A counter on the first node, listening, with all its memory made."""
        rate = WRITES_PAGES_PER_S if load.writing else 0
        service = counter(f"held-{self.made}", load.mib, rate)
        await self.create(service, self.nodes[0], self.made)
        await listening(self, self.made, service)
        self.made += 1
        return service

    async def move(self, service: Service, target: str, mode: Mode) -> tuple[float, float]:
        """Moves it; its pause and its duration in seconds, by the journal."""
        done = await self.cli.run("migrate", service.name, "--to", target, "--mode", mode, "--json")
        run = done.checked(f"moving {service.name} to {target}").document["run"]
        moved = (await self.show(run))["migrations"][0]
        return moved["blackout_ms"] / 1000, moved["duration_ms"] / 1000

    async def judge(self, service: Service, load: Load, target: str, mode: Mode, taught: Path) -> Judged:
        """Predicts a move from what was taught, and makes it."""
        self.cli.env["MIGRATOR_JOURNAL"] = str(taught)
        asked = await self.cli.run("migrate", service.name, "--to", target, "--mode", mode, "--dry-run", "--json")
        told = asked.checked(f"predicting {service.name} to {target}").document
        self.cli.env["MIGRATOR_JOURNAL"] = str(self.journal)
        low_s, high_s = told["blackout_s_range"]
        return Judged(
            self.link_mbit,
            load,
            mode,
            (told["blackout_s"], told["duration_s"]),
            (low_s, high_s),
            await self.move(service, target, mode),
        )


async def teach(stage: LinkedStage, rounds: int, say: Say) -> None:
    """Calibration: each size and mode, there and back."""
    away, home = stage.nodes[1], stage.nodes[0]
    for load in TAUGHT:
        service = await stage.counter(load)
        for mode in MODES * rounds:
            for target in (away, home):
                blackout_s, duration_s = await stage.move(service, target, mode)
                say(f"calibration, {load.words}, {mode}: {blackout_s:.2f} of {duration_s:.2f} s")


async def judge(stage: LinkedStage, taught: Path, say: Say) -> list[Judged]:
    """Each load and mode that was held out, there and back."""
    away, home = stage.nodes[1], stage.nodes[0]
    judged = []
    for load in HELD_OUT:
        service = await stage.counter(load)
        for mode in MODES:
            for target in (away, home):
                judged.append(await stage.judge(service, load, target, mode, taught))
                say(judged[-1].line)
    return judged


async def measure(lab: str, folder: Path, rounds: int, say: Say) -> tuple[list[Judged], dict[str, str]]:
    """Lab by lab, one for each speed of the links. Returns what was judged, and what the nodes run."""
    journal, taught = folder / "journal.db", folder / "taught.db"
    judged, facts = list[Judged](), dict[str, str]()
    await Stage(lab).refuse_if_up()
    # the speed that is both taught and judged comes once: taught first, then judged
    for link in (*TAUGHT_LINKS, *JUDGED_LINKS[1:]):
        stage = LinkedStage(lab, link, journal)
        try:
            await stage.up()
            if link in TAUGHT_LINKS:
                await teach(stage, rounds, say)
                copy_journal(journal, taught)
            if link in JUDGED_LINKS:
                judged += await judge(stage, taught, say)
            facts = facts or await machine_facts(stage, stage.nodes[0])
        finally:
            await stage.down_surely()
    return judged, facts


def copy_journal(journal: Path, to: Path) -> None:
    """A copy that is whole, whatever of it is not in its main file yet."""
    with closing(sqlite3.connect(journal)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.prediction_bench", description=__doc__)
    parser.add_argument("--name", default=LAB, help=f"the lab's name (default: {LAB})")
    parser.add_argument(
        "--rounds", type=int, choices=range(1, 11), default=ROUNDS, metavar="N", help=f"(default: {ROUNDS})"
    )
    given = parser.parse_args()
    return asyncio.run(_main(given.name, given.rounds))


async def _main(lab: str, rounds: int) -> int:
    found: list[Judged] = []

    async def play() -> None:
        with tempfile.TemporaryDirectory(prefix=f"{lab}-") as folder:
            judged, facts = await measure(lab, Path(folder), rounds, lambda text: print(text, flush=True))
        found.extend(judged)
        DOCUMENT.write_text(with_section(DOCUMENT.read_text(), report(judged, facts, rounds)))

    guard = start_guard(lab)
    task = asyncio.create_task(play())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print("bench-prediction: interrupted", file=sys.stderr)
        return 1
    except (MigratorError, TimeoutError) as error:
        print(f"bench-prediction: {error or 'a container did not answer'}", file=sys.stderr)
        return 1
    finally:
        guard.dismiss()
    return _end(found)


def _end(judged: Sequence[Judged]) -> int:
    print("\n".join(summary(judged)))
    print(f"written to docs/{DOCUMENT.name}")
    return 0 if sum(each.near for each in judged) >= REACH * len(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
