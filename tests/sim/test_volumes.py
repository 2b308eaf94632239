"""A volume over simulated nodes: proven before anything is touched, and again right before the pause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from migrator.errors import MigratorError
from migrator.executor.runs import plan_single, start_run
from migrator.inventory.cluster_file import ClusterFile, NodeEntry
from migrator.journal.events import Event
from migrator.journal.store import Journal
from migrator.model.policy import Policy
from migrator.model.volume import Mounted, Volume
from migrator.runtime import bundle
from migrator.sim.setting import descriptor, silent
from migrator.sim.wire import Orchestrator, OrchestratorStore
from tests.sim.theatre import CT, Theatre, played

PATHS = {"n1": "/mnt/data", "n2": "/srv/data"}


class Exchanging(OrchestratorStore):
    """Another storage stands at the target's path as soon as one event is in the journal."""

    moment = ""

    def append(self, migration: str, token: int | None, events: Sequence[Event]) -> bool:
        written = super().append(migration, token, events)
        if any(f"{event.state}:{event.phase}" == self.moment for event in events):
            self.orchestrator.world.machines["n2"].disk.mounted[PATHS["n2"]] = "another"
        return written


@pytest.fixture
def theatre() -> Theatre:
    """A container with a volume on n1; n2 mounts the same storage at another path."""
    made = Theatre()
    entries = [NodeEntry(name="n1"), NodeEntry(name="n2", volumes={"data": PATHS["n2"]})]
    made.setting.file = ClusterFile(name="sim", nodes=entries, volumes={"data": PATHS["n1"]})
    for name, path in PATHS.items():
        made.world.machines[name].disk.mounted[path] = "export"
    ct = replace(descriptor(CT, 0), volumes=(Volume("data", "/srv/data"),))
    files = bundle.files(ct, "kit", "br0", ("memory", "cpu"), {"data": Mounted(PATHS["n1"])})
    made.world.machines["n1"].disk.trees[CT].bundle.update(files)
    return made


async def migrated(theatre: Theatre, moment: str = "") -> int:
    """Moves the container to n2; returns the exit code."""
    me = Orchestrator("o0", theatre.world)
    store = Exchanging(theatre.store, me)
    store.moment = moment
    fleet, journal = theatre.setting.fleet(me), Journal(store, theatre.world.clock.wall_ms)
    try:
        plan = plan_single(fleet, await fleet.probe(), CT, "n2")
        _, result = await start_run(fleet, journal, plan, Policy(), "sim", silent, "run-a")
    except MigratorError as error:
        return error.exit_code
    return result.exit_code


def begun(theatre: Theatre) -> set[str]:
    return {str(e.state) for m in theatre.store.migrations("run-a") for e in theatre.store.events(m.id)}


@played
async def test_one_storage_at_two_paths_is_moved_to_and_no_marker_stays(theatre: Theatre) -> None:
    assert await migrated(theatre) == 0
    assert theatre.runs_on == ["n2"]
    there = theatre.world.machines["n2"].disk.trees[CT]
    assert there.text("volumes") == f"data {PATHS['n2']} /srv/data\n"
    assert theatre.world.marks == set()


@played
async def test_another_storage_is_refused_in_the_check(theatre: Theatre) -> None:
    theatre.world.machines["n2"].disk.mounted[PATHS["n2"]] = "another"
    assert await migrated(theatre) == 3
    assert theatre.runs_on == ["n1"]
    assert "reserved" not in begun(theatre)
    assert (theatre.world.marks, theatre.left) == (set(), [])


@played
async def test_storage_that_is_exchanged_while_files_are_copied_is_refused_before_the_pause(theatre: Theatre) -> None:
    assert await migrated(theatre, "reserved:end") == 3
    assert theatre.runs_on == ["n1"]
    assert "seeded" in begun(theatre)
    assert "fenced" not in begun(theatre)
    assert (theatre.world.marks, theatre.left) == (set(), [])


@played
async def test_a_move_whose_orchestrator_died_is_settled_with_its_volume(theatre: Theatre) -> None:
    await theatre.migrate_until("sealed:end")
    assert await theatre.resume() == 0
    assert theatre.runs_on == ["n2"]
    assert theatre.world.marks == set()
