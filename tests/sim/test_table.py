"""The recovery table, row by row: the journal stopped there, the nodes brought there, and what resume makes of it."""

from __future__ import annotations

import asyncio

import pytest

from migrator.errors import NeedsOperator
from migrator.executor.look import look
from migrator.executor.runs import resume_run
from migrator.journal.base import JournalError
from migrator.journal.memory import MemoryStore
from migrator.sim.setting import silent
from migrator.sim.wire import Orchestrator
from migrator.steps import AFTER_RELEASE, FROZEN, PREPARE, RELEASE
from migrator.steps.base import Step
from tests.sim.theatre import CT, Theatre, played


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


async def settled(t: Theatre, node: str, *decisions: str) -> None:
    """The container runs there alone, nothing is left, and another resume changes nothing."""
    assert t.runs_on == [node]
    assert t.decisions == list(decisions)
    assert t.left == []


async def stuck(t: Theatre) -> None:
    """Nothing is decided and nothing changed, however often it is resumed."""
    before, decisions = t.fingerprint(), t.decisions
    for _ in range(2):
        assert await t.resume() == NeedsOperator.exit_code
        assert t.fingerprint() == before
        assert t.decisions == decisions


@played
async def test_undecided_and_fenced_is_aborted_and_thawed(theatre: Theatre) -> None:
    await theatre.migrate_until("fenced:end")
    await theatre.resume(back=True)
    await settled(theatre, "n1", "aborted")
    assert theatre.world.truths[CT].connection == "kept"


@played
async def test_undecided_and_fenced_with_a_silent_target_is_thawed_at_once_and_cleaned_when_it_comes_back(
    theatre: Theatre,
) -> None:
    await theatre.migrate_until("dumped:end")
    theatre.crash("n2", boot=False)
    assert await theatre.resume(back=True) == 4
    assert theatre.runs_on == ["n1"]
    theatre.boot("n2")
    assert await theatre.resume(back=True) == 0
    await settled(theatre, "n1", "aborted")


@played
async def test_undecided_sealed_and_held_is_committed(theatre: Theatre) -> None:
    await theatre.migrate_until("sealed:end")
    assert await theatre.resume() == 0
    await settled(theatre, "n2", "committed")
    assert theatre.world.truths[CT].connection == "kept"


@played
async def test_undecided_and_sealed_is_stuck_while_the_target_does_not_answer(theatre: Theatre) -> None:
    await theatre.migrate_until("sealed:end")
    theatre.crash("n2", boot=False)
    assert await theatre.resume(back=True) == 5
    assert theatre.runs_on == []
    theatre.boot("n2")
    assert await theatre.resume(back=True) == 0
    await settled(theatre, "n1", "aborted")


@pytest.mark.parametrize("moment", ["restored:end", "verified:end", "sealed:end"])
@played
async def test_undecided_and_the_source_has_rebooted_is_committed_to_the_held_copy(
    theatre: Theatre, moment: str
) -> None:
    await theatre.migrate_until(moment)
    theatre.crash("n1")
    assert await theatre.resume() == 0
    await settled(theatre, "n2", "committed")
    assert theatre.world.truths[CT].connection == "kept"


@played
async def test_undecided_and_both_have_lost_it_starts_cold_from_the_sources_files(theatre: Theatre) -> None:
    await theatre.migrate_until("dumped:end")
    theatre.crash("n1")
    await theatre.resume(back=True)
    await settled(theatre, "n1", "aborted")
    assert theatre.world.truths[CT].loss


@played
async def test_undecided_and_the_source_has_rebooted_is_stuck_while_the_target_is_silent(theatre: Theatre) -> None:
    await theatre.migrate_until("verified:end")
    theatre.crash("n1")
    theatre.world.parted.add(frozenset(("o0", "n2")))
    await stuck(theatre)
    theatre.world.parted.clear()
    assert await theatre.resume() == 0
    await settled(theatre, "n2", "committed")


@played
async def test_undecided_and_the_source_is_silent_is_stuck(theatre: Theatre) -> None:
    await theatre.migrate_until("sealed:end")
    theatre.world.parted.add(frozenset(("o0", "n1")))
    await stuck(theatre)
    theatre.world.parted.clear()
    assert await theatre.resume() == 0
    await settled(theatre, "n2", "committed")


@pytest.mark.parametrize("moment", ["leased:end", "seeded:end", "fenced:end", "restored:end", "sealed:end"])
@played
async def test_a_journal_older_than_the_world_settles_nothing(theatre: Theatre, moment: str) -> None:
    await theatre.migrate_until(moment)
    backup: MemoryStore = theatre.store.copy()
    assert await theatre.resume() == 0
    before = theatre.fingerprint()
    assert await theatre.resume(backup) == NeedsOperator.exit_code
    assert theatre.fingerprint() == before
    assert theatre.runs_on == ["n2"]


@played
async def test_aborted_with_a_silent_target_is_thawed_and_the_target_cleaned_later(theatre: Theatre) -> None:
    theatre.world.machines["n1"].up.fail_dump = 1
    await theatre.migrate_until("aborted:end")
    theatre.crash("n2", boot=False)
    assert await theatre.resume(back=True) == 4
    assert theatre.runs_on == ["n1"]
    theatre.boot("n2")
    assert await theatre.resume(back=True) == 0
    await settled(theatre, "n1", "aborted")


@played
async def test_aborted_and_the_source_has_rebooted_starts_cold(theatre: Theatre) -> None:
    theatre.world.machines["n1"].up.fail_dump = 1
    await theatre.migrate_until("aborted:end")
    theatre.crash("n1")
    assert await theatre.resume(back=True) == 0
    await settled(theatre, "n1", "aborted")


@pytest.mark.parametrize("back", [False, True])
@played
async def test_committed_and_held_is_released(theatre: Theatre, back: bool) -> None:
    await theatre.migrate_until("committed:end")
    assert await theatre.resume(back=back) == 0
    await settled(theatre, "n2", "committed")


@played
async def test_committed_and_the_target_has_lost_it_unreleased_is_revoked_with_a_higher_generation(
    theatre: Theatre,
) -> None:
    await theatre.migrate_until("committed:end")
    theatre.crash("n2")
    await theatre.resume(back=True)
    await settled(theatre, "n1", "committed", "revoked")
    assert theatre.world.machines["n1"].record(CT).generation > 2
    assert theatre.world.truths[CT].connection == "kept"


@played
async def test_committed_with_a_silent_target_stays_fenced_and_stuck(theatre: Theatre) -> None:
    await theatre.migrate_until("committed:end")
    theatre.world.parted.add(frozenset(("o0", "n2")))
    await stuck(theatre)
    assert theatre.runs_on == []
    theatre.world.parted.clear()
    assert await theatre.resume() == 0
    await settled(theatre, "n2", "committed")


@played
async def test_committed_and_both_have_lost_it_is_stuck(theatre: Theatre) -> None:
    await theatre.migrate_until("committed:end")
    theatre.crash("n1")
    theatre.crash("n2")
    await stuck(theatre)


@played
async def test_committed_released_and_ended_there_is_never_restored_a_second_time(theatre: Theatre) -> None:
    await theatre.migrate_until("released:end")
    theatre.world.machines["n2"].end_copy(CT, "its program ended")
    assert await theatre.resume() == 0
    assert theatre.runs_on == []
    assert theatre.world.machines["n2"].record(CT).state == "serving"
    assert theatre.world.machines["n1"].record(CT).state == "absent"


@played
async def test_without_access_to_the_journal_nothing_is_decided(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[object]:
        raise JournalError("journal: cannot be read")

    await theatre.migrate_until("sealed:end")
    before = theatre.fingerprint()
    monkeypatch.setattr(MemoryStore, "events", broken)
    assert await theatre.resume() == JournalError.exit_code
    assert theatre.fingerprint() == before


@played
async def test_a_resume_whose_journal_is_full_names_the_container_and_what_to_do(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise JournalError("journal: cannot be written: database or disk is full")

    await theatre.migrate_until("sealed:end")
    before = theatre.fingerprint()
    monkeypatch.setattr(MemoryStore, "raise_token", full)
    me = Orchestrator("operator", theatre.world)
    journal = theatre.setting.journal(theatre.store, me)
    with pytest.raises(NeedsOperator, match=r"container ct0 .* n1 and n2: .*; free .*, then: migrator resume run-a$"):
        await resume_run(theatre.setting.fleet(me), journal, journal.run("run-a"), silent)
    assert theatre.fingerprint() == before


MOMENTS = [
    f"{state}:{phase}"
    for state in (
        "leased",
        "checked",
        "reserved",
        "seeded",
        "fenced",
        "dumped",
        "synced",
        "restored",
        "verified",
        "sealed",
        "released",
        "source-removed",
        "done",
    )
    for phase in ("begin", "end")
]


@pytest.mark.parametrize("back", [False, True], ids=["resume", "rollback"])
@pytest.mark.parametrize("moment", [*MOMENTS, "committed:end"])
@played
async def test_from_every_prefix_of_the_journal_it_converges_and_once_more_changes_nothing(
    theatre: Theatre, moment: str, back: bool
) -> None:
    await theatre.migrate_until(moment)
    if moment == "done:end":
        return
    assert await theatre.resume(back=back) == 0
    assert len(theatre.runs_on) == 1
    assert theatre.left == []
    assert theatre.world.truths[CT].connection == "kept"
    before = theatre.fingerprint()
    if back or theatre.runs_on == ["n2"]:
        assert await theatre.resume() == (3 if theatre.runs_on == ["n1"] else 0)  # what was rolled back is over
    assert theatre.fingerprint() == before


@pytest.mark.parametrize("moment", ["fenced:begin", "fenced:end", "dumped:end", "restored:end", "verified:end"])
@played
async def test_without_any_orchestrator_a_fenced_source_runs_again_at_its_deadline(
    theatre: Theatre, moment: str
) -> None:
    await theatre.migrate_until(moment, deadline_s=3)
    await asyncio.sleep(10)
    assert theatre.runs_on == ["n1"]
    assert theatre.world.truths[CT].connection == "kept"


STEPS = (*PREPARE, *FROZEN, RELEASE, *AFTER_RELEASE)
WITHOUT_A_TRACE = ("checked", "reserved", "seeded", "dumped", "synced", "verified")


@pytest.mark.parametrize("phase", ["begin", "end"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step.state))
@played
async def test_a_step_is_never_known_to_have_happened_before_it_has(theatre: Theatre, step: Step, phase: str) -> None:
    await theatre.migrate_until(f"{step.state}:{phase}")
    fleet = theatre.setting.fleet(Orchestrator("onlooker", theatre.world))
    source, target = [await look(fleet.node(node), CT) for node in ("n1", "n2")]
    happened = phase == "end" and str(step.state) not in WITHOUT_A_TRACE
    assert step.happened(source, target) == happened
