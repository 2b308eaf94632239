"""A lane: a lab of two nodes, containers that go back and forth between them, and what both are like at rest."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from migrator.chaos.cells import Setting
from migrator.chaos.client import SERVER
from migrator.chaos.worker import Worker, WorkerError
from migrator.chaos.world import ANNOUNCING, difference, world
from migrator.lab import lab as labs
from migrator.lab import network
from migrator.lab.guard import Guard, start_guard
from migrator.lab.paths import LabPaths

CONTAINER = "web"
BESIDE = ("web2", "web3")
MEMORY_MIB = 16
LIMIT = "128M"
NODE_MEMORY = "8G"
QUIET_TIMEOUT_S = 15.0
SAME_LOOKS = 2


class Lane:
    """Everything that cells of one lane share. `at` is the node on which its containers are, all of them.

    `places` is where each was seen last.
    """

    def __init__(self, name: str, setting: Setting = Setting.PLAIN) -> None:
        self.paths = LabPaths.of(name)
        self.setting = setting
        self.at = ""
        self.places: dict[str, str] = {}
        self.veths: dict[str, str] = {}
        self.baseline: dict[tuple[str, bool], Counter[str]] = {}
        self._guard: Guard | None = None
        self._operator: Worker | None = None
        self._spare: list[Worker] = []

    @property
    def journal(self) -> Path:
        return self.paths.dir / "journal.db"

    @property
    def containers(self) -> tuple[str, ...]:
        return (CONTAINER, *BESIDE) if self.setting is Setting.THREE else (CONTAINER,)

    def ip_of(self, container: str) -> str:
        return self.spec.subnet.container_ip(1 + self.containers.index(container))

    def other(self, node: str) -> str:
        return next(name for name in self.spec.nodes if name != node)

    async def up(self) -> None:
        """Makes the lab and the containers, moves them there and back, and remembers what both nodes are like."""
        if self._guard is None:
            self._guard = start_guard(self.paths.name)
        self.spec = await asyncio.to_thread(labs.up, self.paths, 2, memory=NODE_MEMORY, cpus=8, disk="100G")
        self._operator = await self._start()
        self.at = self.spec.nodes[0]
        for name in self.containers:
            made = await self.operator(
                "create",
                container=name,
                node=self.at,
                ip=self.ip_of(name),
                memory=LIMIT,
                start=True,
                restart="always" if self.setting is Setting.RESTARTED else "no",
                command=["python3", "-c", SERVER, str(MEMORY_MIB)],
            )
            _good(made, f"creating container {name}")
        for _ in range(2):
            await self.gather(self.other(self.at))
            await self._remember()
        self.veths = {name: self._read_veth(name) for name in self.containers}

    async def gather(self, node: str) -> None:
        """Moves those that are elsewhere there, one after another, with nothing broken."""
        for name in self.containers:
            if self.places.get(name, self.at) != node:
                moved = await self.operator("migrate", container=name, target=node, blackout_s=15)
                _good(moved, f"a migration of {name} with nothing broken")
            self.places[name] = node
        self.at = node

    async def become(self, setting: Setting) -> None:
        """A lab for other containers, unless these are what is wanted."""
        if setting is not self.setting:
            self.setting = setting
            await self.again()

    async def down(self) -> None:
        for worker in (*self._spare, *([self._operator] if self._operator else [])):
            await worker.kill()
        self._operator, self._spare = None, []
        await asyncio.to_thread(labs.down, self.paths)
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None

    async def again(self) -> None:
        """A lab as new, after a cell that left it in a state nobody vouches for."""
        await self.down()
        self.baseline, self.places = {}, {}
        await self.up()

    async def operator(self, do: str, timeout_s: float = 90, **words: Any) -> dict[str, Any]:
        """What an operator does meanwhile, from a process of its own."""
        if self._operator is None:
            raise WorkerError("the lane is not up")
        return await self._operator.ask(do, timeout_s, **words)

    async def orchestrator(self) -> Worker:
        """An orchestrator to be broken; the one after it starts at once, because starting takes a while."""
        worker = self._spare.pop() if self._spare else await self._start()
        if not self._spare:
            self._spare.append(await self._start())
        return worker

    def spare(self, worker: Worker) -> None:
        """Takes back one whose command has ended: the next is begun with a journal opened anew, as in a new process."""
        self._spare.append(worker)

    def on_node(self, node: str, script: str, *args: str, timeout_s: float = 30) -> str:
        """A script at a node's console; returns what it said. WorkerError when it failed."""
        argv = labs.exec_argv(self.paths, node, ("sh", "-c", script, "sh", *args))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            raise WorkerError(f"at the console of {node}: {done.stderr.strip() or done.returncode}")
        return done.stdout.strip()

    async def set_link(self, node: str, up: bool) -> None:
        await asyncio.to_thread(network.set_link, self.paths, node, up)

    async def crash_and_boot(self, node: str) -> None:
        await asyncio.to_thread(labs.crash, self.paths, node)
        await asyncio.to_thread(labs.boot, self.paths, node)

    async def left_behind(self) -> list[str]:
        """What is different from rest, once all that ends by itself has had its time."""
        deadline_s = asyncio.get_running_loop().time() + QUIET_TIMEOUT_S
        while True:
            left = []
            for node, now in (await self._worlds()).items():
                left += [f"{node}: {line}" for line in difference(self.baseline[node, node == self.at], now)]
            if not left or asyncio.get_running_loop().time() > deadline_s:
                return left
            await asyncio.sleep(0.2)  # a session of sshd or an announcement ends when it ends

    async def _remember(self) -> None:
        """Takes the baseline once the announcement of the move has ended and two looks are the same."""
        before, same = await self._worlds(), 0
        while same < SAME_LOOKS:
            await asyncio.sleep(0.3)
            now = await self._worlds()
            quiet = now == before and not any(ANNOUNCING in line for seen in now.values() for line in seen)
            before, same = now, same + 1 if quiet else 0
        for node, seen in before.items():
            self.baseline[node, node == self.at] = seen

    async def _worlds(self) -> dict[str, Counter[str]]:
        worlds = {node: await asyncio.to_thread(world, self.paths, node) for node in self.spec.nodes}
        files = sorted(path.name for path in self.paths.dir.glob("journal*"))
        worlds[self.spec.nodes[0]].update(f"orchestrator's file {name}" for name in files)
        return worlds

    def _read_veth(self, container: str) -> str:
        return self.on_node(self.at, "sed -n 's/^veth //p' /var/lib/migrator/containers/$1/net", container)

    async def _start(self) -> Worker:
        return await Worker.start(self.paths.cluster_file, self.journal, self.paths.dir / "orchestrator.log")


def _good(answer: dict[str, Any], what: str) -> None:
    if answer.get("code") != 0:
        raise WorkerError(f"{what} failed: {answer.get('error')}")
