"""What an operator may keep, what has to be said in writing for it, and what is told of a move that is not over."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from migrator.errors import BadInput, FailedSafe, Refused
from migrator.executor import cancel, stop
from migrator.executor.containers import overruled
from migrator.executor.fleet import find_container
from migrator.executor.status import what_settles
from migrator.executor.stop import stop_worker
from migrator.journal import lockfile
from migrator.journal.store import Journal, Migration
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.observation import Observation
from migrator.protocol.recovery import Action
from migrator.protocol.settlement import refusal, word_needed
from migrator.protocol.states import State

GONE = Observation()
RUNS = Observation(state="serving", processes="running")
RELEASED = Observation(state="released", processes="running")
SEALED = Observation(state="sealed", processes="frozen")
SEALED_LOST = Observation(state="sealed", same_boot=False)
HELD = Observation(state="held", processes="running", held=True)
HELD_UNWRITTEN = Observation(state="reserved", processes="running", held=True)
HELD_LOST = Observation(state="held", same_boot=False)
OFF, GIVEN_UP = "n2 is off", "web on n2 is given up"


@pytest.mark.parametrize(
    ("here", "complete", "allowed"),
    [
        (SEALED, True, True),
        (SEALED_LOST, True, True),
        (HELD, False, True),
        (HELD_UNWRITTEN, False, True),
        (HELD_LOST, True, True),
        (HELD_LOST, False, False),
        (GONE, True, False),
        (None, True, False),
    ],
)
def test_only_what_can_run_can_be_kept(here: Observation | None, complete: bool, allowed: bool) -> None:
    assert (refusal("web", "n1", here, complete) == "") == allowed


@pytest.mark.parametrize(
    ("here", "there", "verified", "word"),
    [
        (SEALED, None, True, OFF),
        (SEALED, HELD, True, ""),
        (SEALED, RELEASED, True, GIVEN_UP),
        (SEALED, RUNS, True, GIVEN_UP),
        (HELD, SEALED, True, ""),
        (HELD_UNWRITTEN, SEALED, True, ""),
        (HELD_UNWRITTEN, SEALED, False, GIVEN_UP),
        (SEALED_LOST, HELD_UNWRITTEN, True, GIVEN_UP),
        (HELD, SEALED, False, GIVEN_UP),
        (HELD, RUNS, True, GIVEN_UP),
        (SEALED_LOST, HELD, True, GIVEN_UP),
        (SEALED_LOST, HELD_LOST, True, ""),
        (HELD_LOST, SEALED, True, GIVEN_UP),
        (RUNS, GONE, True, ""),
    ],
)
def test_a_word_is_needed_where_a_copy_may_run_or_is_given_up(
    here: Observation, there: Observation | None, verified: bool, word: str
) -> None:
    assert word_needed("web", "n2", here, there, verified) == word


MIGRATION = Migration("r/web/1", "r", "web", "n1", "n2", 2, 1, None, {})


def test_what_is_stuck_is_shown_with_the_words_that_settle_it() -> None:
    lines = what_settles(Action.STUCK, MIGRATION, frozenset(), SEALED, None)
    assert lines == ("migrator resume r", 'migrator settle web --keep n1 --word "n2 is off"')


def test_a_stale_journal_is_never_resumed_by_what_is_shown() -> None:
    lines = what_settles(Action.STALE, MIGRATION, frozenset(), GONE, RUNS)
    assert lines == ("migrator settle web --keep n2",)


def test_what_recovery_can_do_needs_nobody_to_settle() -> None:
    assert what_settles(Action.ABORT, MIGRATION, frozenset(), SEALED, HELD) == (
        "migrator resume r",
        "migrator rollback r",
    )


def test_a_settlement_follows_any_decision_and_is_above_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.create_run("r", "move", {})
    journal.add_migration(MIGRATION)
    journal.decide("r/web/1", 2, State.ABORTED)
    journal.decide("r/web/1", 2, State.SETTLED, {"keep": "n1"})
    journal.decide("r/web/1", 2, State.SETTLED, {"keep": "n2"})  # the first could not be carried out
    again = Journal(tmp_path / "j.db").progress("r/web/1")
    assert (again.decision, again.reached[State.SETTLED]) == (State.SETTLED, {"keep": "n2"})


def test_the_holder_of_a_run_is_told_by_the_kernel_and_not_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lockfile.holder(path) is None
    with lockfile.held(path, "r"):
        assert lockfile.holder(path) == os.getpid()
    path.write_text(f"pid {os.getpid()}")  # as a killed holder leaves it, its number taken by another
    assert lockfile.holder(path) is None


async def test_nobody_is_stopped_where_nobody_works(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.create_run("r", "move", {})
    assert not await stop_worker(journal, "r", lambda pid: None)


async def test_a_worker_that_is_stopped_is_told_of_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "LOOK_S", 0.01)
    journal = Journal(tmp_path / "j.db")
    journal.create_run("r", "move", {})
    worker = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        monkeypatch.setattr(journal, "worker", lambda run: worker.pid)
        worker.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, worker.pid, os.WSTOPPED)  # signals of one moment come in any order
        with pytest.raises(Refused, match=f"kill -CONT {worker.pid}; .* migrator resume r"):
            async with asyncio.timeout(30):
                await stop.stop_worker(journal, "r", lambda pid: None)
        worker.send_signal(signal.SIGCONT)
    finally:
        await worker.wait()  # it was asked to end, and heard it once it went on


async def test_what_is_being_made_safe_is_told_by_name_until_it_is() -> None:
    told: list[list[str]] = []
    begun, go = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()

    task = asyncio.create_task(cancel.finish_anyway(work(), "web: rolling back on n1"))
    await begun.wait()
    task.cancel()
    told.append(cancel.under_way())
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    told.append(cancel.under_way())
    assert told == [["web: rolling back on n1"], []]


def test_a_node_that_was_away_does_not_start_what_was_decided_against_it() -> None:
    def has(state: str, generation: int) -> ContainerFacts:
        return ContainerFacts("web", state, 5, generation, False, "-", Resources())

    old, kept = NodeFacts("n1", containers=(has("serving", 1),)), NodeFacts("n2", containers=(has("serving", 3),))
    assert list(overruled(Cluster("c", (old, kept)), "n1")) == ["web"]
    assert overruled(Cluster("c", (old, kept)), "n2") == {}
    twin = NodeFacts("n2", containers=(has("serving", 1),))
    assert "n2 has a container of this name too" in overruled(Cluster("c", (old, twin)), "n1")["web"]
    moving = NodeFacts("n2", containers=(has("reserved", 1),))
    assert overruled(Cluster("c", (old, moving)), "n1") == {}


def test_two_of_one_name_are_told_from_one_on_the_move_and_either_can_be_meant() -> None:
    def has(run: str) -> ContainerFacts:
        return ContainerFacts("web", "serving", 5, 1, False, run, Resources())

    two = Cluster("c", tuple(NodeFacts(name, containers=(has("-"),)) for name in ("n1", "n2")))
    with pytest.raises(Refused, match=r"there are two containers web: .* ct destroy web --node NODE"):
        find_container(two, "web")
    assert find_container(two, "web", "n2")[0].name == "n2"
    one = Cluster("c", (two.node("n1"), NodeFacts("n2")))
    with pytest.raises(BadInput, match="--node n2: container web is on n1"):
        find_container(one, "web", "n2")
    silent = Cluster("c", (two.node("n1"), NodeFacts("n2", error="node n2: no answer in 6 s")))
    with pytest.raises(FailedSafe, match="node n2: no answer in 6 s; nothing was done"):
        find_container(silent, "web", "n2")  # and never the one that can be reached
    with pytest.raises(BadInput, match="--node 'n9': no such node"):
        find_container(two, "web", "n9")
    moving = Cluster("c", (two.node("n1"), NodeFacts("n2", containers=(has("r1"),))))
    with pytest.raises(Refused, match="is on the move"):
        find_container(moving, "web")
