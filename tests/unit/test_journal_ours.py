"""What is no journal is refused as bad input, and not a byte of it, nor beside it, is changed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.errors import BadInput
from migrator.journal import ours
from migrator.journal.store import Journal, JournalError

TEXT = b"# not a database, but long enough to be read as one\n" * 100


def everything(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file: its mode, when it was written, and what is in it; but for what readers of a database share."""
    return {
        path.name: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in directory.iterdir()
        if path.is_file() and not path.name.endswith("-shm")
    }


def refused(path: Path, why: str) -> None:
    before = everything(path.parent)
    with pytest.raises(BadInput, match=why):
        Journal(path)
    assert everything(path.parent) == before


@pytest.mark.parametrize("text", [TEXT, b"x", b"SQLite format 2\0" * 300], ids=["text", "one byte", "another magic"])
def test_a_file_that_is_no_journal_is_refused_and_stays_as_it_is(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(text)
    path.chmod(0o644)
    refused(path, "not a journal")


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("version", [0, 1])
def test_a_database_of_another_program_is_refused_and_stays_as_it_is(tmp_path: Path, mode: str, version: int) -> None:
    path = tmp_path / "mail.db"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA journal_mode = {mode}")
    db.execute("CREATE TABLE runs (id)")
    db.execute(f"PRAGMA user_version = {version}")
    db.commit()
    refused(path, "another program")  # while its program has it open
    db.close()
    refused(path, "another program")
    assert [file.name for file in tmp_path.iterdir()] == ["mail.db"]


def test_an_empty_database_that_another_program_has_marked_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id = 7")
    db.close()
    refused(path, "another program")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    refused(tmp_path / "d", "it is a directory")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    monkeypatch.setattr(ours.os, "access", lambda path, mode: False)  # the tests may run as root, who may everything
    refused(path, "may not read and write it")


def test_a_place_where_no_file_can_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="file is not a directory"):
        Journal(tmp_path / "file" / "deep" / "journal.db")


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.touch()
    Journal(path).create_run("r", "move", {})
    assert Journal(path).run("r").kind == "move"


def test_a_name_that_sqlite_would_take_for_something_else_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Journal(Path(":memory:")).create_run("r", "move", {})
    assert Journal(Path(":memory:")).run("r").kind == "move"


def test_a_journal_from_before_the_mark_is_still_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    old = Journal(path)
    old.create_run("r", "move", {})
    old.store._db.execute("PRAGMA application_id = 0")  # type: ignore[attr-defined]
    assert Journal(path).run("r").kind == "move"
    old.close()
    assert Journal(path).run("r").kind == "move"


def test_a_damaged_journal_is_an_operators_business(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" * 3000 + data[3100:])
    with pytest.raises(JournalError, match=r"cannot be (opened|read)"):
        Journal(path).runs()


def test_two_that_make_one_journal_at_one_moment_both_have_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    line = (
        "import sys; from pathlib import Path; from migrator.journal.store import Journal; Journal(Path(sys.argv[1]))"
    )
    made = [subprocess.Popen([sys.executable, "-c", line, str(path)], stderr=subprocess.PIPE) for _ in range(6)]
    assert [process.wait() for process in made] == [0] * 6, [os.fsdecode(p.communicate()[1]) for p in made]


def test_a_journal_opened_twice_in_one_process_loses_nothing_when_another_program_has_read_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    def in_another_program(act: str) -> str:
        opened = "import sys, pathlib; from migrator.journal.store import Journal"
        program = f"{opened}; journal = Journal(pathlib.Path(sys.argv[1])); {act or 'pass'}; journal.close()"
        done = subprocess.run(
            [sys.executable, "-c", program, path], check=True, timeout=60, capture_output=True, text=True
        )
        return done.stdout

    first = Journal(path)
    first.create_run("one", "test", {})
    Journal(path).close()  # as planning does that learns from the journal it is going to write
    in_another_program("")
    first.create_run("two", "test", {})
    assert sorted(in_another_program("print(*[run.id for run in journal.runs()])").split()) == ["one", "two"]
