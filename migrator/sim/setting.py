"""The world that a scenario begins in: nodes, running containers, empty journals, orchestrators that do nothing yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from migrator.executor.fleet import Fleet
from migrator.inventory.cluster_file import ClusterFile, HookEntry, NodeEntry
from migrator.journal.memory import MemoryStore
from migrator.journal.store import Journal
from migrator.model.container import Descriptor
from migrator.model.volume import Mounted
from migrator.runtime import bundle
from migrator.sim.hooks import SimHooks
from migrator.sim.machine import Machine, Record, Tree
from migrator.sim.scenario import Scenario
from migrator.sim.wire import Orchestrator, OrchestratorStore, SimNode
from migrator.sim.world import Truth, World

MIB = 1 << 20
FULL_BYTES = (
    160 * MIB
)  # a ring's node: room for one container and its images beside the headroom, and for no second one
ROOM_FOR_ONE_BYTES = 120 * MIB  # both pass the check while neither has reserved; then the ledger takes one
CORES, MEMORY_BYTES, DISK_BYTES = 64, 65536 * MIB, 1 << 40


@dataclass(slots=True)
class Setting:
    """What everybody in a world meets. `stores` are the journals: one for each of two machines that migrate."""

    world: World
    file: ClusterFile
    containers: list[str]
    stores: list[MemoryStore]
    backup: MemoryStore | None = None
    fleets: int = 0

    def fleet(self, orchestrator: Orchestrator) -> Fleet:
        machines = self.world.machines
        self.fleets += 1
        holder = f"{orchestrator.name}-{self.fleets}"  # another each time, and the same when it is played again
        hooks = SimHooks(orchestrator)
        return Fleet(self.file, lambda entry: SimNode(machines[entry.name], orchestrator), holder, hooks)

    def journal(self, store: MemoryStore, orchestrator: Orchestrator, locks: bool = True) -> Journal:
        return Journal(OrchestratorStore(store, orchestrator, locks), self.world.clock.wall_ms)

    def back_up(self) -> None:
        """Copies the first journal; what is judged may rest on the copy as well."""
        self.backup = self.stores[0].copy()
        self.stores.append(self.backup)


def silent(*_: object) -> None:
    """Nobody looks on."""


def build(scenario: Scenario, world: World) -> Setting:
    """Fills an empty world with what a scenario begins with."""
    nodes = [f"n{number + 1}" for number in range(scenario.nodes)]
    for node in nodes:
        scarce = scenario.second == "rival" and node == "n2"
        memory_bytes = ROOM_FOR_ONE_BYTES if scarce else FULL_BYTES if scenario.ring else MEMORY_BYTES
        world.machines[node] = Machine(world, node, CORES, memory_bytes, DISK_BYTES)
        if node == "n1" or scenario.templates or scenario.ring:
            world.machines[node].disk.templates["debian"] = "digest"
    containers = [f"ct{number}" for number in range(scenario.containers)]
    full = nodes[: max(1, scenario.drained, scenario.ring)]
    for number, name in enumerate(containers):
        ct = replace(descriptor(name, number), restart="always" if scenario.restart else "no")
        place(world, world.machines[full[number % len(full)]], ct)
    stores = [MemoryStore("journal"), MemoryStore("journal of the second")]
    return Setting(world, cluster_of(nodes, scenario.hooks), containers, stores)


_CLUSTERS: dict[tuple[str, ...], ClusterFile] = {}


def cluster_of(names: list[str], hooks: bool = False) -> ClusterFile:
    """The cluster file of simulated nodes, validated once for each set of names; with a hook for every moment."""
    key = (*names, *(["hooks"] if hooks else []))
    if key not in _CLUSTERS:
        told = [HookEntry(argv=["/site"], when=["before_commit", "after_release", "after_rollback"])] if hooks else []
        _CLUSTERS[key] = ClusterFile(name="sim", nodes=[NodeEntry(name=name) for name in names], hooks=told)
    return _CLUSTERS[key]


def descriptor(name: str, number: int) -> Descriptor:
    return Descriptor(
        name=name,
        template="debian",
        template_digest="digest",
        command=("sleep",),
        address=f"10.{number >> 8 & 255}.{number & 255}.9/8",
        id_index=16 + number,
        memory_bytes=64 * MIB,
        cpu_milli=100,
        disk_bytes=256 * MIB,
    )


def place(
    world: World, machine: Machine, ct: Descriptor, volumes: Mapping[str, Mounted] = MappingProxyType({})
) -> None:
    """Puts a running container on a machine, which has these volumes."""
    world.truths[ct.name] = Truth(ct.name)
    tree = Tree(1, ct.template, ct.id_base, dict(bundle.files(ct, "kit", "br0", ("memory", "cpu"), volumes)))
    machine.disk.trees[ct.name] = tree
    machine.disk.records[ct.name] = Record(
        state="serving",
        token=1,
        generation=1,
        boot=machine.up.boot,
        role="owner",
        armed="yes" if ct.restart == "always" else "no",
        memory_bytes=ct.memory_bytes,
        cpu_milli=ct.cpu_milli,
        disk_bytes=ct.disk_bytes,
    )
    copy = world.cold_start(ct.name, machine.name, 1)
    world.truths[ct.name].connection = "kept"
    machine.up.copies[ct.name] = copy
    machine.up.gates[ct.name] = True
    world.execute(copy, 1)
