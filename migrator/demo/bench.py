"""python -m migrator.demo.bench: the blackout of each mode beside bare runc's floor and podman's way, in one run.

Floor and migrations take turns, so that whatever else the machine does falls on both. The blackout is what a client
sees: the longest silence of a container that is asked by UDP every 2 ms. A TCP client's gap stands beside it,
because TCP rounds a pause up by its retransmission timer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from migrator.demo.answers import asked
from migrator.demo.bench_bars import bars
from migrator.demo.bench_report import (
    MODES,
    WRITES_PAGES_PER_S,
    Load,
    Measured,
    Round,
    Seen,
    machine_facts,
    parts_ms,
    reaches,
    report,
    sent_bytes,
    table,
)
from migrator.demo.clients import Client, CounterTalk, GapMeter
from migrator.demo.floor import Floor
from migrator.demo.page import with_section
from migrator.demo.podman import Podman
from migrator.demo.services import Service, counter
from migrator.demo.stage import Stage, StageError
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PLOT = DOCUMENT.with_name("blackout.svg")
INTERVAL_S = 0.002
ANSWER_TIMEOUT_S = 30
BLACKOUT_S_MAX = "60"  # 1 GiB over 1 Gb/s takes ten
WARM_UP_BYTES = 3 << 30
WARM_UP_TIMEOUT_S = 120
WARM_UP = (
    "import mmap, sys; m = mmap.mmap(-1, int(sys.argv[1])); [m.write(bytes(1 << 20)) for _ in range(len(m) >> 20)]"
)


class UdpProbe(asyncio.DatagramProtocol):
    """Asks every 2 ms, whether an answer came or not, and measures the longest silence."""

    def __init__(self) -> None:
        self.meter = GapMeter()
        self._heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.meter.mark()
        self._heard.set()

    async def heard(self) -> None:
        """Returns at the next answer. TimeoutError when there is none."""
        self._heard.clear()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._heard.wait()

    @contextlib.asynccontextmanager
    async def asking(self, host: str, port: int) -> AsyncIterator[None]:
        """Asks while the body runs; the meter begins with the first answer and ends with the last."""
        async with asked(self, host, port, lambda: b"?", INTERVAL_S):
            await self.heard()
            self.meter.start()
            yield
            await self.heard()
            self.meter.stop()


@dataclass(frozen=True, slots=True)
class Bench:
    """What the rounds of one load share."""

    stage: Stage
    service: Service
    host: str
    floor: Floor
    podman: Podman
    trusted: Path

    async def round(self, targets: Iterator[str]) -> Round:
        floor = await self.floor.measure()
        moves = {name: await self.move(next(targets), *MODES[name]) for name in MODES}
        return Round(floor, moves, await self.podman.measure(self.service))

    async def move(self, target: str, mode: str, trusted: bool) -> Seen:
        """One migration under both clients."""
        cluster = ("--cluster", str(self.trusted)) if trusted else ()
        probe, talker = UdpProbe(), Client(self.service.name, self.service.kind, CounterTalk())
        try:
            await talker.connect(self.host, self.service.port)
            async with probe.asking(self.host, self.service.port):
                talker.run()
                words = ("migrate", self.service.name, "--to", target, "--mode", mode, "--max-blackout", BLACKOUT_S_MAX)
                done = await self.stage.cli.run(*cluster, *words, "--json")
            result = await talker.stop()
        finally:
            talker.close()
        if result.error:
            raise StageError(f"the TCP client of {self.service.name}: {result.error}")
        run = done.checked(f"moving {self.service.name} to {target}").document["run"]
        move = (await self.stage.show(run))["migrations"][0]
        if trusted != (move["channel"] == "plain"):
            raise StageError(f"memory of {self.service.name} went {move['channel']}: {move['channel_why']}")
        return Seen(probe.meter.gap_ms, result.gap_ms, move["blackout_ms"], parts_ms(move), sent_bytes(move))


async def measure(
    stage: Stage, rounds: int, loads: Sequence[Load], say: Callable[[str], None]
) -> tuple[list[Measured], dict[str, str]]:
    """Makes the lab, and takes turns, load by load, all over the same links. Returns what was measured, and what the
    nodes run."""
    await stage.up(3)
    home, away, apart = stage.nodes
    trusted = cluster_trusted(stage)
    podman = Podman(stage, apart, home, say)
    await podman.prepare()
    done = []
    for number, load in enumerate(loads):
        rate = WRITES_PAGES_PER_S if load.writing else 0
        services = [counter(f"{name}-{number}", load.mib, rate) for name in ("bench", "floor")]
        for index, (service, node) in enumerate(zip(services, (home, apart), strict=True)):
            await stage.create(service, node, 2 * number + index)
            await listening(stage, 2 * number + index, service)
        floor = Floor(stage, apart, services[1])
        bench = Bench(stage, services[0], stage.address(2 * number), floor, podman, trusted)
        await floor.prepare()
        targets, seen = cycle((away, home)), []
        for turn in range(rounds):
            await asyncio.to_thread(warm_up)
            seen.append(await bench.round(targets))
            say(f"{load.words}, round {turn + 1} of {rounds}: {seen[-1].line}")
        done.append(Measured(load, seen))
        await floor.end()
        # It would go on, and write, while the next load is measured.
        (await stage.cli.run("ct", "stop", "--grace", "0", services[0].name)).checked(
            f"stopping container {services[0].name}"
        )
    facts = await machine_facts(stage, home)
    return done, facts | ({"podman": podman.version} if podman.version else {})


def cluster_trusted(stage: Stage) -> Path:
    """The lab's cluster file once more, with its network declared trusted."""
    strict = Path(stage.cli.env["MIGRATOR_CLUSTER"])
    declared = strict.with_name("cluster-trusted.yaml")
    declared.write_text(f"{strict.read_text()}trusted_networks: [{stage.network}.0/24]\n")
    return declared


async def listening(stage: Stage, index: int, service: Service) -> None:
    """Returns once the service answers, with all its memory made."""
    client = Client(service.name, service.kind, CounterTalk())
    try:
        await client.connect(stage.address(index), service.port)
    except TimeoutError:
        raise StageError(f"the service in container {service.name} does not listen") from None
    finally:
        client.close()


def warm_up() -> None:
    """Touches memory before it is needed: a virtual machine that has not used it lately pays seconds a GiB for it."""
    available_bytes = next(
        int(line.split()[1]) << 10
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    size_bytes = min(WARM_UP_BYTES, available_bytes // 2)
    subprocess.run([sys.executable, "-c", WARM_UP, str(size_bytes)], check=False, timeout=WARM_UP_TIMEOUT_S)


async def on_own_lab(stage: Stage, play: Callable[[Stage], Awaitable[None]]) -> None:
    """Runs on a lab that is gone afterwards, whatever happens."""
    await stage.refuse_if_up()
    guard = start_guard(stage.lab)
    try:
        await play(stage)
    finally:
        await stage.down_surely()
        guard.dismiss()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.bench", description=__doc__)
    parser.add_argument("--name", default="bench", help="the lab's name (default: bench)")
    parser.add_argument("--rounds", type=int, choices=range(1, 51), default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--mib", type=int, nargs="+", default=[16, 256], metavar="N", help="(default: 16 256)")
    parser.add_argument("--quiet-only", action="store_true", help="leave the loads out that write all the time")
    what = "the quiet loads once more, over links of this speed"
    parser.add_argument("--link-mbit", type=int, choices=range(1, 100_001), metavar="N", help=what)
    given = parser.parse_args()
    loads = [Load(mib, writing) for mib in given.mib for writing in (False, *([] if given.quiet_only else [True]))]
    shaped = [Load(mib, False, given.link_mbit) for mib in given.mib] if given.link_mbit else []
    return asyncio.run(_main(given.name, given.rounds, loads, shaped))


async def _main(lab: str, rounds: int, loads: Sequence[Load], shaped: Sequence[Load]) -> int:
    measured: list[Measured] = []

    async def play_all() -> None:
        facts: dict[str, str] = {}

        async def play(stage: Stage) -> None:
            done, told = await measure(stage, rounds, by_links, print)
            measured.extend(done)
            facts.update(told)

        for by_links in (loads, shaped):
            if by_links:  # one lab for each speed of links
                await on_own_lab(Stage(lab, by_links[0].link_mbit), play)
        PLOT.write_text(bars(measured))
        DOCUMENT.write_text(with_section(DOCUMENT.read_text(), report(measured, facts)))

    task = asyncio.create_task(play_all())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print("bench: interrupted", file=sys.stderr)
        return 1
    except (MigratorError, TimeoutError) as error:
        print(f"bench: {error or 'the container did not answer'}", file=sys.stderr)
        return 1
    print(f"\n{table(measured)}\n")
    reached = reaches(measured)
    print("\n".join(reach.line for reach in reached))
    print(f"written to docs/{DOCUMENT.name} and docs/{PLOT.name}")
    return 0 if all(reach.met for reach in reached) else 1


if __name__ == "__main__":
    sys.exit(main())
