"""One migration over two simulated nodes, stopped at a moment of the journal, so that a row of the table is set up."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from migrator.errors import MigratorError
from migrator.executor.runs import plan_single, resume_run, rollback_run, start_run
from migrator.executor.settle import Wish, settle
from migrator.journal.events import Event
from migrator.journal.memory import MemoryStore
from migrator.journal.store import Journal
from migrator.model.policy import Policy
from migrator.protocol.states import State
from migrator.sim import invariants
from migrator.sim.loop import VirtualLoop
from migrator.sim.scenario import Scenario
from migrator.sim.setting import build, silent
from migrator.sim.wire import Killed, Orchestrator, OrchestratorStore
from migrator.sim.world import Clock, World

CT = "ct0"


class KilledAt(OrchestratorStore):
    """Kills its orchestrator right after one event is in the journal: "fenced:end"."""

    moment = ""

    def append(self, migration: str, token: int | None, events: Sequence[Event]) -> bool:
        written = super().append(migration, token, events)
        for event in events:
            self._stop(event)
        return written

    def decide(self, migration: str, token: int, before: State | None, event: Event) -> bool:
        written = super().decide(migration, token, before, event)
        self._stop(event)
        return written

    def _stop(self, event: Event) -> None:
        if f"{event.state}:{event.phase}" == self.moment:
            self.orchestrator.die()
            raise Killed(self.moment)


def played(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test is played in its theatre's time, and fails by what was violated too."""

    @functools.wraps(test)
    def plays(theatre: Theatre, **given: Any) -> None:
        theatre.run(test(theatre=theatre, **given))

    return plays


class Theatre:
    """Nodes n1, with the container, and n2. Everything it does is judged as the simulator judges."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.world = World(Clock(self.loop), Random(1))
        self.setting = build(Scenario(seed=1), self.world)
        self.store = self.setting.stores[0]
        self.watch = invariants.Watch(self.world, self.setting.stores)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Plays to the end of `work`; what was violated fails the test."""
        self.loop.run(work)
        assert self.world.violations == []

    async def migrate_until(self, moment: str, deadline_s: float = 15) -> None:
        """Moves the container to n2, with an orchestrator that is killed at a moment of its journal."""
        me = Orchestrator("o0", self.world)
        store = KilledAt(self.store, me)
        store.moment = moment
        fleet, journal = self.setting.fleet(me), Journal(store, self.world.clock.wall_ms)
        try:
            plan = plan_single(fleet, await fleet.probe(), CT, "n2")
            await start_run(fleet, journal, plan, Policy(blackout_s_max=deadline_s), "sim", silent, "run-a")
        except Killed:
            pass
        assert me.dead or not moment

    async def resume(self, store: MemoryStore | None = None, back: bool = False) -> int:
        """Resumes (or rolls back) from a journal; returns the exit code."""
        me = Orchestrator("operator", self.world)
        journal = self.setting.journal(store or self.store, me)
        act = rollback_run if back else resume_run
        try:
            result = await act(self.setting.fleet(me), journal, journal.run("run-a"), silent)
        except MigratorError as error:
            return error.exit_code
        return result.exit_code

    async def settle(self, keep: str, word: str = "") -> int:
        """An operator decides; returns the exit code."""
        me = Orchestrator("operator", self.world)
        try:
            await settle(self.setting.fleet(me), self.setting.journal(self.store, me), Wish(CT, keep, word=word), "sim")
        except MigratorError as error:
            return error.exit_code
        return 0

    @property
    def outcome(self) -> str | None:
        """The word of the newest run."""
        return self.store.runs()[0].outcome

    def crash(self, node: str, boot: bool = True) -> None:
        self.world.machines[node].crash()
        if boot:
            self.boot(node)

    def boot(self, node: str) -> None:
        self.world.machines[node].boot()

    @property
    def runs_on(self) -> list[str]:
        return [copy.node for copy in self.world.copies(CT) if copy.mode == "running"]

    @property
    def decisions(self) -> list[str]:
        words = ("committed", "aborted", "revoked", "settled")
        (migration, *_) = self.store.migrations("run-a")
        return [str(event.state) for event in self.store.events(migration.id) if str(event.state) in words]

    @property
    def left(self) -> list[str]:
        return list(invariants.leftovers(self.world))

    def fingerprint(self) -> list[str]:
        return invariants.fingerprint(self.world)
