"""A simulated node: what lies on its disk, what is lost with its power, its lock, its records, its jobs.

It stands for what `runtime/kit/lib.sh` rests on. A verb is a coroutine that passes through moments (`step`), at each
of which the node may crash, hang, or be asked something else; what is written to `disk` stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from migrator.sim.move_dir import MoveDir
from migrator.sim.world import Copy, World

LOCK_WAIT_S = 20
KILL_WAIT_S = 60


class Exit(Exception):
    """A verb ends: 10 refused, 11 not there, 12 impossible now, else a failure."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def refuse(message: str) -> Exit:
    return Exit(10, message)


@dataclass(frozen=True, slots=True)
class Record:
    """What a node keeps of a container; see read_record in lib.sh."""

    state: str = "absent"
    token: int = 0
    generation: int = 0
    boot: str = "-"
    run: str = "-"
    role: str = "-"
    deadline_s: int = 0
    memory_bytes: int = 0
    cpu_milli: int = 0
    disk_bytes: int = 0
    void: int = 0  # the token whose fence has ended
    armed: str = "no"
    holder: str = "-"
    cold: str = "no"  # of a move by restart


ABSENT = Record()


@dataclass(slots=True)
class Tree:
    """A container's directory: its own files as one stamp, and what describes it by name."""

    stamp: int
    template: str
    id_base: int
    bundle: dict[str, bytes] = field(default_factory=dict)
    durable: bool = True  # False: received, and not yet synced to the disk

    def text(self, name: str) -> str:
        return self.bundle.get(name, b"").decode()


@dataclass(slots=True)
class Link:
    """The one ssh connection of a migration, from its source to its target."""

    target: str
    target_boot: str
    alive: bool = True


@dataclass(slots=True)
class Job:
    """A job's directory: alive while its task is, then its exit code and output."""

    task: asyncio.Task[None] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None
    out: str = ""
    err: str = ""

    @property
    def alive(self) -> bool:
        return not self.done.is_set()


JobKey = tuple[str, int, str]  # container, token, name
MoveKey = tuple[str, int]


@dataclass(slots=True)
class Disk:
    records: dict[str, Record] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    parts: dict[MoveKey, str] = field(default_factory=dict)
    keys: dict[MoveKey, float] = field(default_factory=dict)  # let in until this second
    floors: dict[str, int] = field(default_factory=dict)  # the highest token of each removed record
    cordon: str | None = None
    mounted: dict[str, str] = field(default_factory=dict)  # which storage stands at a path
    full: bool = False


@dataclass(slots=True)
class Ram:
    """What a power loss takes away. `gates` has a container's cable, and whether it is open."""

    boot: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    jobs: dict[JobKey, Job] = field(default_factory=dict)
    keepers: dict[str, Job] = field(default_factory=dict)
    moves: dict[MoveKey, MoveDir] = field(default_factory=dict)
    keys: set[MoveKey] = field(default_factory=set)
    links: dict[MoveKey, Link] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)
    gates: dict[str, bool] = field(default_factory=dict)
    held_back: set[str] = field(default_factory=set)  # containers that no new connection reaches
    frozen: set[str] = field(default_factory=set)  # groups, whether or not anything is left in them
    # In the order in which they began: a set of tasks has another order in each process, and a seed would play anew.
    processes: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    verbs: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    receivers: int = 0  # how many there have been, for their names
    fail_restore: int = 0
    fail_release: int = 0
    fail_dump: int = 0


class Machine:
    """One node. `ram` is None while it is down."""

    def __init__(self, world: World, name: str, cpus: int, memory_bytes: int, disk_bytes: int) -> None:
        self.world = world
        self.name = name
        self.cpus, self.memory_bytes, self.disk_bytes = cpus, memory_bytes, disk_bytes
        self.disk = Disk()
        self.ram: Ram | None = None
        self.boots = 0
        self.hung_until_s = 0.0
        self.skew_s = 0.0  # of its wall clock, by which keys end; timers go by the time since boot
        self.boot()

    # --- power ----------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        if self.ram is None:
            self.boots += 1
            self.ram = Ram(f"{self.name}-boot-{self.boots}")
            self.world.say(f"{self.name} is up")
            if self.disk.records:
                from migrator.sim.restart import boot  # noqa: PLC0415   (which is made of machines)

                self.spawn(boot(self))

    def crash(self) -> None:
        """Power is lost: nothing that ran has any further effect, and what was not synced is damaged."""
        if self.ram is None:
            return
        self.world.say(f"{self.name} loses power")
        ram, self.ram = self.ram, None
        for process in list(ram.processes):
            process.cancel()
        for job in ram.jobs.values():
            job.done.set()
        for tree in self.disk.trees.values():
            if not tree.durable:
                tree.stamp, tree.durable = -1, True
        for copy in ram.copies.values():
            self.world.end(copy, f"{self.name} lost power", gate_open=False)

    @property
    def up(self) -> Ram:
        """What runs here; only called from code that runs here, and so is there."""
        if self.ram is None:
            raise asyncio.CancelledError
        return self.ram

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A process on this node: it ends with the node's power, and with nothing else."""
        ram = self.up
        task = asyncio.get_running_loop().create_task(work)
        ram.processes[task] = None
        task.add_done_callback(lambda done: ram.processes.pop(done, None))
        return task

    def serve(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A verb's own process, which may also be killed alone, by a kernel that is out of memory."""
        verbs = self.up.verbs
        task = self.spawn(work)
        verbs[task] = None
        task.add_done_callback(lambda done: verbs.pop(done, None))
        return task

    async def step(self, what: str = "") -> None:
        """A moment between two effects; a node that hangs lets nothing pass until it comes back."""
        await self.world.moment(self.name, what)
        while self.hung_until_s > (now_s := self.world.clock.now_s()):  # it may be made longer meanwhile
            await asyncio.sleep(self.hung_until_s - now_s)

    # --- the lock and the records -----------------------------------------------------------------------------------

    async def lock(self) -> asyncio.Lock:
        """Takes the node's lock or gives up; used as `async with await m.lock()`-like pairs by `locked`."""
        lock = self.up.lock
        try:
            async with asyncio.timeout(LOCK_WAIT_S):
                await lock.acquire()
        except TimeoutError:
            raise Exit(12, "the node is busy: its lock was held for 20 s") from None
        return lock

    def locked(self) -> _Locked:
        return _Locked(self)

    def record(self, ct: str) -> Record:
        return self.disk.records.get(ct, ABSENT)

    async def write_record(self, ct: str, record: Record, in_place: bool = False) -> None:
        """Replaced whole, and durable when this returns; a full disk leaves the old one, unless written in place."""
        await self.step("write record")
        if self.disk.full and not in_place:
            raise Exit(1, f"records/.{ct}.new: No space left on device")
        self.disk.records[ct] = record
        self.world.changed(ct, f"{self.name}: record {ct} {record.state} token={record.token} run={record.run}")
        await self.step("record written")

    async def remove_record(self, ct: str, token: int) -> None:
        await self.raise_floor(ct, max(token, self.record(ct).token))
        await self.step("remove record")
        self.disk.records.pop(ct, None)
        self.world.changed(ct, f"{self.name}: record {ct} removed")

    async def raise_floor(self, ct: str, token: int) -> None:
        """A node never forgets which tokens it has seen of a removed record."""
        await self.step("raise floor")
        self.disk.floors[ct] = max(token, self.disk.floors.get(ct, 0))

    def check_run(self, ct: str, token: int) -> Record:
        """For verbs that belong to a move: once it is settled not even its own token does anything."""
        record = self.check_token(ct, token)
        if record.run == "-":
            raise refuse(f"container {ct} is held by no run any more; token {token} may change nothing")
        return record

    def check_token(self, ct: str, token: int, run: str = "") -> Record:
        """The record, if the token is its own; what takes a move back names its run and its holder as well."""
        record = self.record(ct)
        if record.token == token and run in ("", record.run, f"{record.run}/{record.holder}"):
            return record
        if record.state == "absent":
            raise refuse(f"container {ct} is not known here; token {token} holds nothing")
        raise refuse(
            f"container {ct} is held by run {record.run} with token {record.token}; token {token} may change nothing"
        )

    # --- jobs -------------------------------------------------------------------------------------------------------

    def start_job(self, key: JobKey, body: Callable[[], Awaitable[str]]) -> Job:
        job = Job()
        self.up.jobs[key] = job
        job.task = self.spawn(self._job_main(job, body))
        job.task.add_done_callback(lambda _: job.done.set())  # also when it was ended before it began
        return job

    @staticmethod
    async def _job_main(job: Job, body: Callable[[], Awaitable[str]]) -> None:
        try:
            job.out = await body()
            job.code = 0
        except Exit as error:
            job.code, job.err = error.code, str(error)

    async def kill_job(self, key: JobKey) -> None:
        """Ends a job and waits until nothing of it lives."""
        job = self.up.jobs.get(key)
        if job is None:
            return
        if job.alive and job.task is not None:
            job.task.cancel()
            await job.done.wait()
        self.up.jobs.pop(key, None)

    async def kill_jobs(self, ct: str) -> None:
        for key in [key for key in self.up.jobs if key[0] == ct]:
            await self.kill_job(key)

    async def await_job(self, ct: str, name: str) -> None:
        """Waits for jobs of that name, of whatever token, to end by themselves; ends them only after a minute."""
        for key in [
            key for key in self.up.jobs if key[0] == ct and key[2].rstrip("0123456789") in (name, f"pre-{name}")
        ]:
            job = self.up.jobs[key]
            try:
                async with asyncio.timeout(KILL_WAIT_S):
                    await job.done.wait()
            except TimeoutError:
                await self.kill_job(key)

    # --- containers ---------------------------------------------------------------------------------------------------

    def copy(self, ct: str) -> Copy | None:
        return self.up.copies.get(ct)

    def gate_is_open(self, ct: str) -> bool:
        return self.up.gates.get(ct, False)

    def set_gate(self, ct: str, is_open: bool) -> None:
        if ct in self.up.gates:
            self.up.gates[ct] = is_open
            self.world.changed(ct, f"{self.name}: gate of {ct} {'open' if is_open else 'closed'}")

    def end_copy(self, ct: str, cause: str = "code") -> None:
        """Kills a container's processes, and its cable goes with its namespace."""
        copy = self.up.copies.pop(ct, None)
        if cause == "code":
            self.up.frozen.discard(ct)
        is_open = self.gate_is_open(ct)
        self.up.gates.pop(ct, None)
        if copy is not None:
            self.world.end(copy, cause, is_open)

    def stop_copy(self, ct: str) -> None:
        """Ends what is left of a container that is stopped for a move: from here on it is its files."""
        copy = self.up.copies.pop(ct, None)
        self.up.frozen.discard(ct)
        self.up.gates.pop(ct, None)
        if copy is not None:
            self.world.stop(copy)

    def copy_dies(self, ct: str, cause: str) -> None:
        """A program ends by itself, or the kernel ends it; a restore that held it ends too, a moment later."""
        copy = self.copy(ct)
        if copy is None:
            return
        self.world.freeze(copy)
        was_held = copy.mode == "held"
        self.end_copy(ct, cause)
        for key, move in self.up.moves.items():
            if was_held and key[0] == ct and move.go is not None and not move.go.done():
                move.go.set_result("kill")

    def is_held(self, ct: str) -> bool:
        """Whole, not only there."""
        copy = self.copy(ct)
        return copy is not None and any(
            move.held == copy.processes and not move.ended and not move.lost
            for key, move in self.up.moves.items()
            if key[0] == ct
        )

    def memory_follows(self, ct: str) -> bool:
        """Whether pages are still to come here, or to go from here: then a lease leaves them their way."""
        return self.record(ct).state in ("sealed", "held", "released") and any(
            move.unfilled for key, move in self.up.moves.items() if key[0] == ct
        )

    def remove_tree(self, ct: str) -> None:
        tree = self.disk.trees.pop(ct, None)
        if tree is not None:
            self.world.tree_removed(ct, tree.stamp, self.name)

    def edit(self, record: Record, **changes: Any) -> Record:
        return replace(record, **changes)


class _Locked:
    """`async with machine.locked():` the node's one lock."""

    __slots__ = ("_lock", "_machine")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        await self._machine.step("lock")
        self._lock = await self._machine.lock()

    async def __aexit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
