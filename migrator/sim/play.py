"""Plays one scenario: the real planner, executor, protocol and steps over simulated nodes, then an operator's day."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from migrator.errors import BadInput, MigratorError, NeedsOperator, Refused
from migrator.executor.fleet import Fleet
from migrator.executor.runs import plan_single, resume_run, rollback_run, start_run
from migrator.executor.settle import Wish, examine, settle
from migrator.inventory.cluster_file import ClusterFile, NodeEntry
from migrator.journal.memory import MemoryStore
from migrator.journal.store import Journal
from migrator.model.container import Descriptor
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.planner.drain import drain
from migrator.runtime import bundle
from migrator.sim import invariants
from migrator.sim.faults import Strikes
from migrator.sim.loop import Deadlock, VirtualLoop
from migrator.sim.machine import Machine, Record, Tree
from migrator.sim.restart import keeper_start
from migrator.sim.scenario import Scenario
from migrator.sim.wire import Killed, Orchestrator, OrchestratorStore, SimNode
from migrator.sim.world import Clock, Truth, World

MIB = 1 << 20
ROUNDS = 4  # of resume after everything is healed
ROOM_FOR_ONE_BYTES = 120 * MIB  # both pass the check while neither has reserved; then the ledger takes one
LIFE_S_MAX = 4000.0
CORES, MEMORY_BYTES, DISK_BYTES = 64, 65536 * MIB, 1 << 40


@dataclass(slots=True)
class Outcome:
    """How a scenario ended. `violations` is empty when nothing was that must not be."""

    scenario: Scenario
    violations: list[str]
    trace: list[str]
    stuck: dict[str, str] = field(default_factory=dict)
    steps: int = 0


def play(scenario: Scenario, loop: VirtualLoop, trace: bool = False) -> Outcome:
    """Plays a scenario from its begin to its end; the same scenario plays the same way every time."""
    loop.now_s = 0.0
    random.seed(scenario.seed)  # the retries' pauses
    world = World(Clock(loop), random.Random(scenario.seed ^ 0x5EED), trace=[] if trace else None)
    life = _Life(scenario, world)
    try:
        loop.run(life.live())
    except Deadlock as error:
        world.violate(f"hangs: {error}")
    return Outcome(scenario, world.violations, world.trace or [], life.stuck, world.steps)


class _Life:
    def __init__(self, scenario: Scenario, world: World) -> None:
        self.scenario = scenario
        self.world = world
        self.stuck: dict[str, str] = {}
        self.stores = [MemoryStore("journal"), MemoryStore("journal of the second")]
        self.backup: MemoryStore | None = None
        names = [f"n{number + 1}" for number in range(scenario.nodes)]
        self.file = cluster_of(names)
        for name in names:
            scarce = scenario.second == "rival" and name == "n2"
            memory_bytes = ROOM_FOR_ONE_BYTES if scarce else MEMORY_BYTES
            world.machines[name] = Machine(world, name, CORES, memory_bytes, DISK_BYTES)
            if name == "n1" or scenario.templates:
                world.machines[name].disk.templates["debian"] = "digest"
        self.names = [f"ct{number}" for number in range(scenario.containers)]
        full = names[: max(1, scenario.drained)]
        for number, name in enumerate(self.names):
            ct = replace(descriptor(name, number), restart="always" if scenario.restart else "no")
            place(world, world.machines[full[number % len(full)]], ct)
        self.orchestrators = [Orchestrator(f"o{number}", world, f"o{number}") for number in range(2)]
        self.watch = invariants.Watch(world, self.stores)
        self.strikes = Strikes(world, scenario.faults, self.orchestrators)
        self.policy = Policy(blackout_s_max=scenario.deadline_s, job_timeout_s=300)

    # --- what is asked for ------------------------------------------------------------------------------------------

    async def live(self) -> None:
        try:
            async with asyncio.timeout(LIFE_S_MAX):
                await self._live()
        except TimeoutError:
            self.world.violate(f"has not ended after {LIFE_S_MAX:.0f} s")
        except Killed:
            self.world.violate("a dead orchestrator has taken the operator with it")
        finally:
            for orchestrator in self.orchestrators:
                orchestrator.dead = True

    async def _live(self) -> None:
        scenario = self.scenario
        for machine in self.world.machines.values():
            for ct in machine.disk.records:
                keeper_start(machine, ct)
        second = asyncio.Event()
        if scenario.second:
            self.strikes.at_moment(scenario.second_at, second.set)
        if scenario.second == "backup":
            self.strikes.at_moment(scenario.backup_at, self._back_up)
        work = [self._first()]
        if scenario.second in ("duel", "rival", "steal"):
            work.append(self._second_orchestrator(second))
        await asyncio.gather(*work)
        if self.world.violations:
            return
        await self._operate()

    def _back_up(self) -> None:
        self.backup = self.stores[0].copy()
        self.stores.append(self.backup)

    def fleet(self, orchestrator: Orchestrator) -> Fleet:
        machines = self.world.machines
        return Fleet(self.file, lambda entry: SimNode(machines[entry.name], orchestrator))

    def journal(self, store: MemoryStore, orchestrator: Orchestrator, locks: bool = True) -> Journal:
        return Journal(OrchestratorStore(store, orchestrator, locks), self.world.clock.wall_ms)

    async def _first(self) -> None:
        me = self.orchestrators[0]
        await self._as(me, self._move(me, self.stores[0], "run-a", "n2"))

    async def _second_orchestrator(self, begin: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(60):
                await begin.wait()
        except TimeoutError:
            return
        me = self.orchestrators[1]
        if me.dead:
            return
        if self.scenario.second == "duel":
            await self._as(me, self._move(me, self.stores[1], "run-b", f"n{self.scenario.nodes}"))
        elif self.scenario.second == "rival":
            await self._as(me, self._move(me, self.stores[1], "run-b", "n2", self.names[-1]))
        elif self.stores[0].runs():
            journal = self.journal(self.stores[0], me, locks=False)
            await self._as(me, resume_run(self.fleet(me), journal, journal.runs()[0], _silent))

    async def _as(self, orchestrator: Orchestrator, work: Coroutine[Any, Any, Any]) -> None:
        """Lets an orchestrator do its work, to whatever end."""
        try:
            await work
        except MigratorError as error:
            self.world.say(f"{orchestrator.name} ends with {error.exit_code}: {error}")
        except Killed:
            self.world.say(f"{orchestrator.name} is dead")

    async def _move(self, me: Orchestrator, store: MemoryStore, run: str, target: str, name: str = "") -> None:
        fleet, journal = self.fleet(me), self.journal(store, me)
        cluster = await fleet.probe()
        if self.scenario.drained:
            empties = [f"n{number + 1}" for number in range(self.scenario.drained)]
            plan = drain(cluster, empties, "-", PlanPolicy())
            if not isinstance(plan, Plan):
                raise NeedsOperator("no plan")
        else:
            plan = plan_single(fleet, cluster, name or self.names[0], target)
        _, result = await start_run(fleet, journal, plan, self.policy, "sim", _silent, run)
        for failed, error in result.failed.items():
            self.world.say(f"{me.name}: {failed} failed with {error.exit_code}: {error}")

    # --- the operator -------------------------------------------------------------------------------------------------

    async def _operate(self) -> None:
        """Comes when it is over, heals everything, and resumes until it is settled; then once more."""
        scenario, world = self.scenario, self.world
        if scenario.patience_s:
            await asyncio.sleep(scenario.patience_s)
            self.watch.all()
        if scenario.early:
            await self._settle_all(back=scenario.back)
            await self._say_who_is_off()
        self.strikes.heal()
        if self.backup is not None:
            await self._resume_from_backup(self.backup)
        for number in range(ROUNDS):
            self.stuck = {}
            if await self._settle_all(back=scenario.back and number == 0) or world.violations:
                break
        if self.stuck and self.backup is None:
            await self._settle_by_word()
        await self._start_what_ended()
        if world.violations:
            return
        before = invariants.fingerprint(world)
        await self._settle_all(back=False, only_final=not self.stuck)
        if invariants.fingerprint(world) != before:
            changed = set(before).symmetric_difference(invariants.fingerprint(world))
            world.violate(f"a second resume changes something: {sorted(changed)[0]}")
        self.watch.all()
        invariants.at_end(world, self.stuck, self.backup is not None)

    async def _settle_all(self, back: bool, only_final: bool = False) -> bool:
        """Resumes (or rolls back) every run that has not come to an end. Whether all have."""
        ended = True
        for store in self.stores[:2]:
            for run in store.runs():
                if run.outcome is not None and not self._open(store, run.id) and not only_final:
                    continue
                if only_final and run.outcome != "done":
                    continue
                me = Orchestrator(f"operator{self.world.steps}", self.world)
                journal = self.journal(store, me)
                act = rollback_run if back and run.outcome != "done" else resume_run
                try:
                    result = await act(self.fleet(me), journal, journal.run(run.id), _silent)
                    failed = result.failed
                except MigratorError as error:
                    failed = {"": error}
                for name, failure in failed.items():
                    self.world.say(f"operator: {run.id} {name} ended with {failure.exit_code}: {failure}")
                    self._note(failure)
                if self._open(store, run.id):
                    ended = False
        return ended

    def _note(self, error: MigratorError) -> None:
        if isinstance(error, NeedsOperator):
            for name in self.names:
                if f"container {name} " in str(error):
                    self.stuck[name] = str(error)

    async def _say_who_is_off(self) -> None:
        """A node has lost its power, and the operator keeps the other one's copy without waiting for it."""
        dead = [name for name, machine in self.world.machines.items() if machine.ram is None]
        for name in list(self.stuck):
            for keep in self.world.machines:
                if len(dead) == 1 and keep not in dead and await self._settle(name, keep):
                    break

    async def _settle_by_word(self) -> None:
        """Nobody can know, so the operator decides: for the target, if that can be kept, else for the source."""
        for name in list(self.stuck):
            keeps = ["n2", "n1"] if self.scenario.seed % 2 else ["n1", "n2"]
            for keep in [*keeps, *(node for node in self.world.machines if node not in keeps)]:
                if await self._settle(name, keep):
                    del self.stuck[name]
                    break

    async def _settle(self, name: str, keep: str) -> bool:
        """Whether the container could be settled to run there; says in writing whatever has to be said."""
        me = Orchestrator(f"settler{self.world.steps}", self.world)
        for store in self.stores[:2]:
            fleet, journal, wish = self.fleet(me), self.journal(store, me), Wish(name, keep)
            if not journal.migrations_of(name):
                continue
            try:
                case = await examine(fleet, journal, wish)
                if case.word:
                    self.world.truths[name].word = case.word
                    self.world.truths[name].loss = self.world.truths[name].loss or case.word
                self.world.say(f"operator: settle {name} --keep {keep} --word {case.word!r}")
                await settle(fleet, journal, replace(wish, word=case.word), "sim")
            except MigratorError as error:
                self.world.say(f"operator: settle {name} --keep {keep} ended with {error.exit_code}: {error}")
                if error.exit_code in (Refused.exit_code, BadInput.exit_code):
                    self.world.truths[name].word = ""
                    continue
            return True
        return False

    @staticmethod
    def _open(store: MemoryStore, run: str) -> bool:
        """Whether a migration of the run has not come to its end; from the bare events."""
        return any(
            not any(str(event.state) in invariants.FINAL for event in store.events(migration.id))
            for migration in store.migrations(run)
        )

    async def _resume_from_backup(self, backup: MemoryStore) -> None:
        """Somebody restores an old journal and resumes from it: one that is older than the world changes nothing."""
        older, before = invariants.older_than_the_world(self.world, backup), invariants.fingerprint(self.world)
        for run in backup.runs():
            me = Orchestrator("restored", self.world)
            await self._as(me, resume_run(self.fleet(me), self.journal(backup, me), run, _silent))
        if older and invariants.fingerprint(self.world) != before:
            self.world.violate("a journal older than the world has changed it")

    async def _start_what_ended(self) -> None:
        """A boot's work: containers whose record says they run here and whose processes have gone with a fault."""
        for machine in self.world.machines.values():
            for ct, record in list(machine.disk.records.items()):
                if record.state in ("serving", "stopped") and record.run == "-" and machine.copy(ct) is None:
                    if not self.world.truths[ct].loss:
                        continue  # nothing explains that it does not run: told at the end
                    me = Orchestrator("boot", self.world)
                    await self._as(me, self.fleet(me).node(machine.name).call("ct-start", ct))


def _silent(*_: object) -> None:
    """Nobody looks on."""


_CLUSTERS: dict[tuple[str, ...], ClusterFile] = {}


def cluster_of(names: list[str]) -> ClusterFile:
    """The cluster file of simulated nodes, validated once for each set of names."""
    key = tuple(names)
    if key not in _CLUSTERS:
        _CLUSTERS[key] = ClusterFile(name="sim", nodes=[NodeEntry(name=name) for name in names])
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


def place(world: World, machine: Machine, ct: Descriptor) -> None:
    """Puts a running container on a machine."""
    world.truths[ct.name] = Truth(ct.name)
    tree = Tree(1, ct.template, ct.id_base, dict(bundle.files(ct, "kit", "br0", ("memory", "cpu"))))
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
