"""Limits changed on simulated nodes: beside a migration, at any moment of it, and on a node that dies meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Literal

import pytest

from migrator.errors import MigratorError
from migrator.executor.limits import set_limits
from migrator.model.around import Around
from migrator.model.limits import Change
from migrator.sim.wire import Orchestrator
from tests.sim.theatre import CT, Theatre, played

MIB = 1 << 20


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


async def change(theatre: Theatre, memory_bytes: int, wait_s: float = 600) -> str:
    """Where the limit was set; raises why it was not."""
    me = Orchestrator(f"operator-{memory_bytes}", theatre.world)
    done = await set_limits(theatre.setting.fleet(me), CT, Change(memory_bytes=memory_bytes), wait_s)
    return done.node


def known(theatre: Theatre, node: str) -> tuple[int, int, int]:
    """What the record, the descriptor and the configuration have of the memory."""
    disk = theatre.world.machines[node].disk
    described = json.loads(disk.trees[CT].text("descriptor.json"))
    config = json.loads(disk.trees[CT].text("config.json"))
    return disk.records[CT].memory_bytes, described["memory_bytes"], config["linux"]["resources"]["memory"]["limit"]


@pytest.mark.parametrize("after_ms", range(0, 900, 30))
@played
async def test_a_change_beside_a_migration_is_made_where_the_container_ends(theatre: Theatre, after_ms: int) -> None:
    async def later() -> str:
        await asyncio.sleep(after_ms / 1000)
        return await change(theatre, 100 * MIB)

    async def moved() -> None:
        try:
            await theatre.migrate_until("")
        except MigratorError as error:  # it has looked before the change, and is told so
            assert "token" in str(error)

    node, _ = await asyncio.gather(later(), moved())
    (runs,) = theatre.runs_on
    assert known(theatre, runs) == (100 * MIB, 100 * MIB, 100 * MIB)
    assert node in ("n1", "n2")
    assert theatre.left == []


@played
async def test_a_change_waits_for_a_run_that_died_and_was_resumed(theatre: Theatre) -> None:
    await theatre.migrate_until("committed:end")
    with pytest.raises(MigratorError, match="held by run run-a"):
        await change(theatre, 100 * MIB, wait_s=2)

    async def resumed() -> None:
        await asyncio.sleep(5)
        assert await theatre.resume() == 0

    node, _ = await asyncio.gather(change(theatre, 100 * MIB), resumed())
    assert node == "n2"
    assert known(theatre, "n2") == (100 * MIB, 100 * MIB, 100 * MIB)


@played
async def test_two_changes_of_different_limits_at_once_are_both_made(theatre: Theatre) -> None:
    fleets = [theatre.setting.fleet(Orchestrator(f"operator-{number}", theatre.world)) for number in range(2)]
    changes = (Change(memory_bytes=100 * MIB), Change(cpu_milli=700))
    await asyncio.gather(
        *(set_limits(fleet, CT, change, 0) for fleet, change in zip(fleets, changes, strict=True)),
    )
    record = theatre.world.machines["n1"].disk.records[CT]
    assert (record.memory_bytes, record.cpu_milli) == (100 * MIB, 700)


def crash_at(theatre: Theatre, step: int) -> None:
    """Has n1 die so many steps of the world from now on."""
    first = theatre.world.steps

    def strike() -> None:
        if theatre.world.steps == first + step:
            theatre.crash("n1")

    theatre.world.on_step = strike


@pytest.mark.parametrize("mib", [32, 128], ids=["less", "more"])
@pytest.mark.parametrize("step", range(1, 24))
@played
async def test_a_node_that_dies_at_any_moment_of_it_is_healed_by_a_second_call(
    theatre: Theatre, step: int, mib: int
) -> None:
    crash_at(theatre, step)
    with contextlib.suppress(MigratorError):
        await change(theatre, mib * MIB, wait_s=0)
    theatre.world.on_step = lambda: None
    promised, described, _ = known(theatre, "n1")
    assert promised >= described
    await change(theatre, mib * MIB)
    assert known(theatre, "n1") == (mib * MIB, mib * MIB, mib * MIB)


def restarters(theatre: Theatre, node: str) -> tuple[str, str, bool]:
    """The policy that is written down, whether the record is armed, and whether a keeper lives."""
    machine = theatre.world.machines[node]
    keeper = machine.up.keepers.get(CT)
    policy = machine.disk.trees[CT].text("restart").strip()
    return policy, machine.disk.records[CT].armed, keeper is not None and keeper.alive


async def policy(theatre: Theatre, restart: Literal["no", "always"], wait_s: float = 600) -> None:
    fleet = theatre.setting.fleet(Orchestrator(f"operator-{restart}", theatre.world))
    await set_limits(fleet, CT, Change(around=Around(restart=restart)), wait_s)


@pytest.mark.parametrize("step", range(1, 16))
@played
async def test_restarters_go_by_a_new_policy_also_where_the_node_died_before_it_said_so(
    theatre: Theatre, step: int
) -> None:
    await policy(theatre, "no")
    assert restarters(theatre, "n1") == ("no", "no", False)
    crash_at(theatre, step)
    with contextlib.suppress(MigratorError):
        await policy(theatre, "always", wait_s=0)
    theatre.world.on_step = lambda: None
    await policy(theatre, "always")
    assert restarters(theatre, "n1")[:2] == ("always", "yes")
    await policy(theatre, "no")
    assert restarters(theatre, "n1") == ("no", "no", False)


@played
async def test_a_container_that_is_always_to_run_is_so_where_a_move_leaves_it(theatre: Theatre) -> None:
    await policy(theatre, "no")
    await asyncio.gather(policy(theatre, "always"), theatre.migrate_until(""), return_exceptions=True)
    (runs,) = theatre.runs_on
    assert restarters(theatre, runs) == ("always", "yes", True)


@played
async def test_a_running_one_keeps_its_address_and_a_stopped_one_gets_another(theatre: Theatre) -> None:
    fleet = theatre.setting.fleet(Orchestrator("operator", theatre.world))
    tree = theatre.world.machines["n1"].disk.trees[CT]
    change = Change(around=Around(addresses=("10.0.0.99/24",), gateways=("10.0.0.1",)))
    with pytest.raises(MigratorError, match="addresses,gateways is changed only while it is stopped"):
        await set_limits(fleet, CT, change, 0)
    await fleet.node("n1").call("ct-stop", CT, 0)
    done = await set_limits(fleet, CT, change, 0)
    assert (done.container.address, done.running) == ("10.0.0.99/24", False)
    assert json.loads(tree.text("descriptor.json"))["gateway"] == "10.0.0.1"
    assert "address 10.0.0.99/24\ngateway 10.0.0.1\n" in tree.text("net")
