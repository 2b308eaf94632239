"""A bridge that has vanished on the target: before the seal the move goes back, after the commit it is told."""

from __future__ import annotations

import re

import pytest

from migrator.executor.rows import rows_of
from migrator.executor.runner import RunResult
from migrator.executor.runs import plan_single, resume_run, start_run
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.policy import Policy
from migrator.protocol.states import State
from migrator.sim.wire import Orchestrator
from migrator.steps.base import Move
from tests.sim.theatre import CT, Theatre, played

CUT_OFF = (
    f"container {CT} runs on n2, but its gate did not open: bridge br9 is not there; make it, then: migrator ct start "
    f"{CT}"
)


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


def bridge(theatre: Theatre, name: str) -> None:
    """Has the container's cable on n2 join a bridge of that name; there is only br0."""
    net = theatre.world.machines["n2"].disk.trees[CT].bundle
    net["net"] = re.sub(rb"(?m)^bridge .*", f"bridge {name}".encode(), net["net"])


async def moved(theatre: Theatre, vanishes_at: str) -> RunResult:
    """Moves the container to n2, whose bridge vanishes at a moment of the journal."""

    def notify(move: Move, state: State, phase: Phase) -> None:
        if f"{state}:{phase}" == vanishes_at:
            bridge(theatre, "br9")

    me = Orchestrator("o0", theatre.world)
    fleet, journal = theatre.setting.fleet(me), Journal(theatre.store, theatre.world.clock.wall_ms)
    plan = plan_single(fleet, await fleet.probe(), CT, "n2")
    return (await start_run(fleet, journal, plan, Policy(), "sim", notify, "run-a"))[1]


@played
async def test_a_bridge_that_is_gone_before_the_seal_takes_the_move_back(theatre: Theatre) -> None:
    result = await moved(theatre, "seeded:end")
    assert result.exit_code == 4
    assert "bridge br9 is not there" in result.told()[0]
    assert theatre.runs_on == ["n1"]
    assert theatre.world.machines["n1"].gate_is_open(CT)
    assert theatre.decisions == ["aborted"]
    assert theatre.left == []


@played
async def test_a_gate_that_does_not_open_at_the_release_is_told_until_it_is_open(theatre: Theatre) -> None:
    result = await moved(theatre, "sealed:end")
    assert (result.exit_code, result.told()) == (4, [CUT_OFF])
    assert theatre.runs_on == ["n2"]
    assert theatre.left == []
    me = Orchestrator("operator", theatre.world)
    fleet, journal = theatre.setting.fleet(me), theatre.setting.journal(theatre.store, me)
    states = [(row["node"], row["state"]) for row in rows_of(await fleet.probe())]
    assert states == [("n2", "running, cut off")]
    again = await resume_run(fleet, journal, journal.run("run-a"), lambda move, state, phase: None)
    assert again.told() == [CUT_OFF]

    bridge(theatre, "br0")
    await fleet.node("n2").call("ct-start", CT)
    assert [row["state"] for row in rows_of(await fleet.probe())] == ["running"]
    assert (await resume_run(fleet, journal, journal.run("run-a"), lambda move, state, phase: None)).exit_code == 0


@played
async def test_whoever_releases_for_another_tells_of_the_gate_too(theatre: Theatre) -> None:
    await theatre.migrate_until("committed:end")
    bridge(theatre, "br9")
    assert await theatre.resume() == 4
    assert theatre.runs_on == ["n2"]
    assert theatre.left == []
