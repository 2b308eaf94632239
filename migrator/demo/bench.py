"""python -m migrator.demo.bench: the blackout of a migration beside the floor that bare runc sets, in one run.

Floor and migration take turns, so that whatever else the machine does falls on both. The blackout is what a client
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
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.demo.bench_report import TARGET_RATIO, Round, machine_facts, parts_ms, ratio, report, table
from migrator.demo.clients import Client, CounterTalk, GapMeter
from migrator.demo.floor import Floor
from migrator.demo.page import with_section
from migrator.demo.services import Service, counter
from migrator.demo.stage import Stage, StageError
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
INTERVAL_S = 0.002
ANSWER_TIMEOUT_S = 30
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
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(host, port))
        asking = asyncio.create_task(self._ask(transport))
        try:
            await self.heard()
            self.meter.start()
            yield
            await self.heard()
            self.meter.stop()
        finally:
            asking.cancel()
            transport.close()

    async def _ask(self, transport: asyncio.DatagramTransport) -> None:
        while True:
            transport.sendto(b"?")
            await asyncio.sleep(INTERVAL_S)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the rounds share."""

    stage: Stage
    service: Service
    host: str
    floor: Floor

    async def round(self, target: str) -> Round:
        floor = await self.floor.measure()
        probe, talker = UdpProbe(), Client(self.service.name, self.service.kind, CounterTalk())
        try:
            await talker.connect(self.host, self.service.port)
            async with probe.asking(self.host, self.service.port):
                talker.run()
                done = await self.stage.cli.run("migrate", self.service.name, "--to", target, "--json")
            result = await talker.stop()
        finally:
            talker.close()
        if result.error:
            raise StageError(f"the TCP client of {self.service.name}: {result.error}")
        run = done.checked(f"moving {self.service.name} to {target}").document["run"]
        move = (await self.stage.show(run))["migrations"][0]
        return Round(floor, probe.meter.gap_ms, result.gap_ms, move["blackout_ms"], parts_ms(move))


async def measure(
    stage: Stage, rounds: int, mib: int, say: Callable[[str], None]
) -> tuple[list[Round], dict[str, str]]:
    """Makes the lab, and takes turns. Returns the rounds and what the nodes run."""
    await stage.up(3)
    home, away, apart = stage.nodes
    services = (counter("bench", mib), counter("floor", mib))
    for index, (service, node) in enumerate(zip(services, (home, apart), strict=True)):
        await stage.create(service, node, index)
        await _listening(stage, index, service)
    bench = Bench(stage, services[0], stage.address(0), Floor(stage, apart, services[1]))
    await bench.floor.prepare()
    done = []
    for number in range(rounds):
        await asyncio.to_thread(warm_up)
        done.append(await bench.round((away, home)[number % 2]))
        say(f"round {number + 1} of {rounds}: {done[-1].line}")
    return done, await machine_facts(stage, home)


async def _listening(stage: Stage, index: int, service: Service) -> None:
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


async def on_own_lab(lab: str, play: Callable[[Stage], Awaitable[None]]) -> None:
    """Runs on a lab that is gone afterwards, whatever happens."""
    stage = Stage(lab)
    await stage.refuse_if_up()
    guard = start_guard(lab)
    try:
        await play(stage)
    finally:
        await stage.down_surely()
        guard.dismiss()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.bench", description=__doc__)
    parser.add_argument("--name", default="bench", help="the lab's name (default: bench)")
    parser.add_argument("--rounds", type=int, choices=range(1, 51), default=5, metavar="N", help="(default: 5)")
    parser.add_argument("--mib", type=int, choices=range(1, 4097), default=256, metavar="N", help="(default: 256)")
    given = parser.parse_args()
    return asyncio.run(_main(given.name, given.rounds, given.mib))


async def _main(lab: str, rounds: int, mib: int) -> int:
    measured: list[Round] = []

    async def play(stage: Stage) -> None:
        done, facts = await measure(stage, rounds, mib, print)
        measured.extend(done)
        DOCUMENT.write_text(with_section(DOCUMENT.read_text(), report(done, facts, mib)))

    task = asyncio.create_task(on_own_lab(lab, play))
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
    print(f"\n{table(measured)}")
    print(f"ratio {ratio(measured):.2f}, target at most {TARGET_RATIO}; written to docs/{DOCUMENT.name}")
    return 0 if ratio(measured) <= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
