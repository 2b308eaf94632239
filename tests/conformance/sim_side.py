"""Plays a step script on simulated machines, in virtual time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from random import Random

from migrator.executor.fleet import Fleet
from migrator.model.container import Descriptor
from migrator.sim.loop import VirtualLoop
from migrator.sim.machine import Machine, Record
from migrator.sim.restart import keeper_start
from migrator.sim.scenario import Fault
from migrator.sim.setting import cluster_of, place
from migrator.sim.verbs_source import usable
from migrator.sim.wire import Orchestrator, SimNode
from migrator.sim.world import Clock, World
from migrator.steps.base import Move
from migrator.transport.base import Answer, NodeFailed, NodeMissing, NodeRefused, NodeUnreachable
from tests.conformance.compare import Effects, Outcome, outcome
from tests.conformance.steps_side import made, take

MIB = 1 << 20
GIB = 1 << 30
NAME = "web"
ROOM = f"{256 * MIB} 1000 {1024 * MIB} {10**12} 100000 {10**12}"  # as `migrator ct create` makes it
FILES = ("descriptor.json", "config.json", "net", "criu.conf", "restart")
CODES: dict[type[Exception], int] = {NodeRefused: 10, NodeMissing: 11, NodeFailed: 1}


@dataclass(frozen=True, slots=True)
class Start:
    """Where a script begins: the container serves on the source, at rest."""

    token: int = 1
    generation: int = 1
    floors: tuple[int, int] = (0, 0)  # on the source and on the target
    restart: str = "always"
    memory_bytes: int = 256 * MIB
    cpu_milli: int = 1000
    disk_bytes: int = 1024 * MIB


class SimSide:
    """One life of a script. `machines` by role."""

    def __init__(self, start: Start, loop: VirtualLoop) -> None:
        self.start = start
        self.world = World(Clock(loop), Random(1), streams=True)
        self.names = {"s": "n1", "t": "n2"}
        self.machines = {role: Machine(self.world, name, 64, 64 * GIB, 1 << 40) for role, name in self.names.items()}
        self.orchestrator = Orchestrator("o", self.world)
        self.values = {"peer": "n2", "host_key": "ssh-ed25519 HOST", "id_base": "9961472", "room": ROOM}
        self.values["digest"] = "digest"
        for role, machine in self.machines.items():
            self.world.machines[machine.name] = machine
            machine.disk.templates["debian"] = "digest"
            if floor := start.floors[role == "t"]:
                machine.disk.floors[NAME] = floor
        self.move: Move | None = None
        s = self.machines["s"]
        place(self.world, s, self.descriptor())
        keeper_start(s, NAME)
        s.disk.records[NAME] = replace(s.disk.records[NAME], token=start.token, generation=start.generation)
        self.nodes = {role: SimNode(machine, self.orchestrator) for role, machine in self.machines.items()}

    def descriptor(self) -> Descriptor:
        start = self.start
        return Descriptor(
            name=NAME,
            template="debian",
            template_digest="digest",
            command=("sleep",),
            address="10.0.0.9/8",
            id_index=16,
            restart=start.restart,
            memory_bytes=start.memory_bytes,
            cpu_milli=start.cpu_milli,
            disk_bytes=start.disk_bytes,
        )

    # --- acts ---------------------------------------------------------------------------------------------------------

    async def call(self, role: str, words: list[str], fault: str = "", stdin: bytes = b"always\n") -> Outcome:
        """One call; with a fault, the same again after it."""
        o, node = self.orchestrator, self.nodes[role]
        if fault:
            o.call_faults[o.calls + 1] = Fault(fault, o.calls + 1)
        try:
            text = (await node.call(*words, stdin=stdin, timeout_s=600, tries=3 if fault else 1)).text  # type: ignore[arg-type]
        except NodeUnreachable:
            return Outcome("unreachable")
        except NodeFailed as error:
            return outcome(1, "", str(error), self.start.token)
        except (NodeRefused, NodeMissing) as error:
            return outcome(CODES[type(error)], "", str(error), self.start.token)
        self._learn(Answer(self.names[role], words[0], text))
        return outcome(0, text, "", self.start.token)

    def _learn(self, answer: Answer) -> None:
        if answer.verb == "keygen":
            self.values.update(key=answer.get("key"), address=answer.get("address"))

    async def batch(self, role: str, lines: list[str]) -> list[Outcome]:
        return [await self.call(role, line.split()) for line in lines]

    async def put(self, role: str, token: str) -> list[Outcome]:
        bundle = self.machines["s"].disk.trees[NAME].bundle
        return [
            await self.call(role, ["ct-put", NAME, token, name, str(len(bundle[name]))], stdin=bundle[name])
            for name in FILES
        ]

    async def crash(self, role: str) -> None:
        self.machines[role].crash()

    async def boot(self, role: str) -> None:
        self.machines[role].boot()

    async def kill(self, role: str) -> None:
        m = self.machines[role]
        m.copy_dies(NAME, "its processes were killed")
        for key in [key for key in m.up.jobs if key[2] == "restore"]:
            await m.up.jobs[key].done.wait()

    async def watchdog(self, token: str) -> None:
        job = self.machines["s"].up.jobs.get((NAME, int(token), "watchdog"))
        if job is not None:
            await job.done.wait()

    async def runs(self, role: str) -> None:
        changed = asyncio.Event()
        self.world.on_change = lambda _: changed.set()
        while (copy := self.machines[role].copy(NAME)) is None or copy.mode != "running":
            changed.clear()
            await changed.wait()

    async def lose(self, role: str, token: str) -> None:
        self.machines[role].up.moves[(NAME, int(token))].images = None

    async def maim(self, role: str) -> None:
        if copy := self.machines[role].copy(NAME):
            copy.processes -= 1

    async def bridge(self, role: str, name: str) -> None:
        bundle = self.machines[role].disk.trees[NAME].bundle
        bundle["net"] = re.sub(rb"(?m)^bridge .*", f"bridge {name}".encode(), bundle["net"])

    async def end_job(self, role: str, token: str, name: str) -> None:
        job = self.machines[role].up.jobs[(NAME, int(token), name)]
        if job.task is not None:
            job.task.cancel()
        await job.done.wait()

    async def part(self) -> None:
        self.world.parted.add(frozenset(self.names.values()))

    async def heal(self) -> None:
        self.world.parted.clear()

    async def step(self, way: str, name: str) -> Outcome:
        if self.move is None:
            entries = {node.name: node for node in self.nodes.values()}
            fleet = Fleet(cluster_of(list(entries)), lambda entry: entries[entry.name], "step")
            self.move = await made(fleet, NAME, "n1", "n2", self.start.generation)
        return await take(self.move, way, name)

    # --- what is true -------------------------------------------------------------------------------------------------

    async def effects(self) -> Effects:
        return {role: self._effects(machine) for role, machine in self.machines.items()}

    def _effects(self, m: Machine) -> dict[str, str]:
        if m.ram is None:
            return {"power": "off"}
        record, copy, ram = m.record(NAME), m.copy(NAME), m.up
        found = {"copy": copy.mode if copy else "none", "gate": "none"}
        if NAME in ram.gates:
            found["gate"] = "open" if ram.gates[NAME] else "closed"
        found |= _record(record, ram.boot)
        found["floor"] = str(m.disk.floors.get(NAME, 0))
        for (_, token, word), job in ram.jobs.items():
            found[f"job {token} {word.split('-')[0] if word.startswith('receive') else word}"] = (
                "alive" if job.alive else "ended"
            )
        for (_, token), move in ram.moves.items():
            found[f"move {token}"] = "images" if move.images and move.images.rest else "empty"
        found |= {f"private key {token}": "yes" for _, token in ram.keys}
        found |= {f"link {token}": "yes" for (_, token), link in ram.links.items() if usable(m, link)}
        found |= {f"authorized key {token}": "yes" for _, token in m.disk.keys}
        found |= {f"part {token}": "yes" for _, token in m.disk.parts}
        if NAME in m.disk.trees:
            found["tree"] = " ".join(sorted(m.disk.trees[NAME].bundle))
        found["templates"] = " ".join(sorted(m.disk.templates))
        if m.disk.cordon:
            found["cordon"] = m.disk.cordon
        if NAME in ram.keepers and ram.keepers[NAME].alive:
            found["keeper"] = "yes"
        return found


def _record(record: Record, boot: str) -> dict[str, str]:
    """What lies on the disk, as the look at a lab node tells it."""
    if record.state == "absent":
        return {}
    keys = (
        "state",
        "token",
        "generation",
        "run",
        "role",
        "deadline_s",
        "memory_bytes",
        "cpu_milli",
        "disk_bytes",
        "armed",
        "holder",
        "cold",
    )
    found = {f"record {key}": str(getattr(record, key)) for key in keys}
    if record.state == "serving" and record.run != "-":
        found["record void"] = "yes" if record.void == record.token else "no"
    found["record same_boot"] = "yes" if record.boot == boot else "no"
    return found
