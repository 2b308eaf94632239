"""A run in which several containers move over one link: their pauses come one after the other, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from migrator.cli.report import blackout_ms, waited_ms
from migrator.executor import turns
from migrator.executor.runner import RunResult
from migrator.executor.runs import resume_run, start_run
from migrator.journal.events import Phase
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.planner.drain import drain
from migrator.protocol.states import State
from migrator.sim.loop import VirtualLoop
from migrator.sim.scenario import Scenario
from migrator.sim.setting import build, silent
from migrator.sim.wire import Killed, Orchestrator
from migrator.sim.world import Clock, World
from migrator.steps import fence
from migrator.steps.base import Move
from tests.sim.theatre import KilledAt

ROUNDING_MS = 2


class Drain:
    """Node n1 with four containers, to be emptied, four moves at a time, over its one link."""

    def __init__(self, streams: bool = False) -> None:
        self.policy = Policy(moves_per_node_max=4)
        self.loop = VirtualLoop()
        self.world = World(Clock(self.loop), Random(1), streams=streams)
        self.setting = build(Scenario(seed=1, nodes=3, containers=4, streams=streams), self.world)
        self.store = self.setting.stores[0]
        self.me = Orchestrator("operator", self.world)
        self.fleet = self.setting.fleet(self.me)
        self.journal = self.setting.journal(self.store, self.me)

    async def plan(self) -> Plan:
        made = drain(await self.fleet.probe(), ["n1"], "-", PlanPolicy(moves_per_node_max=4))
        assert isinstance(made, Plan)
        return made

    async def run(self, overlapping_pauses: bool = False) -> RunResult:
        policy = replace(self.policy, overlapping_pauses=overlapping_pauses)
        _, result = await start_run(self.fleet, self.journal, await self.plan(), policy, "sim", silent, "run-a")
        return result

    @property
    def pauses_ms(self) -> list[tuple[int, int]]:
        """From the order to freeze until each was sealed and sent nothing more, in the order in which they began."""
        found = []
        for migration in self.store.migrations("run-a"):
            history = list(self.store.events(migration.id))
            at = {(e.state, e.phase): e.at_ms for e in history}
            if (State.RELEASED, Phase.END) in at and (lasted_ms := blackout_ms(history)) is not None:
                found.append((at[State.RELEASED, Phase.END] - lasted_ms, at[State.SEALED, Phase.END]))
        return sorted(found)

    @property
    def stood_ms(self) -> list[tuple[int, int]]:
        """From when each stood ready until it had its turn."""
        found = []
        for migration in self.store.migrations("run-a"):
            for event in self.store.events(migration.id):
                if event.state is State.FENCED and event.phase is Phase.BEGIN:
                    begun_ms = event.at_ms
                if event.state is State.FENCED and event.phase is Phase.END:
                    ready_ms = begun_ms + event.data["quiet_ms"]
                    found.append((ready_ms, ready_ms + event.data["turn_ms"]))
        return sorted(found)

    @property
    def places(self) -> dict[str, str]:
        return {ct: m.name for m in self.world.machines.values() for ct in m.disk.records}


def overlap(pauses_ms: list[tuple[int, int]]) -> bool:
    return any(later[0] < earlier[1] - ROUNDING_MS for earlier, later in pairwise(pauses_ms))


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_pauses_overlap_on_the_source_link_only_if_asked(asked: bool, streams: bool) -> None:
    scene = Drain(streams)

    async def life() -> None:
        assert (await scene.run(overlapping_pauses=asked)).exit_code == 0

    scene.loop.run(life())
    assert len(scene.pauses_ms) == 4
    assert overlap(scene.pauses_ms) == asked


def test_a_pause_that_is_long_enough_hands_its_link_over_before_its_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HAND_OVER_S_MIN", 0.0)
    scene = Drain(streams=True)

    async def life() -> None:
        assert (await scene.run()).exit_code == 0

    scene.loop.run(life())
    assert all(later[0] < earlier[1] for earlier, later in pairwise(scene.pauses_ms))
    assert all(later[0] > earlier[0] + ROUNDING_MS for earlier, later in pairwise(scene.pauses_ms))


def test_a_move_that_fails_after_it_has_handed_its_link_over_is_taken_back_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "HAND_OVER_S_MIN", 0.0)
    scene = Drain(streams=True)
    failed = list[str]()

    def notify(move: Move, state: State, phase: Phase) -> None:
        if (state, phase) == (State.SYNCED, Phase.END) and not failed:
            failed.append(move.name)
            scene.world.machines[move.target.node.name].crash()

    async def life() -> None:
        plan = await scene.plan()
        _, result = await start_run(scene.fleet, scene.journal, plan, scene.policy, "sim", notify, "run-a")
        assert failed[0] in result.failed
        assert len(result.moved) == 4 - len(result.failed) > 0

    scene.loop.run(life())
    assert scene.world.machines["n1"].disk.records[failed[0]].state == "serving"


def test_where_memory_is_streamed_one_stands_ready_while_another_is_paused_and_never_two() -> None:
    scene = Drain(streams=True)

    async def life() -> None:
        assert (await scene.run()).exit_code == 0

    scene.loop.run(life())
    assert [stood[1] > stood[0] for stood in scene.stood_ms] == [False, True, True, True]
    assert not overlap(scene.stood_ms)
    waited = [waited_ms(list(scene.store.events(m.id))) for m in scene.store.migrations("run-a")]
    assert all(w >= stood[1] - stood[0] for w, stood in zip(sorted(waited), scene.stood_ms, strict=True))


def test_one_that_is_ended_while_it_stands_ready_is_taken_back_and_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fence, "ASK_S", 0.05)  # a pause of a simulated container takes 0.4 s
    scene = Drain(streams=True)
    stopped, fenced = list[str](), list[Move]()

    def notify(move: Move, state: State, phase: Phase) -> None:
        if (state, phase) == (State.FENCED, Phase.BEGIN):
            fenced.append(move)
        if (state, phase) == (State.SYNCED, Phase.END) and not stopped:
            stands = fenced[-1]
            assert stands is not move
            stopped.append(stands.name)
            machine = scene.world.machines[stands.target.node.name]
            restore = machine.up.jobs[stands.name, stands.token, "restore"].task
            assert restore is not None
            restore.cancel()

    async def life() -> None:
        plan = await scene.plan()
        _, result = await start_run(scene.fleet, scene.journal, plan, scene.policy, "sim", notify, "run-a")
        assert list(result.failed) == stopped
        assert len(result.moved) == 3

    scene.loop.run(life())
    assert scene.places[stopped[0]] == "n1"
    assert len(scene.pauses_ms) == 3
    assert not overlap(scene.pauses_ms)
    assert scene.pauses_ms[-1][1] - scene.pauses_ms[0][0] < scene.policy.blackout_s_max * 1000


def test_files_cross_while_another_is_paused() -> None:
    scene = Drain()

    async def life() -> None:
        await scene.run()

    scene.loop.run(life())
    seeded = [
        next(e.at_ms for e in scene.store.events(m.id) if e.state is State.SEEDED and e.phase is Phase.END)
        for m in scene.store.migrations("run-a")
    ]
    assert sorted(seeded)[1] < scene.pauses_ms[0][1]  # the second was ready before the first had ended


# Streamed, another stands ready in that moment, or is paused as well.
@pytest.mark.parametrize(("streams", "hand_over_s_min"), [(False, 1.5), (True, 1.5), (True, 0.0)])
@pytest.mark.parametrize("moment", ["fenced:begin", "fenced:end", "synced:end", "sealed:end", "committed:end"])
def test_an_orchestrator_that_dies_in_a_pause_leaves_no_turn_to_the_one_that_resumes(
    moment: str, streams: bool, hand_over_s_min: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "HAND_OVER_S_MIN", hand_over_s_min)
    scene = Drain(streams)

    async def life() -> None:
        plan, me = await scene.plan(), Orchestrator("o0", scene.world)
        store = KilledAt(scene.store, me)
        store.moment = moment
        try:
            policy = Policy(moves_per_node_max=4)
            await start_run(
                scene.setting.fleet(me), scene.setting.journal(store, me), plan, policy, "sim", silent, "run-a"
            )
        except Killed:
            pass
        assert me.dead
        result = await resume_run(scene.fleet, scene.journal, scene.journal.run("run-a"), silent)
        assert result.exit_code == 0

    scene.loop.run(life())
    assert set(scene.places) == {"ct0", "ct1", "ct2", "ct3"}
    assert "n1" not in scene.places.values()


def test_a_target_that_dies_in_a_pause_does_not_keep_those_to_other_nodes_waiting() -> None:
    scene = Drain()
    died: list[str] = []

    def notify(move: Move, state: State, phase: Phase) -> None:
        if state is State.DUMPED and not died:
            died.append(move.target.node.name)
            scene.world.machines[move.target.node.name].crash()

    async def life() -> None:
        policy = Policy(moves_per_node_max=4)
        _, result = await start_run(scene.fleet, scene.journal, await scene.plan(), policy, "sim", notify, "run-a")
        assert 0 < len(result.failed) < 4
        assert len(result.moved) == 4 - len(result.failed)

    scene.loop.run(life())
    elsewhere = [m for m in scene.store.migrations("run-a") if m.target != died[0]]
    assert len(scene.pauses_ms) == len(elsewhere) > 0
    assert not overlap(scene.pauses_ms)
