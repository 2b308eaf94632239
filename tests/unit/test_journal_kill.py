"""The journal on disk, its process killed with SIGKILL before, in and after every write: what it had said is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.journal.store import Journal
from migrator.protocol.states import FORWARD, State

# Moves one container through every state; dies at the n-th call into SQLite, and says on stdout what was promised.
WRITER = """
import os, signal, sqlite3, sys
from pathlib import Path
from migrator.journal import sqlite as store
from migrator.journal.events import Phase
from migrator.journal.store import Journal, Migration
from migrator.protocol.states import FORWARD, State

left = int(sys.argv[2])

class Counting(sqlite3.Connection):
    def execute(self, sql, *arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(sql, *arguments)

real = sqlite3.connect
store.sqlite3.connect = lambda path, **more: real(path, factory=Counting, **more)

def promise(what):
    os.write(1, (what + "\\n").encode())

journal = Journal(Path(sys.argv[1]))
journal.create_run("r", "move", {})
promise("run")
journal.add_migration(Migration("r/web/1", "r", "web", "n1", "n2", 2, 1, None, {}))
promise("migration")
for state in FORWARD[1:]:
    if state is State.COMMITTED:
        journal.decide("r/web/1", 2, state)
    else:
        journal.record("r/web/1", (state, Phase.BEGIN, {}))
        promise(f"{state}:begin")
        journal.record("r/web/1", (state, Phase.END, {}))
    promise(f"{state}:end")
journal.finish_run("r", "done")
promise("outcome")
promise(f"calls {int(sys.argv[2]) - left}")
"""


def killed_at(path: Path, call: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), str(call)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (0, -9), done.stderr
    return done.stdout.splitlines()


def found(path: Path) -> list[str]:
    """What another process reads from the journal that is left, in the order in which it was written."""
    journal = Journal(path)
    runs = journal.runs()
    migrations = journal.migrations("r") if runs else []
    lines = ["run"] * len(runs) + ["migration"] * len(migrations)
    if migrations:
        lines += [f"{event.state}:{event.phase}" for event in journal.events("r/web/1")]
        journal.progress("r/web/1")  # folds, or it is damaged
        decided = State.COMMITTED if f"{State.COMMITTED}:end" in lines else None
        assert migrations[0].decision is decided  # the row and its event are one write
    return lines + ["outcome"] * sum(run.outcome == "done" for run in runs)


def calls(tmp_path: Path) -> int:
    (*_, last) = killed_at(tmp_path / "whole.db", 100_000)
    return int(last.split()[1])


def check(path: Path, call: int) -> None:
    promised = [line for line in killed_at(path, call) if not line.startswith("calls")]
    there = found(path)
    assert there[: len(promised)] == promised
    assert len(there) <= len(promised) + 1  # at most the write that it died in


def test_what_was_promised_is_there_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    whole = calls(tmp_path)
    assert whole > 3 * len(FORWARD)
    for call in range(1, whole + 1, 9):
        check(tmp_path / f"{call}.db", call)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_same_at_every_single_call(tmp_path: Path) -> None:
    for call in range(1, calls(tmp_path) + 1):
        check(tmp_path / f"{call}.db", call)


def test_a_journal_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    before = os.umask(0)
    try:
        Journal(path).create_run("r", "move", {})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("torn_bytes", [1, 100, 5000])
def test_a_torn_write_ahead_log_is_read_up_to_its_last_whole_write(tmp_path: Path, torn_bytes: int) -> None:
    path, torn = tmp_path / "journal.db", tmp_path / "torn.db"
    killed_at(path, 120)
    log = path.with_name(path.name + "-wal").read_bytes()
    assert len(log) > torn_bytes
    torn.write_bytes(path.read_bytes())
    torn.with_name(torn.name + "-wal").write_bytes(log[:-torn_bytes])
    there, whole = found(torn), found(path)
    assert there == whole[: len(there)]
    assert len(there) < len(whole)
