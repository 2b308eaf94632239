"""The journal: durable, refusing what may not follow, and with one decision for each migration."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.errors import BadInput, Refused
from migrator.journal import lockfile
from migrator.journal.events import Phase
from migrator.journal.store import Journal, JournalError, Migration
from migrator.protocol.states import IllegalTransition, State

M = "r/web/1"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.db", now_ms=lambda: 1000)
    journal.create_run("r", "move web to n2", {})
    journal.add_migration(Migration(M, "r", "web", "n1", "n2", 2, 1, None, {}))
    return journal


def seal(journal: Journal) -> None:
    for state in ("leased", "checked", "reserved", "seeded", "fenced", "dumped", "synced", "restored", "verified"):
        journal.record(M, (State(state), Phase.END, {}))
    journal.record(M, (State.SEALED, Phase.END, {}))


def test_what_was_recorded_is_there_for_another_process(journal: Journal) -> None:
    journal.record(M, (State.LEASED, Phase.BEGIN, {}), (State.LEASED, Phase.END, {"token": 2}))
    again = Journal(journal.path)
    assert [(e.state, e.phase) for e in again.events(M)] == [(State.LEASED, Phase.BEGIN), (State.LEASED, Phase.END)]
    assert again.progress(M).reached == {State.LEASED: {"token": 2}}


def test_an_event_that_may_not_follow_leaves_the_journal_as_it_was(journal: Journal) -> None:
    with pytest.raises(IllegalTransition):
        journal.record(M, (State.LEASED, Phase.END, {}), (State.RELEASED, Phase.END, {}))
    assert journal.events(M) == []
    assert Journal(journal.path).events(M) == []


def test_of_two_orchestrators_only_one_decides(journal: Journal) -> None:
    seal(journal)
    other = Journal(journal.path)
    journal.decide(M, 2, State.COMMITTED)
    with pytest.raises((Refused, IllegalTransition)):
        other.decide(M, 2, State.ABORTED)
    assert Journal(journal.path).progress(M).decision is State.COMMITTED


def test_an_older_token_decides_nothing(journal: Journal) -> None:
    seal(journal)
    Journal(journal.path).take_over(M, 3)
    with pytest.raises(Refused, match="another orchestrator"):
        journal.decide(M, 2, State.COMMITTED)
    assert Journal(journal.path).progress(M).decision is None


def test_an_orchestrator_that_was_superseded_writes_no_more(journal: Journal) -> None:
    Journal(journal.path).take_over(M, 3)
    with pytest.raises(Refused, match="taken over"):
        journal.record(M, (State.LEASED, Phase.BEGIN, {}))
    assert Journal(journal.path).events(M) == []


def test_a_take_over_needs_a_higher_token(journal: Journal) -> None:
    with pytest.raises(Refused):
        journal.take_over(M, 2)


def test_only_a_commit_can_be_revoked(journal: Journal) -> None:
    with pytest.raises(IllegalTransition):
        journal.decide(M, 2, State.REVOKED)
    seal(journal)
    journal.decide(M, 2, State.COMMITTED)
    journal.decide(M, 2, State.REVOKED)
    assert journal.progress(M).decision is State.REVOKED


def test_a_run_is_worked_on_by_one_process_at_a_time(journal: Journal) -> None:
    with journal.working_on("r"), pytest.raises(Refused, match="pid"), journal.working_on("r"):
        pass
    with journal.working_on("r"):
        pass


def test_a_run_is_found_by_the_begin_of_its_id_if_that_is_enough(journal: Journal) -> None:
    journal.create_run("r2", "drain n1", {})
    assert journal.run("r").id == "r"
    assert journal.run("r2").kind == "drain n1"
    with pytest.raises(BadInput, match="no run 'x'"):
        journal.run("x")


def test_a_journal_of_a_later_version_is_not_touched(journal: Journal) -> None:
    journal.store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="version 99"):
        Journal(journal.path)


def test_every_commit_is_synced(journal: Journal) -> None:
    assert journal.store._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_finished_run_takes_no_memory_and_can_still_be_read(journal: Journal) -> None:
    journal.record(M, (State.LEASED, Phase.END, {"token": 2}))
    journal.finish_run("r", "done")
    assert journal.progress(M).reached == {State.LEASED: {"token": 2}}
    assert journal._progress == {}


def test_a_lock_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    lock = tmp_path / "j.db.r.lock"
    lock.symlink_to("/dev/full")
    no_room = r"lock .* of run r cannot be written: No space left"
    with pytest.raises(JournalError, match=no_room), journal.working_on("r"):
        pass
    assert not lock.is_symlink()
    with journal.working_on("r"):
        assert lock.exists()
    with pytest.raises(JournalError, match="cannot be written"), lockfile.held(tmp_path / "none" / "lock", "r"):
        pass
