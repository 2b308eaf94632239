"""A bridge that has vanished on the target while the container was on its way there."""

from __future__ import annotations

import pytest

from migrator.executor.fleet import Fleet
from migrator.executor.runner import RunResult
from migrator.executor.runs import plan_single, start_run
from migrator.inventory import cluster_file
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.policy import Policy
from migrator.protocol.states import State
from migrator.steps.base import Move
from tests.lab.client import CountingClient
from tests.lab.stage import Stage


def bridge(stage: Stage, name: str) -> None:
    """Has the container's cable on n2 join a bridge of that name; there is only br0."""
    net = "/var/lib/migrator/containers/web/net"
    assert stage.on_node("n2", "sed", "-i", f"s/^bridge .*/bridge {name}/", net).code == 0


async def moved(stage: Stage, vanishes_at: str) -> RunResult:
    """Moves the container to n2, whose bridge vanishes at a moment of the journal."""

    def notify(move: Move, state: State, phase: Phase) -> None:
        if f"{state}:{phase}" == vanishes_at:
            bridge(stage, "br9")

    async with Fleet(cluster_file.load(stage.paths.cluster_file)) as fleet:
        plan = plan_single(fleet, await fleet.probe(), "web", "n2")
        _, result = await start_run(fleet, Journal(stage.journal), plan, Policy(), stage.cluster, notify)
    return result


async def test_a_bridge_that_is_gone_before_the_seal_takes_the_move_back(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1)) as client:
        result = await moved(tidy, "seeded:end")
        assert result.exit_code == 4
        assert "the gate of web could not be opened: bridge br9 is not there" in result.told()[0]
        await client.more(20)
    assert tidy.places("web") == [("n1", "running")]


@pytest.mark.parametrize("killed_at", ["", "sealed:end"], ids=["by the run itself", "by a resume"])
async def test_a_gate_that_does_not_open_at_the_release_is_told_and_opened_by_a_start(
    tidy: Stage, killed_at: str
) -> None:
    said = (
        "container web runs on n2, but its gate did not open: bridge br9 is not there; make it, then: migrator ct "
        "start web"
    )
    ip = tidy.counter("web", "n1", 2)
    if killed_at:
        assert tidy.kill_at("web", "n2", killed_at) == -9
        bridge(tidy, "br9")
        (run,) = tidy.ok("runs", "--json").json()["runs"]
        done = tidy.migrator("resume", run["run"])
        assert (done.code, done.err.splitlines()[-1]) == (4, f"migrator: {said}"), done.err
    else:
        result = await moved(tidy, "sealed:end")
        assert (result.exit_code, result.told()) == (4, [said])
    assert tidy.places("web") == [("n2", "running, cut off")]
    run = tidy.last_run()
    assert (run["outcome"], run["migrations"][0]["gate_error"]) == ("done", "bridge br9 is not there")
    assert said in tidy.ok("show", run["run"]).out
    failed = tidy.migrator("ct", "start", "web")
    assert (failed.code, "bridge br9 is not there; make it" in failed.err) == (4, True), failed.err

    bridge(tidy, "br0")
    tidy.ok("ct", "start", "web")
    assert tidy.places("web") == [("n2", "running")]
    async with CountingClient(ip) as client:
        await client.more(5)
    tidy.ok("resume", run["run"])
