"""A container that moves twice in one run: each of its moves is a migration of its own, and recovers like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from migrator.cli.report import run_json
from migrator.errors import Refused
from migrator.executor.outcome import StopOver, ends, stop_overs
from migrator.executor.runs import plan_of, resume_run, rollback_run, start_run
from migrator.executor.settle import Wish, settle
from migrator.journal.events import Event
from migrator.journal.store import Journal
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.planner.moves import move, way_back
from migrator.protocol.states import State
from migrator.sim import invariants
from migrator.sim.loop import VirtualLoop
from migrator.sim.play import play
from migrator.sim.scenario import Fault, Scenario
from migrator.sim.setting import build, silent
from migrator.sim.wire import Killed, Orchestrator
from migrator.sim.world import Clock, World
from tests.sim.theatre import KilledAt

RING = Scenario(seed=1, ring=2, nodes=3, containers=2)
GOALS = {"ct0": "n2", "ct1": "n1"}
WRITES = 85  # a few more than three migrations and their run need


class KilledIn(KilledAt):
    """Is killed at a moment of one migration alone."""

    migration = ""

    def append(self, migration: str, token: int | None, events: Sequence[Event]) -> bool:
        self.here = migration
        return super().append(migration, token, events)

    def decide(self, migration: str, token: int, before: State | None, event: Event) -> bool:
        self.here = migration
        return super().decide(migration, token, before, event)

    def _stop(self, event: Event) -> None:
        if self.here == self.migration:
            super()._stop(event)


class Ring:
    """Nodes n1 and n2, full, whose containers are to change places, and n3, which is free."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.world = World(Clock(self.loop), Random(1))
        self.setting = build(RING, self.world)
        self.store = self.setting.stores[0]
        self.watch = invariants.Watch(self.world, self.setting.stores)
        self.me = Orchestrator("operator", self.world)
        self.fleet = self.setting.fleet(self.me)
        self.journal = self.setting.journal(self.store, self.me)

    async def plan(self, goals: dict[str, str]) -> Plan:
        made = move(await self.fleet.probe(), goals, "-", PlanPolicy(), "move")
        assert isinstance(made, Plan)
        return made

    async def run_until(self, moment: str, of: str = "run-a/ct0/1") -> None:
        """Carries the exchange out, by an orchestrator that is killed at a moment of one migration's journal."""
        me = Orchestrator("o0", self.world)
        store = KilledIn(self.store, me)
        store.moment, store.migration = moment, of
        try:
            plan = await self.plan(GOALS)
            await start_run(self.setting.fleet(me), Journal(store), plan, Policy(), "sim", silent, "run-a")
        except Killed:
            pass
        assert me.dead

    @property
    def places(self) -> dict[str, str]:
        return {ct: m.name for m in self.world.machines.values() for ct in m.disk.records}

    @property
    def migrations(self) -> list[tuple[str, str, str, str, int, int]]:
        found = self.store.migrations("run-a")
        return [(m.id, m.move, m.source, m.target, m.token, m.generation) for m in found]


def test_each_move_is_a_migration_with_a_token_and_a_generation_of_its_own() -> None:
    ring = Ring()

    async def life() -> None:
        _, result = await start_run(ring.fleet, ring.journal, await ring.plan(GOALS), Policy(), "sim", silent, "run-a")
        assert (result.exit_code, result.moved) == (0, ["ct0", "ct1", "ct0#2"])

    ring.loop.run(life())
    assert ring.migrations == [
        ("run-a/ct0/1", "ct0", "n1", "n3", 2, 1),
        ("run-a/ct1/1", "ct1", "n2", "n1", 2, 1),
        ("run-a/ct0/2", "ct0#2", "n3", "n2", 3, 2),
    ]
    assert ring.places == GOALS
    assert ring.world.machines["n2"].disk.records["ct0"].generation == 3
    assert (ring.world.violations, list(invariants.leftovers(ring.world))) == ([], [])
    document = run_json(ring.journal, "run-a")
    assert [(m["container"], m["leg"], m["predicted"] is not None) for m in document["migrations"]] == [
        ("ct0", 1, True),
        ("ct1", 1, True),
        ("ct0", 2, True),
    ]
    assert (document["outcome"], document["stop_overs"]) == ("done", [])


@pytest.mark.parametrize("kind", ["kill-before-write", "kill-after-write"])
def test_from_every_prefix_of_the_journal_a_ring_is_turned_to_its_end(kind: str) -> None:
    loop = VirtualLoop()
    for at in range(2, WRITES):
        outcome = play(replace(RING, faults=(Fault(kind, at),)), loop)
        assert (outcome.violations, outcome.stuck, outcome.run) == ([], {}, "done"), at


@pytest.mark.parametrize("kind", ["kill-before-write", "kill-after-write"])
def test_from_every_prefix_of_the_journal_a_ring_is_rolled_back_with_everything_running_once(kind: str) -> None:
    loop, words = VirtualLoop(), set()
    for at in range(2, WRITES):
        outcome = play(replace(RING, back=True, early=True, faults=(Fault(kind, at),)), loop)
        assert (outcome.violations, outcome.stuck) == ([], {}), at
        words.add(outcome.run)
    assert words == {"cancelled", "rolled back", "done"}


def test_a_rollback_after_the_first_move_leaves_the_container_at_its_stop_over_and_says_so() -> None:
    ring = Ring()

    async def life() -> None:
        await ring.run_until("done:end")
        await rollback_run(ring.fleet, ring.journal, ring.journal.run("run-a"), silent)
        assert ring.places == {"ct0": "n3", "ct1": "n2"}
        run = ring.journal.run("run-a")
        assert run.outcome == "cancelled"
        assert stop_overs(plan_of(run)[0], ends(ring.journal, "run-a")) == (StopOver("ct0", "n3", "n2"),)
        assert run_json(ring.journal, "run-a")["stop_overs"] == [{"container": "ct0", "node": "n3", "goal": "n2"}]
        with pytest.raises(Refused):
            await resume_run(ring.fleet, ring.journal, run, silent)
        again = await ring.plan(GOALS)  # a plain new plan brings everything on
        assert [m.name for m in again.moves] == ["ct1", "ct0"]
        await start_run(ring.fleet, ring.journal, again, Policy(), "sim", silent, "run-b")

    ring.loop.run(life())
    assert ring.places == GOALS
    assert (ring.world.violations, list(invariants.leftovers(ring.world))) == ([], [])


def test_a_container_whose_second_move_is_under_way_is_not_told_as_left_at_its_stop_over() -> None:
    ring = Ring()

    async def life() -> None:
        await ring.run_until("sealed:end", of="run-a/ct0/2")
        assert run_json(ring.journal, "run-a")["stop_overs"] == []
        await resume_run(ring.fleet, ring.journal, ring.journal.run("run-a"), silent)
        assert run_json(ring.journal, "run-a")["outcome"] == "done"

    ring.loop.run(life())
    assert ring.places == GOALS


def test_what_stands_at_a_stop_over_is_brought_home_by_a_return() -> None:
    ring = Ring()

    async def life() -> None:
        await ring.run_until("done:end")
        await rollback_run(ring.fleet, ring.journal, ring.journal.run("run-a"), silent)
        plan = plan_of(ring.journal.run("run-a"))[0]
        wishes, notes = way_back(await ring.fleet.probe(), [(m.container, m.source, m.target) for m in plan.moves])
        assert (wishes, notes) == ({"ct0": "n1"}, ("container ct1 is on n2 already",))

    ring.loop.run(life())


def test_an_operator_who_settles_a_first_move_ends_the_second_too() -> None:
    ring = Ring()

    async def life() -> None:
        await ring.run_until("committed:end")
        ring.world.machines["n1"].crash()
        ring.world.machines["n3"].crash()
        for name in ("n1", "n3"):
            ring.world.machines[name].boot()
        ring.world.truths["ct0"].loss = "both ends crashed"
        wish = Wish("ct0", "n1", word="ct0 may lose its memory")
        try:
            await settle(ring.fleet, ring.journal, wish, "sim")
        except Refused as error:
            word = str(error).partition('--word "')[2].partition('"')[0]
            await settle(ring.fleet, ring.journal, Wish("ct0", "n1", word=word), "sim")
        found = ends(ring.journal, "run-a")
        plan = plan_of(ring.journal.run("run-a"))[0]
        assert found.settled == {"ct0"}
        assert found.over(plan) == {"ct0", "ct0#2"}
        assert stop_overs(plan, found) == ()

    ring.loop.run(life())
