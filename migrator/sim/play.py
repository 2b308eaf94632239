"""Plays one scenario: the real planner, executor, protocol and steps over simulated nodes, then an operator's day."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from migrator.errors import NeedsOperator
from migrator.executor.runs import plan_single, resume_run, start_run
from migrator.journal.memory import MemoryStore
from migrator.model.facts import Cluster
from migrator.model.modes import Mode
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.planner.drain import drain
from migrator.planner.moves import move
from migrator.sim import invariants
from migrator.sim.faults import Strikes
from migrator.sim.laws import Law, Violation
from migrator.sim.loop import Deadlock, VirtualLoop
from migrator.sim.restart import keeper_start
from migrator.sim.scenario import Scenario
from migrator.sim.setting import build, silent
from migrator.sim.settling import Operator
from migrator.sim.wire import Killed, Orchestrator, to_whatever_end
from migrator.sim.world import Clock, World

LIFE_S_MAX = 4000.0
STOP_TIMEOUT_S = 1.0


@dataclass(slots=True)
class Outcome:
    """How a scenario ended. `violations` is empty when nothing was that must not be.

    `run` is the word for how the first orchestrator's run ended, None where it has not, or was never begun.
    """

    scenario: Scenario
    violations: list[Violation]
    trace: list[str]
    stuck: dict[str, str] = field(default_factory=dict)
    steps: int = 0
    run: str | None = None


def play(scenario: Scenario, loop: VirtualLoop, trace: bool = False) -> Outcome:
    """Plays a scenario from its begin to its end; the same scenario plays the same way every time."""
    loop.now_s = 0.0
    random.seed(scenario.seed)  # the retries' pauses
    world = World(
        Clock(loop), random.Random(scenario.seed ^ 0x5EED), trace=[] if trace else None, streams=scenario.streams
    )
    life = _Life(scenario, world)
    try:
        loop.run(life.live())
    except Deadlock as error:
        world.violate(Law.CONVERGES, f"hangs: {error}")
    runs = life.setting.stores[0].runs()
    word = runs[-1].outcome if runs else None
    return Outcome(scenario, world.violations, world.trace or [], life.operator.stuck, world.steps, word)


def mode_of(scenario: Scenario) -> Mode:
    """How containers are moved in this life."""
    if scenario.cold:
        return Mode.RESTART
    if scenario.rounds:
        return Mode.PRE_COPY
    return Mode.POST_COPY if scenario.follows else Mode.STOP_AND_COPY


class _Life:
    """What is asked for while faults strike: a first orchestrator's moves, a second one's, and the operator after."""

    def __init__(self, scenario: Scenario, world: World) -> None:
        self.scenario = scenario
        self.world = world
        self.setting = build(scenario, world)
        self.orchestrators = [Orchestrator(f"o{number}", world, f"o{number}") for number in range(2)]
        self.watch = invariants.Watch(world, self.setting.stores)
        self.strikes = Strikes(world, scenario.faults, self.orchestrators)
        self.policy = Policy(
            blackout_s_max=scenario.deadline_s, job_timeout_s=300, mode=mode_of(scenario), stop_timeout_s=STOP_TIMEOUT_S
        )
        self.operator = Operator(scenario, self.setting, self.strikes, self.watch)

    async def live(self) -> None:
        try:
            async with asyncio.timeout(LIFE_S_MAX):
                await self._live()
        except TimeoutError:
            self.world.violate(Law.CONVERGES, f"has not ended after {LIFE_S_MAX:.0f} s")
        except Killed:
            self.world.violate(Law.CONVERGES, "a dead orchestrator has taken the operator with it")
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
            self.strikes.at_moment(scenario.backup_at, self.setting.back_up)
        work = [self._first()]
        if scenario.second in ("duel", "rival", "steal"):
            work.append(self._second_orchestrator(second))
        await asyncio.gather(*work)
        if self.world.violations:
            return
        await self.operator.come()
        if scenario.ring and scenario.second in ("", "steal"):
            invariants.at_goals(self.world, self.setting.stores[0], self._goals())

    def _goals(self) -> dict[str, str]:
        """The next node of a ring for each container."""
        names = self.setting.containers
        return {name: f"n{(number + 1) % len(names) + 1}" for number, name in enumerate(names)}

    async def _first(self) -> None:
        me = self.orchestrators[0]
        await to_whatever_end(me, self._move(me, self.setting.stores[0], "run-a", "n2"))

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
            await to_whatever_end(me, self._move(me, self.setting.stores[1], "run-b", f"n{self.scenario.nodes}"))
        elif self.scenario.second == "rival":
            await to_whatever_end(
                me, self._move(me, self.setting.stores[1], "run-b", "n2", self.setting.containers[-1])
            )
        elif self.setting.stores[0].runs():
            journal = self.setting.journal(self.setting.stores[0], me, locks=False)
            await to_whatever_end(me, resume_run(self.setting.fleet(me), journal, journal.runs()[0], silent))

    def _plan_of_many(self, cluster: Cluster) -> Plan:
        """The plan of a drain, or of a ring. NeedsOperator if there is none, for a node does not answer."""
        empties = [f"n{number + 1}" for number in range(self.scenario.drained)]
        there = {container.name for node in cluster.nodes for container in node.containers}
        if empties:
            made = drain(cluster, empties, "-", PlanPolicy())
        elif there.issuperset(self._goals()):
            made = move(cluster, self._goals(), "-", PlanPolicy(), "move")
        else:
            raise NeedsOperator("no plan: a container is not found")
        if not isinstance(made, Plan):
            raise NeedsOperator("no plan")
        return made

    async def _move(self, me: Orchestrator, store: MemoryStore, run: str, target: str, name: str = "") -> None:
        fleet, journal = self.setting.fleet(me), self.setting.journal(store, me)
        cluster = await fleet.probe()
        if run == "run-a" and (self.scenario.drained or self.scenario.ring):
            plan = self._plan_of_many(cluster)
        else:
            plan = plan_single(fleet, cluster, name or self.setting.containers[0], target)
        _, result = await start_run(fleet, journal, plan, self.policy, "sim", silent, run)
        for failed, error in result.failed.items():
            self.world.say(f"{me.name}: {failed} failed with {error.exit_code}: {error}")
