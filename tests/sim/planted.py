"""Bugs, put in on purpose: each is what somebody could have written, and the simulator has to find it.

Product bugs replace a piece of the executor, the protocol or the journal; node bugs replace a verb's behaviour, and
stand for the same mistake in the kit. Each names the laws that it is known by: another law broken, or an error on the
way, is not it. Nothing here is shipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from migrator.executor import recover as recovery
from migrator.executor import saga
from migrator.executor.outcome import Ends
from migrator.executor.saga import Saga
from migrator.journal.events import Phase
from migrator.journal.memory import MemoryStore
from migrator.journal.store import Journal
from migrator.model.modes import Mode
from migrator.model.plan import Plan
from migrator.protocol import recovery as table
from migrator.protocol.recovery import Action, Verdict
from migrator.protocol.states import State
from migrator.sim import restart, verbs, verbs_lease, verbs_source, verbs_target
from migrator.sim.laws import Law
from migrator.sim.machine import Machine
from migrator.sim.restart import bring_up
from migrator.steps import AFTER_RELEASE, after_release, dump, release, remove, reserve, seal
from migrator.steps import restart as restarts
from migrator.steps.base import Move, run_job
from migrator.steps.dump import LAST_PASS
from migrator.transport.base import Answer

Patch = pytest.MonkeyPatch
Put = Callable[[Patch], None]


@dataclass(frozen=True)
class Bug:
    """What puts it in, and the laws of which it breaks at least one."""

    put: Put
    breaks: frozenset[Law]


PLANTED: dict[str, Bug] = {}


def planted(*breaks: Law) -> Callable[[Put], Put]:
    def enter(put: Put) -> Put:
        PLANTED[put.__name__.replace("_", " ")] = Bug(put, frozenset(breaks))
        return put

    return enter


def _commits_so(patch: Patch, commit: Callable[[Saga], Awaitable[None]]) -> None:
    patch.setattr(Saga, "_commit_and_release", commit)


# --- in the product -------------------------------------------------------------------------------------------------


@planted(Law.DECIDED)
def target_released_before_the_commit(patch: Patch) -> None:
    async def commit(self: Saga) -> None:
        await saga.RELEASE.do(self.move)
        self.journal.decide(self.move.id, self.move.token, State.COMMITTED)
        await self.release()

    _commits_so(patch, commit)


@planted(Law.ONE_RUNS)
def seal_skipped(patch: Patch) -> None:
    patch.setattr(saga, "FROZEN", tuple(step for step in saga.FROZEN if step is not seal.STEP))


@planted(Law.A_COPY_IS_LEFT)
def source_removed_before_the_release(patch: Patch) -> None:
    async def commit(self: Saga) -> None:
        self.journal.decide(self.move.id, self.move.token, State.COMMITTED)
        await remove.STEP.do(self.move)
        await self.release()

    _commits_so(patch, commit)


@planted(Law.NOTHING_LEFT)
def undo_forgotten(patch: Patch) -> None:
    patch.setattr(saga, "UNDO_ORDER", tuple(step for step in saga.UNDO_ORDER if step is not reserve.STEP))


@planted(Law.ANNOUNCED)
def journal_written_after_the_act(patch: Patch) -> None:
    async def step(self: Saga, step: Any, then: Any = None) -> None:
        result = await step.do(self.move)
        self.move.results[step.state] = result
        self.journal.record(self.move.id, (step.state, Phase.BEGIN, {}), (step.state, Phase.END, result))

    patch.setattr(Saga, "step", step)


@planted(Law.DECIDED)
def thaw_without_aborted(patch: Patch) -> None:
    before = Saga._failed

    async def failed(self: Saga, error: BaseException) -> None:
        if self.journal.progress(self.move.id).decision is None:
            await saga.UNDO_ORDER[0].undo(self.move)
        await before(self, error)

    patch.setattr(Saga, "_failed", failed)


@planted(Law.NEWEST)
def last_pass_of_files_forgotten(patch: Patch) -> None:
    async def nothing(m: Machine, ct: str, token: str, number: str) -> str:
        if number == "final":
            return "bytes 0\nsent 0\nms 0\n"
        return await verbs_source.send_files(m, ct, token, number)

    patch.setitem(verbs.JOBS, "send-files", nothing)


@planted(Law.NEWEST)
def sync_not_awaited(patch: Patch) -> None:
    async def started(move: Move) -> Answer:
        await dump.start_last_pass(move)
        return Answer("n1", dump.LAST_PASS, "bytes 0\nsent 0\nms 0\n")

    patch.setattr(dump, "last_pass", started)


@planted(Law.A_COPY_IS_LEFT)
def a_verified_copy_is_discarded_without_asking_for_the_source(patch: Patch) -> None:
    async def surely(self: Saga) -> bool:
        return True

    patch.setattr(Saga, "_may_abort", surely)


@planted(Law.ONE_RUNS, Law.NEWEST)
def recovery_takes_a_silent_target_for_a_dead_one(patch: Patch) -> None:
    before = table._committed

    def committed(source: Any, target: Any) -> Verdict:
        if target is None and source is not None and source.state == "sealed" and source.alive:
            return Verdict(Action.REVOKE, "the target does not answer")
        return before(source, target)

    patch.setattr(table, "_committed", committed)


@planted(Law.ONE_RUNS)
def recovery_commits_a_fenced_source(patch: Patch) -> None:
    before = table._undecided

    def undecided(verified: bool, source: Any, target: Any) -> Verdict:
        if source is not None and target is not None and target.held and source.state in ("fenced", "serving"):
            return Verdict(Action.COMMIT, "the target holds it")
        return before(verified, source, target)

    patch.setattr(table, "_undecided", undecided)


@planted(Law.A_COPY_IS_LEFT)
def recovery_does_not_compare_late(patch: Patch) -> None:
    async def never(*_: Any) -> bool:
        return False

    patch.setattr(recovery, "_verified_late", never)


@planted(Law.NOTHING_LEFT)
def a_refused_undo_of_a_silent_side_counts_as_done(patch: Patch) -> None:
    before = Saga.roll_back

    async def roll_back(self: Saga, unreached: Any = ()) -> None:
        await before(self)

    patch.setattr(Saga, "roll_back", roll_back)


@planted(Law.CONVERGES)
def two_attempts_with_one_token(patch: Patch) -> None:
    def add_migration(self: MemoryStore, migration: Any) -> bool:
        self._migrations[migration.id] = migration
        self._of_run[migration.run].append(migration.id)
        self._events[migration.id] = []
        return True

    patch.setattr(MemoryStore, "add_migration", add_migration)
    patch.setattr(Journal, "token_max", lambda self, container: 0)


@planted(Law.DECIDED)
def an_undo_that_does_not_name_its_run(patch: Patch) -> None:
    before = Machine.check_token
    patch.setattr(Machine, "check_token", lambda self, ct, token, run="": before(self, ct, token))


# --- on the nodes -----------------------------------------------------------------------------------------------------


@planted(Law.ONE_RUNS)
def target_not_held(patch: Patch) -> None:
    async def restore(m: Machine, ct: str, token: str, way: str) -> str:
        move = m.up.moves[(ct, int(token))]
        task = m.spawn(verbs_target.restore(m, ct, token, way))
        await move.woke.wait()
        if move.go is not None and not move.go.done():
            move.go.set_result("go")
        await task
        return ""

    patch.setitem(verbs.JOBS, "restore", restore)


@planted(Law.ANNOUNCED, Law.DECIDED)
def token_not_checked(patch: Patch) -> None:
    patch.setattr(Machine, "check_token", lambda self, ct, token, run="": self.record(ct))
    patch.setattr(Machine, "check_run", lambda self, ct, token: self.record(ct))


@planted(Law.LEDGER)
def ledger_not_asked(patch: Patch) -> None:
    async def reserve(m: Machine, ct: str, token: str, memory: str, cpu: str, disk: str, *caps: str) -> str:
        return await verbs_lease.reserve(m, ct, token, memory, cpu, disk, *("9" * 15 for _ in caps))

    patch.setitem(verbs.VERBS, "reserve", reserve)


@planted(Law.NEWEST)
def fence_taken_again_after_the_watchdog(patch: Patch) -> None:
    async def fence(m: Machine, ct: str, token: str, deadline_s: str) -> str:
        if ct in m.disk.records:
            m.disk.records[ct] = m.edit(m.record(ct), void=0)
        return await verbs_source.fence(m, ct, token, deadline_s)

    patch.setitem(verbs.VERBS, "fence", fence)


@planted(Law.NOTHING_LEFT)
def floor_forgotten(patch: Patch) -> None:
    async def forget(self: Machine, ct: str, token: int) -> None:
        """The node remembers nothing of a removed record."""

    patch.setattr(Machine, "raise_floor", forget)


@planted(Law.OLD_JOURNAL)
def an_old_journal_is_not_noticed(patch: Patch) -> None:
    patch.setattr(table, "ahead", lambda known, source, target: "")


@planted(Law.DEADLINE)
def watchdog_that_is_late(patch: Patch) -> None:
    before = verbs_source.watchdog

    async def late(m: Machine, ct: str, deadline_s: float) -> str:
        return await before(m, ct, deadline_s + 50)

    patch.setattr(verbs_source, "watchdog", late)


@planted(Law.NOTHING_LEFT)
def key_not_removed(patch: Patch) -> None:
    patch.setattr(verbs_lease, "revoke_keys", lambda m, ct: None)


@planted(Law.CONNECTION)
def network_left_open_while_killing(patch: Patch) -> None:
    before = Machine.end_copy

    def end_copy(self: Machine, ct: str, cause: str = "code") -> None:
        if cause == "code" and self.copy(ct) is not None:
            self.up.gates[ct] = True
        before(self, ct, cause)

    patch.setattr(Machine, "end_copy", end_copy)


@planted(Law.DEADLINE)
def watchdog_that_never_fires(patch: Patch) -> None:
    async def sleeps(m: Machine, ct: str, deadline_s: float) -> str:
        return ""

    patch.setattr(verbs_source, "watchdog", sleeps)


@planted(Law.DECIDED)
def watchdog_that_ignores_the_seal(patch: Patch) -> None:
    async def end_none(m: Machine, ct: str) -> None:
        """The seal leaves it running."""

    async def watchdog(m: Machine, ct: str, deadline_s: float) -> str:
        await asyncio.sleep(deadline_s)
        async with m.up.lock:
            record = m.record(ct)
            if record.state in ("fenced", "sealed"):
                await verbs_source.give_back(m, ct, record)
        return ""

    patch.setattr(verbs_source, "end_watchdogs", end_none)
    patch.setattr(verbs_source, "watchdog", watchdog)


@planted(Law.ONE_RUNS)
def fence_believes_its_record(patch: Patch) -> None:
    async def fence(m: Machine, ct: str, token: str, deadline_s: str) -> str:
        if m.record(ct).state == "fenced":
            return "frozen_at_ms 1\nquiet_ms 0\nunsent 0\nfenced already\n"
        return await verbs_source.fence(m, ct, token, deadline_s)

    patch.setitem(verbs.VERBS, "fence", fence)
    patch.setattr(verbs_source, "check_fenced", lambda m, ct: None)


@planted(Law.ANNOUNCED, Law.NOTHING_LEFT)
def late_commands_of_a_settled_move_count(patch: Patch) -> None:
    patch.setattr(Machine, "check_run", lambda self, ct, token: self.check_token(ct, token))


@planted(Law.ONE_RUNS)
def discard_lets_the_held_copy_go(patch: Patch) -> None:
    before = verbs_target._say

    async def say(m: Machine, ct: str, word: str, wait_s: float) -> None:
        await before(m, ct, "go", wait_s)

    patch.setattr(verbs_target, "_say", say)


@planted(Law.A_COPY_IS_LEFT)
def start_without_asking_the_record(patch: Patch) -> None:
    before = Machine.boot

    def boot(self: Machine) -> None:
        was_down = self.ram is None
        before(self)
        for ct, tree in self.disk.trees.items():
            if was_down and tree.stamp >= 0:
                restart.bring_up(self, ct)

    patch.setattr(Machine, "boot", boot)


@planted(Law.NEWEST)
def files_not_synced_before_the_source_goes(patch: Patch) -> None:
    async def send_files(m: Machine, ct: str, token: str, number: str) -> str:
        answer = await verbs_source.send_files(m, ct, token, number)
        for other in m.world.machines.values():
            if other is not m and ct in other.disk.trees:
                other.disk.trees[ct].durable = False
        return answer

    patch.setitem(verbs.JOBS, "send-files", send_files)


@planted(Law.ONE_RUNS)
def a_lease_that_two_may_have(patch: Patch) -> None:
    """Whoever names the run and the number has it: two who end one run at one moment by copies of its journal do."""

    async def lease(m: Machine, ct: str, expect: str, new: str, run: str, holder: str = "-") -> str:
        return await verbs_lease.lease(m, ct, expect, new, run)

    patch.setitem(verbs.VERBS, "lease", lease)
    before = Machine.check_token
    patch.setattr(Machine, "check_token", lambda m, ct, token, run="": before(m, ct, token, run.partition("/")[0]))


@planted(Law.ONE_RUNS)
def a_sealed_source_comes_back_though_the_target_is_silent(patch: Patch) -> None:
    before = table.decide

    def decide(decision: State | None, verified: bool, source: Any, target: Any) -> Verdict:
        verdict = before(decision, verified, source, target)
        silent = decision is None and target is None and source is not None and source.state == "sealed"
        return Verdict(Action.ABORT, "planted") if silent and source.alive else verdict

    patch.setattr(table, "decide", decide)


# A lease ends the jobs of older tokens and their access, of which most of those jobs die too; what follows a take-over
# ends both again before anything rests on it. Neither bug costs a container so: a lease's own promise finds them.


@planted(Law.OLD_ENDS)
def kill_older_does_nothing(patch: Patch) -> None:
    async def nothing(*_: Any) -> None:
        """It goes on."""

    patch.setattr(verbs_lease, "kill_older", nothing)


@planted(Law.OLD_ENDS)
def a_take_over_that_leaves_access(patch: Patch) -> None:
    before = verbs_lease.end_access

    def end_access(m: Machine, ct: str, below: int | None = None) -> None:
        if below is None:
            before(m, ct)

    patch.setattr(verbs_lease, "end_access", end_access)


@planted(Law.CONVERGES)
def a_stop_over_is_taken_for_the_goal(patch: Patch) -> None:
    def over(self: Ends, plan: Plan) -> frozenset[str]:
        containers = {name.partition("#")[0] for name in self.moved | self.settled}
        return frozenset(move.name for move in plan.moves if move.container in containers)

    patch.setattr(Ends, "over", over)


@planted(Law.SITE_KNOWS)
def a_rollback_that_tells_the_site_nothing(patch: Patch) -> None:
    patch.setattr(saga.site, "may_be_told_wrong", lambda progress: False)


# --- in the restarters ----------------------------------------------------------------------------------------------


@planted(Law.A_COPY_IS_LEFT)
def boot_starts_what_was_on_the_move(patch: Patch) -> None:
    async def boot(m: Machine) -> str:
        for ct, record in list(m.disk.records.items()):
            await m.step("boot")
            if record.state in ("serving", "fenced", "sealed") and m.copy(ct) is None:
                restart.bring_up(m, ct)
        return ""

    patch.setattr(restart, "boot", boot)


@planted(Law.KEPT_UP)
def settle_makes_no_keeper(patch: Patch) -> None:
    patch.setattr(verbs_lease, "keeper_start", lambda m, ct: None)


@planted(Law.NEWEST)
def what_is_written_while_it_ends_stays_behind(patch: Patch) -> None:
    """By restart: the last pass is made before the container is stopped, and found done after it."""
    honest = restarts.stop

    async def stop(move: Move) -> dict[str, Any]:
        words = ("send-files", move.name, move.token, "final")
        await run_job(move.source.node, move, LAST_PASS, *words, timeout_s=15)
        return await honest(move)

    async def at_once(m: Machine, key: tuple[str, int]) -> None:
        """It waits for no fence."""

    patch.setattr(verbs_source, "_fenced", at_once)
    patch.setattr(restarts, "stop", stop)


@planted(Law.ONE_RUNS, Law.A_COPY_IS_LEFT)
def a_stopped_container_begins_beside_what_is_left_of_it(patch: Patch) -> None:
    async def begin_anew(m: Machine, ct: str) -> None:
        await m.step("begin anew")
        bring_up(m, ct)

    patch.setattr(verbs_source, "begin_anew", begin_anew)


@planted(Law.A_COPY_IS_LEFT)
def source_removed_before_what_rounds_brought_is_in_its_place(patch: Patch) -> None:
    def not_waited_for(move: Move) -> tuple[Any, ...]:
        return AFTER_RELEASE if move.mode is Mode.PRE_COPY else after_release(move)

    patch.setattr(saga, "after_release", not_waited_for)


@planted(Law.A_COPY_IS_LEFT)
def what_could_not_be_let_go_is_taken_for_what_has_run(patch: Patch) -> None:
    honest = release.do

    async def deaf(move: Move) -> dict[str, Any]:
        return {key: said for key, said in (await honest(move)).items() if key != "not_let_go"}

    patch.setattr(saga, "RELEASE", replace(release.STEP, do=deaf))
