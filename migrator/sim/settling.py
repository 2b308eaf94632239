"""The operator who comes when a life is over: heals, resumes, settles what nobody can know, and then all is judged."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from migrator.errors import BadInput, MigratorError, NeedsOperator, Refused
from migrator.executor.runs import resume_run, rollback_run
from migrator.executor.settle import Wish, examine, settle
from migrator.journal.memory import MemoryStore
from migrator.sim import invariants
from migrator.sim.faults import Strikes
from migrator.sim.laws import Law
from migrator.sim.scenario import Scenario
from migrator.sim.setting import Setting, silent
from migrator.sim.wire import Orchestrator, to_whatever_end

ROUNDS = 4  # of resume after everything is healed


class Operator:
    """Whoever looks after the cluster. `stuck` has what was told as stuck, with the reason that was given."""

    def __init__(self, scenario: Scenario, setting: Setting, strikes: Strikes, watch: invariants.Watch) -> None:
        self.scenario = scenario
        self.setting = setting
        self.world = setting.world
        self.strikes = strikes
        self.watch = watch
        self.stuck: dict[str, str] = {}

    async def come(self) -> None:
        """Comes when it is over, heals everything, and resumes until it is settled; then once more."""
        scenario, world = self.scenario, self.world
        if scenario.patience_s:
            await asyncio.sleep(scenario.patience_s)
            self.watch.all()
        if scenario.early:
            await self._settle_all(back=scenario.back)
            await self._say_who_is_off()
        self.strikes.heal()
        if self.setting.backup is not None:
            await self._resume_from(self.setting.backup)
        for number in range(ROUNDS):
            self.stuck = {}
            if await self._settle_all(back=scenario.back and number == 0) or world.violations:
                break
        if self.stuck and self.setting.backup is None:
            await self._settle_by_word()
        await self._start_what_ended()
        if world.violations:
            return
        before = invariants.fingerprint(world)
        await self._settle_all(back=False, only_final=not self.stuck)
        if invariants.fingerprint(world) != before:
            changed = set(before).symmetric_difference(invariants.fingerprint(world))
            world.violate(Law.CONVERGES, f"a second resume changes something: {sorted(changed)[0]}")
        self.watch.all()
        invariants.at_end(world, self.stuck, self.setting.backup is not None)

    async def _settle_all(self, back: bool, only_final: bool = False) -> bool:
        """Resumes (or rolls back) every run that has not come to an end. Whether all have."""
        ended = True
        for store in self.setting.stores[:2]:
            for run in store.runs():
                if run.outcome is not None and not self._open(store, run.id) and not only_final:
                    continue
                if only_final and run.outcome != "done":
                    continue
                me = Orchestrator(f"operator{self.world.steps}", self.world)
                journal = self.setting.journal(store, me)
                act = rollback_run if back and run.outcome != "done" else resume_run
                try:
                    result = await act(self.setting.fleet(me), journal, journal.run(run.id), silent)
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
            for name in self.setting.containers:
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
        for store in self.setting.stores[:2]:
            fleet, journal, wish = self.setting.fleet(me), self.setting.journal(store, me), Wish(name, keep)
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

    async def _resume_from(self, backup: MemoryStore) -> None:
        """Somebody restores an old journal and resumes from it: one that is older than the world changes nothing."""
        older, before = invariants.older_than_the_world(self.world, backup), invariants.fingerprint(self.world)
        for run in backup.runs():
            me = Orchestrator("restored", self.world)
            await to_whatever_end(me, resume_run(self.setting.fleet(me), self.setting.journal(backup, me), run, silent))
        if older and invariants.fingerprint(self.world) != before:
            self.world.violate(Law.OLD_JOURNAL, "a journal older than the world has changed it")

    async def _start_what_ended(self) -> None:
        """A boot's work: containers whose record says they run here and whose processes have gone with a fault.

        A record that says stopped is an operator's own word, which no boot and no `ct start --all` overrules.
        """
        for machine in self.world.machines.values():
            for ct, record in list(machine.disk.records.items()):
                if record.state == "serving" and record.run == "-" and machine.copy(ct) is None:
                    if not self.world.truths[ct].loss:
                        continue  # nothing explains that it does not run: told at the end
                    me = Orchestrator("boot", self.world)
                    await to_whatever_end(me, self.setting.fleet(me).node(machine.name).call("ct-start", ct))
