"""Thousands of lives with faults: nothing that must not be ever is, and what once failed does not fail again."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from migrator.sim.laws import Law
from migrator.sim.loop import Deadlock, VirtualLoop
from migrator.sim.machine import Machine
from migrator.sim.play import play
from migrator.sim.run import Summary, breaks, dump_scenario, load_scenario, run_seeds
from migrator.sim.scenario import Fault, Scenario, generate
from migrator.sim.shrink import shrink
from migrator.sim.world import Clock, World
from tests.sim.planted import PLANTED

KEPT = sorted(Path(__file__).parent.glob("kept/*.json"))


def told(summary: Summary) -> list[str]:
    return [f"{failure.violations[0]}: {dump_scenario(failure.smallest)}" for failure in summary.failures]


def test_two_thousand_lives_violate_nothing() -> None:
    summary = run_seeds(0, 2000)
    assert told(summary) == []
    assert summary.runs == 2000


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_twenty_thousand_lives_violate_nothing() -> None:
    assert told(run_seeds(2000, 18000)) == []


def test_a_large_drain_under_faults_violates_nothing() -> None:
    assert told(run_seeds(0, 1, large=True)) == []


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_what_failed_once_does_not_fail_again(path: Path) -> None:
    outcome = play(load_scenario(path), VirtualLoop(), trace=True)
    assert outcome.violations == [], "\n".join(outcome.trace[-40:])


def test_a_seed_is_replayed_exactly() -> None:
    first = play(generate(3), VirtualLoop(), trace=True)
    again = play(generate(3), VirtualLoop(), trace=True)
    assert first.trace == again.trace
    assert len(first.trace) > 20


def test_a_seed_plays_the_same_after_others_on_the_same_loop() -> None:
    loop = VirtualLoop()
    alone = play(generate(30), VirtualLoop(), trace=True).trace
    for seed in range(20, 30):
        play(generate(seed), loop)
    assert play(generate(30), loop, trace=True).trace == alone


def test_a_node_that_loses_power_ends_its_processes_in_the_order_of_their_begin() -> None:
    import asyncio

    loop = VirtualLoop()
    ended: list[int] = []

    async def process(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async def crash() -> None:
        machine = Machine(World(Clock(loop), Random(1)), "n1", 1, 1, 1)
        for number in range(100):
            machine.spawn(process(number))
        await asyncio.sleep(1)
        machine.crash()
        await asyncio.sleep(1)

    loop.run(crash())
    assert ended == list(range(100))


def test_a_failing_scenario_is_made_smaller_and_still_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED["watchdog that never fires"].put(monkeypatch)
    loop = VirtualLoop()
    seed = next(seed for seed in range(200) if breaks(Law.DEADLINE, loop)(generate(seed)))
    small = shrink(generate(seed), breaks(Law.DEADLINE, loop))
    assert breaks(Law.DEADLINE, loop)(small)
    assert len(small.faults) <= len(generate(seed).faults)
    assert small.second == ""


def test_a_scenario_survives_its_file(tmp_path: Path) -> None:
    scenario = Scenario(3, nodes=3, second="duel", faults=(Fault("crash", 7, node="n2", seconds=5.0),))
    path = tmp_path / "kept.json"
    path.write_text(dump_scenario(scenario))
    assert load_scenario(path) == scenario


def test_a_loop_on_which_nobody_can_go_on_says_so() -> None:
    import asyncio

    async def waits_for_nothing() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        VirtualLoop().run(waits_for_nothing())


def test_hours_pass_at_once_on_the_loop() -> None:
    import asyncio

    loop = VirtualLoop()
    woke: list[float] = []

    async def sleeps() -> None:
        await asyncio.gather(*(asyncio.sleep(hours * 3600) for hours in (3, 1, 2)))
        woke.append(loop.time())

    loop.run(sleeps())
    assert woke == [3 * 3600]
