"""When a site's hooks are called, what they are told, and what becomes of a move whose hook does not end well."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import FailedSafe, Refused
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.site import Hook, Site, When
from migrator.protocol.states import State
from migrator.transport.hooks import HookFailed
from tests.unit.test_bundle import WEB
from tests.unit.test_saga import Scene

EVERY = Site(hooks=(Hook(("/site",), frozenset(When), 5),))


class Recorder:
    """Keeps what hooks were told, in one list with the nodes' calls; fails where the test says so."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.told: list[dict[str, Any]] = []
        self.fails: set[str] = set()
        self.dies_in = ""

    def fault(self, hook: Hook) -> str:
        return "" if hook.argv[0] == "/site" else f"hook {hook.argv[0]} is not there"

    async def call(self, hook: Hook, document: bytes) -> None:
        told = json.loads(document)
        self.told.append(told)
        self.calls.append(f"hook {told['phase']}")
        if told["phase"] == self.dies_in:
            raise asyncio.CancelledError
        if told["phase"] in self.fails:
            raise HookFailed("hook /site ended with 1: no")

    @property
    def phases(self) -> list[tuple[str, str]]:
        return [(told["phase"], told["node"]) for told in self.told]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.move.site = EVERY
    made.move.hooks = Recorder(made.calls)
    return made


def recorder(scene: Scene) -> Recorder:
    assert isinstance(scene.move.hooks, Recorder)
    return scene.move.hooks


def warnings(scene: Scene) -> tuple[str, ...]:
    return Journal(scene.journal.path).progress("r/web/1").warnings


async def test_a_site_is_asked_before_the_seal_and_told_after_the_release(scene: Scene) -> None:
    await scene.run()
    assert recorder(scene).phases == [("before_commit", "n2"), ("after_release", "n2")]
    calls = scene.calls
    assert calls.index("n2 await-held") < calls.index("hook before_commit") < calls.index("n1 seal")
    assert calls.index("n2 release") < calls.index("hook after_release") < calls.index("n1 retire")


async def test_a_site_is_told_what_it_needs_to_find_the_container(scene: Scene) -> None:
    await scene.run()
    told = recorder(scene).told[0]
    assert told == {
        "version": 1,
        "phase": "before_commit",
        "run": "r",
        "migration": "r/web/1",
        "token": 2,
        "container": "web",
        "labels": {},
        "addresses": ["10.0.0.7/24"],
        "gateways": [],
        "mac": WEB.mac,
        "source": "n1",
        "source_address": "192.0.2.1",
        "target": "n2",
        "target_address": "192.0.2.2",
        "node": "n2",
        "node_address": "192.0.2.2",
    }


async def test_each_call_is_in_the_journal_before_and_after(scene: Scene) -> None:
    await scene.run()
    notes = [(e.data["hook"], e.data["is"]) for e in scene.journal.events("r/web/1") if e.phase is Phase.NOTE]
    assert notes == [
        ("before_commit", "begun"),
        ("before_commit", "ended"),
        ("after_release", "begun"),
        ("after_release", "ended"),
    ]


async def test_a_site_that_refuses_leaves_the_container_at_its_source_and_is_told_so(scene: Scene) -> None:
    recorder(scene).fails = {"before_commit"}
    with pytest.raises(FailedSafe, match=r"hook /site ended with 1: no; container web runs on n1 as before"):
        await scene.run()
    assert scene.state is State.ROLLED_BACK
    assert "n1 seal" not in scene.calls
    assert recorder(scene).phases == [("before_commit", "n2"), ("after_rollback", "n1")]
    assert scene.calls.index("n1 thaw") < scene.calls.index("hook after_rollback")


async def test_an_interruption_while_the_site_is_asked_rolls_back(scene: Scene) -> None:
    recorder(scene).dies_in = "before_commit"
    with pytest.raises(asyncio.CancelledError):
        await scene.run()
    assert scene.state is State.ROLLED_BACK
    assert recorder(scene).phases[-1] == ("after_rollback", "n1")


@pytest.mark.parametrize("phase", ["after_release", "after_rollback"])
async def test_a_hook_that_fails_when_there_is_no_way_back_is_a_warning(scene: Scene, phase: str) -> None:
    recorder(scene).fails = {phase}
    if phase == "after_rollback":
        recorder(scene).fails.add("before_commit")
        with pytest.raises(FailedSafe):
            await scene.run()
    else:
        await scene.run()
    assert scene.state is (State.DONE if phase == "after_release" else State.ROLLED_BACK)
    assert warnings(scene) == (f"container web: {phase}: hook /site ended with 1: no; nothing calls it again",)


async def test_a_move_that_fails_before_its_copy_stands_tells_the_site_nothing(scene: Scene) -> None:
    scene.fail(scene.source, "dump")
    with pytest.raises(FailedSafe):
        await scene.run()
    assert recorder(scene).phases == []


async def test_a_hook_that_is_not_there_is_found_in_the_check(scene: Scene) -> None:
    scene.move.site = Site(hooks=(Hook(("/gone",), frozenset({When.AFTER_RELEASE}), 5),))
    with pytest.raises(Refused, match="hook /gone is not there"):
        await scene.run()
    assert "n1 fence" not in scene.calls


async def test_a_site_without_hooks_writes_nothing_more(scene: Scene) -> None:
    scene.move.site = Site()
    await scene.run()
    assert not any(e.phase is Phase.NOTE for e in scene.journal.events("r/web/1"))
