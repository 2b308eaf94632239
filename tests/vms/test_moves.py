"""Moves between kernels: connections, limits and clocks are kept, and what a kernel cannot restore is refused."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

from migrator.lab import lab as labs
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

MOVE_TIMEOUT_S = 600
BLACKOUT = ("--max-blackout", "300")
LIMIT_BYTES = 96 << 20
CONNECT_TRIES = 2400  # for two minutes, in which an emulated machine starts a Python

# Counts as the lab's counter does; on another port it tells its clocks, and the largest and smallest steps they took.
PROGRAM = """
import json, os, socketserver, sys, threading, time
CLOCKS = {"monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME}
steps = {name: [0.0, 0.0] for name in CLOCKS}
def watch():
    last = {name: time.clock_gettime(clock) for name, clock in CLOCKS.items()}
    while True:
        time.sleep(0.02)
        for name, clock in CLOCKS.items():
            now = time.clock_gettime(clock)
            step, last[name] = now - last[name], now
            steps[name] = [min(step, steps[name][0]), max(step, steps[name][1])]
threading.Thread(target=watch, daemon=True).start()
count = 0
class Count(socketserver.StreamRequestHandler):
    def handle(self):
        global count
        for line in self.rfile:
            count += 1
            self.wfile.write(b"%d\\n" % count)
class Clocks(socketserver.StreamRequestHandler):
    def handle(self):
        now = {name: time.clock_gettime(clock) for name, clock in CLOCKS.items()}
        self.wfile.write(json.dumps({"now": now, "steps": steps}).encode())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
if "random" in sys.argv:
    os.getrandom(16)
threading.Thread(target=Server(("", 7001), Clocks).serve_forever, daemon=True).start()
Server(("", 7000), Count).serve_forever()
"""


@dataclass(frozen=True)
class Clocks:
    at_s: float
    now: dict[str, float]
    steps: dict[str, list[float]]


def make(vms: Stage, name: str, node: str, number: int, *words: str) -> str:
    ip = vms.ip(number)
    options = ("--template", "debian", "--ip", ip, "--memory", str(LIMIT_BYTES), "--cpus", "0.5")
    done = vms.migrator(
        "ct", "create", name, "--node", node, *options, "--", "python3", "-c", PROGRAM, *words, timeout_s=MOVE_TIMEOUT_S
    )
    assert done.code == 0, done.err
    return ip


async def clocks_of(ip: str) -> Clocks:
    reader, writer = await asyncio.open_connection(ip, 7001)
    told = json.loads(await asyncio.wait_for(reader.read(), 60))
    writer.close()
    return Clocks(time.monotonic(), told["now"], told["steps"])


async def run(vms: Stage, *words: str) -> None:
    done = await asyncio.to_thread(vms.migrator, *words, timeout_s=MOVE_TIMEOUT_S)
    assert done.code == 0, f"{words}: {done.code}\n{done.out}\n{done.err}"


def limits(vms: Stage, node: str, name: str) -> list[str]:
    group = f"/sys/fs/cgroup/ct/{name}"
    return vms.on_node(node, "cat", f"{group}/memory.max", f"{group}/cpu.max").out.split()


def assert_smooth(before: Clocks, after: Clocks) -> None:
    """The clocks went on from where they were, and by no more than the time that has passed; they never went back."""
    for name, now in after.now.items():
        assert 0 < now - before.now[name] <= after.at_s - before.at_s + 1
        back, _ = after.steps[name]
        assert back >= 0


async def test_a_host_is_emptied_rebooted_and_filled_again_under_a_client(vms: Stage) -> None:
    ip = make(vms, "web", "n1", 0)
    kept = limits(vms, "n1", "web")
    assert kept == [str(LIMIT_BYTES), "50000", "100000"]
    async with CountingClient(ip, CONNECT_TRIES) as client:
        at_first = await clocks_of(ip)
        await run(vms, "drain", "n1", "--yes", *BLACKOUT)
        assert vms.places("web") == [("n2", "running")]
        await client.more(3, timeout_s=MOVE_TIMEOUT_S)
        on_n2 = await clocks_of(ip)
        assert_smooth(at_first, on_n2)
        assert limits(vms, "n2", "web") == kept

        # The host's own clock begins anew, and the container's does not.
        await asyncio.to_thread(labs.reboot, vms.paths, "n1")
        await run(vms, "uncordon", "n1")
        await run(vms, "migrate", "web", "--to", "n1", *BLACKOUT)
        assert vms.places("web") == [("n1", "running")]
        await client.more(3, timeout_s=MOVE_TIMEOUT_S)
        back = await clocks_of(ip)
        assert_smooth(on_n2, back)
        assert limits(vms, "n1", "web") == kept
        uptime_s = float(vms.on_node("n1", "cat", "/proc/uptime").out.split()[0])
        assert back.now["monotonic"] > uptime_s


async def test_what_the_older_kernel_cannot_restore_is_refused_before_the_pause(vms: Stage) -> None:
    ip = make(vms, "dice", "n2", 1, "random")
    async with CountingClient(ip, CONNECT_TRIES) as client:
        refused = await asyncio.to_thread(vms.migrator, "migrate", "dice", "--to", "n1", *BLACKOUT, timeout_s=300)
        assert refused.code != 0
        assert "has no map_droppable, which the container's processes use" in refused.err
        assert "paused" not in refused.err
        planned = await asyncio.to_thread(vms.migrator, "plan", "drain", "n2", *BLACKOUT, timeout_s=300)
        assert planned.code != 0
        assert "map_droppable" in planned.out + planned.err
        assert vms.places("dice") == [("n2", "running")]
        await client.more(3, timeout_s=MOVE_TIMEOUT_S)
