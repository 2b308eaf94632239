"""An orchestrator in a simulated world: its calls to nodes, its writes to the journal, and its death.

A dead orchestrator has no effect any more: each of its calls and writes raises `Killed`, which nothing in the product
catches, so no line of its clean-up reaches a node or the journal. That is what kill -9 is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from migrator.errors import MigratorError
from migrator.journal.base import Migration, Run
from migrator.journal.events import Event
from migrator.journal.memory import MemoryStore
from migrator.protocol.states import State
from migrator.sim.machine import Exit, Machine
from migrator.sim.scenario import Fault
from migrator.sim.verbs import VERBS
from migrator.sim.world import World
from migrator.transport.base import Answer, NodeUnreachable, ended
from migrator.transport.retry import RetryingNode

T = TypeVar("T")
CONNECT_TIMEOUT_S = 6
KEEPALIVE_S = 15
LATE_S_MAX = 40


class Killed(BaseException):
    """This orchestrator is dead; whoever still runs in its name ends here."""


@dataclass(slots=True)
class Orchestrator:
    """One process of the program. `call_faults`, `write_faults` and `hook_faults` say what befalls its n-th."""

    name: str
    world: World
    host: str = "o0"  # where it runs: the end of its wires
    dead: bool = False
    stalled_until_s: float = 0.0
    calls: int = 0
    writes: int = 0
    call_faults: dict[int, Fault] = field(default_factory=dict)
    write_faults: dict[int, str] = field(default_factory=dict)
    hooks: int = 0
    hook_faults: dict[int, str] = field(default_factory=dict)
    runs_held: list[tuple[MemoryStore, str]] = field(default_factory=list)

    def alive(self) -> None:
        if self.dead:
            raise Killed(self.name)

    def die(self) -> None:
        if not self.dead:
            self.world.say(f"{self.name} is killed")
            self.dead = True
            for store, run in self.runs_held:  # the kernel lets go of its locks
                store.let_go(run)

    async def moment(self, what: str) -> None:
        """A moment of this process: it may be stopped for a while, and wake up in another world."""
        await self.world.moment(self.name, what)
        while self.stalled_until_s > (now_s := self.world.clock.now_s()):
            await asyncio.sleep(self.stalled_until_s - now_s)
        self.alive()


async def to_whatever_end(orchestrator: Orchestrator, work: Coroutine[Any, Any, Any]) -> None:
    """Lets an orchestrator do its work; its failure or death is told, and is no failure of whoever waits for it."""
    try:
        await work
    except MigratorError as error:
        orchestrator.world.say(f"{orchestrator.name} ends with {error.exit_code}: {error}")
    except Killed:
        orchestrator.world.say(f"{orchestrator.name} is dead")


class SimNode(RetryingNode):
    """A simulated node as one orchestrator reaches it."""

    def __init__(self, machine: Machine, orchestrator: Orchestrator) -> None:
        self.name = machine.name
        self.machine = machine
        self.orchestrator = orchestrator

    async def call_once(self, verb: str, args: list[str], stdin: bytes, timeout_s: float) -> Answer:
        o, m = self.orchestrator, self.machine
        o.alive()
        o.calls += 1
        planned = o.call_faults.pop(o.calls, None)
        fault = planned.kind if planned else ""
        await o.moment(verb)
        await self._reach(verb)
        o.world.say(f"{o.name} -> {m.name}: {verb} {' '.join(args)}{f'  ({fault})' if fault else ''}")
        if fault == "cut-before":
            raise self._lost(verb)
        if planned and fault == "late":  # the command has left, and arrives when nobody expects it any more
            m.spawn(_late(m, verb, args, stdin, planned.seconds or o.world.rng.random() ** 2 * LATE_S_MAX))
            raise self._lost(verb)
        process = m.serve(_serve(m, verb, args, stdin))
        if fault == "cut-mid":
            await asyncio.sleep(o.world.rng.random() * 0.05)
            o.alive()
            raise self._lost(verb)
        if fault == "twice":
            m.spawn(_late(m, verb, args, stdin, o.world.rng.random() * 0.2))
        done, _ = await asyncio.wait((process,), timeout=timeout_s)
        o.alive()
        if not done or process.cancelled():
            raise self._lost(verb)
        if not o.world.joined(o.host, m.name):
            await asyncio.sleep(KEEPALIVE_S)
            raise self._lost(verb)
        code, out, err = process.result()
        await o.moment(f"{verb} answered")
        if fault == "cut-after":
            raise self._lost(verb)
        if code:
            o.world.say(f"{o.name} <- {m.name}: {verb} ended with {code}: {err}")
        return ended(self.name, verb, code, out, err)

    async def host_key(self) -> tuple[str, str]:
        await self.orchestrator.moment("host key")
        await self._reach("host key")
        return "ssh-ed25519", "HOST"

    async def close(self) -> None:
        """Nothing is held open."""

    async def _reach(self, verb: str) -> None:
        o = self.orchestrator
        if self.machine.ram is None or not o.world.joined(o.host, self.name):
            await asyncio.sleep(CONNECT_TIMEOUT_S)
            o.alive()
            raise NodeUnreachable(self.name, verb, f"cannot connect to {self.name}: no answer")

    def _lost(self, verb: str) -> NodeUnreachable:
        self.orchestrator.world.say(f"{self.orchestrator.name} lost its connection to {self.name} during {verb}")
        return NodeUnreachable(self.name, verb, f"connection lost during {verb}: cut")


async def _serve(m: Machine, verb: str, args: list[str], stdin: bytes) -> tuple[int, str, str]:
    try:
        await m.step(verb)
        act = VERBS[verb]
        text = await (act(m, *args, stdin=stdin) if verb in ("ct-put", "ct-set") else act(m, *args))
    except Exit as error:
        return error.code, "", str(error)
    return 0, text, ""


async def _late(m: Machine, verb: str, args: list[str], stdin: bytes, after_s: float) -> None:
    await asyncio.sleep(after_s)
    m.world.say(f"{m.name}: {verb} {' '.join(args)} begins late, or again")
    code, _, err = await _serve(m, verb, args, stdin)
    m.world.say(f"{m.name}: late {verb} ended with {code} {err}")


class OrchestratorStore:
    """The journal as one orchestrator writes it; it may die before or after each write. See `journal.base.Store`."""

    def __init__(self, store: MemoryStore, orchestrator: Orchestrator, locks: bool = True) -> None:
        self.store = store
        self.orchestrator = orchestrator
        self.locks = locks  # False: another machine, which does not see the lock
        self.where = store.where

    def _write(self, act: Callable[..., T], *args: Any) -> T:
        o = self.orchestrator
        o.alive()
        o.writes += 1
        fault = o.write_faults.pop(o.writes, "")
        if fault == "before":
            o.die()
            raise Killed(o.name)
        result = act(*args)
        if fault == "after":
            o.die()
            raise Killed(o.name)
        return result

    def add_run(self, run: Run) -> None:
        self._write(self.store.add_run, run)

    def set_outcome(self, run: str, outcome: str) -> None:
        self._write(self.store.set_outcome, run, outcome)

    def add_migration(self, migration: Migration) -> bool:
        return self._write(self.store.add_migration, migration)

    def migrations_of(self, container: str) -> list[Migration]:
        self.orchestrator.alive()
        return self.store.migrations_of(container)

    def migration(self, migration: str) -> Migration:
        self.orchestrator.alive()
        return self.store.migration(migration)

    def worker(self, run: str) -> int | None:
        return self.store.worker(run)

    def raise_token(self, migration: str, token: int) -> bool:
        return self._write(self.store.raise_token, migration, token)

    def append(self, migration: str, token: int | None, events: Sequence[Event]) -> bool:
        world = self.orchestrator.world
        for event in events:
            world.say(f"{self.orchestrator.name} journal: {migration} {event.state} {event.phase}")
        return self._write(self.store.append, migration, token, events)

    def decide(self, migration: str, token: int, before: State | None, event: Event) -> bool:
        self.orchestrator.world.say(f"{self.orchestrator.name} journal: {migration} DECIDES {event.state}")
        return self._write(self.store.decide, migration, token, before, event)

    def runs(self) -> list[Run]:
        self.orchestrator.alive()
        return self.store.runs()

    def migrations(self, run: str) -> list[Migration]:
        self.orchestrator.alive()
        return self.store.migrations(run)

    def events(self, migration: str) -> list[Event]:
        self.orchestrator.alive()
        return self.store.events(migration)

    @contextmanager
    def working_on(self, run: str) -> Iterator[None]:
        self.orchestrator.alive()
        if not self.locks:
            yield
            return
        held = (self.store, run)
        with self.store.working_on(run):
            self.orchestrator.runs_held.append(held)
            try:
                yield
            finally:
                self.orchestrator.runs_held.remove(held)

    def close(self) -> None:
        """Nothing is held open."""
