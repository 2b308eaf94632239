"""The journal on disk: SQLite, every write synced before the act it announces.

The decision of a migration is one row changed by compare-and-set on token and on being undecided, in the same
transaction as its event: of two orchestrators with the same journal, at most one decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.errors import BadInput, MigratorError, Refused
from migrator.journal.events import Event, Phase, Progress, apply, fold
from migrator.protocol.states import State

ENVIRONMENT = "MIGRATOR_JOURNAL"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    document TEXT NOT NULL,
    outcome TEXT
) STRICT;
CREATE TABLE migrations (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (id),
    container TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    token INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    decision TEXT,
    document TEXT NOT NULL
) STRICT;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    migration TEXT NOT NULL REFERENCES migrations (id),
    at_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    phase TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_migration ON events (migration, seq);
CREATE INDEX migrations_of_run ON migrations (run);
"""


class JournalError(MigratorError):
    """The journal cannot be read or written: nothing may be decided without it."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One command's work. `document` is what it was asked to do; `outcome` is None while it is unfinished."""

    id: str
    kind: str
    created_ms: int
    document: dict[str, Any]
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Migration:
    """One attempt to move one container. `token` and `generation` are those it holds now."""

    id: str
    run: str
    container: str
    source: str
    target: str
    token: int
    generation: int
    decision: State | None
    document: dict[str, Any]


def default_path() -> Path:
    """$MIGRATOR_JOURNAL, else the XDG place for state."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "migrator" / "journal.db"


class Journal:
    """An open journal. All calls are short and synchronous: an orchestrator that has not synced may not act."""

    def __init__(self, path: Path, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.path = path
        self._now_ms = now_ms
        self._progress: dict[str, Progress] = {}
        self._held: dict[str, int] = {}  # the token under which this process works on a migration
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate_schema()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"journal {path}: cannot be opened: {error}") from error

    def close(self) -> None:
        self._db.close()

    # --- runs -------------------------------------------------------------------------------------------------

    def create_run(self, run: str, kind: str, document: dict[str, Any]) -> None:
        row = (run, kind, self._now_ms(), json.dumps(document))
        with self._transaction() as db:
            db.execute("INSERT INTO runs (id, kind, created_ms, document) VALUES (?, ?, ?, ?)", row)

    def finish_run(self, run: str, outcome: str) -> None:
        with self._transaction() as db:
            db.execute("UPDATE runs SET outcome = ? WHERE id = ?", (outcome, run))
        for migration in self.migrations(run):  # or an orchestrator would grow with every move it has made
            self._progress.pop(migration.id, None)
            self._held.pop(migration.id, None)

    def runs(self, limit: int = 1000) -> list[Run]:
        """The newest first."""
        rows = self._read("SELECT id, kind, created_ms, document, outcome FROM runs ORDER BY created_ms DESC, id DESC")
        return [_run(row) for row in rows[:limit]]

    def run(self, run: str) -> Run:
        """The run of that id, or of an id that begins so if only one does."""
        found = [r for r in self.runs() if r.id == run] or [r for r in self.runs() if r.id.startswith(run)]
        if len(found) != 1:
            what = "there is no run" if not found else "there are several runs that begin with"
            raise BadInput(f"{what} {run!r} in journal {self.path}; see: migrator runs")
        return found[0]

    @contextlib.contextmanager
    def working_on(self, run: str) -> Iterator[None]:
        """Holds the run against other orchestrators on this machine; refused while one works on it."""
        path = self.path.with_name(f"{self.path.name}.{run}.lock")
        with path.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not path.exists() or path.stat().st_ino != os.fstat(handle.fileno()).st_ino:
                    raise BlockingIOError  # its last holder has just removed it
            except OSError:
                handle.seek(0)
                who = handle.read().strip() or "another process"
                raise Refused(f"run {run} is being worked on by {who}; end that first") from None
            handle.truncate(0)
            handle.write(f"pid {os.getpid()}")
            handle.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    # --- migrations ---------------------------------------------------------------------------------------------

    def add_migration(self, migration: Migration) -> None:
        row = (
            migration.id,
            migration.run,
            migration.container,
            migration.source,
            migration.target,
            migration.token,
            migration.generation,
            json.dumps(migration.document),
        )
        with self._transaction() as db:
            db.execute(
                "INSERT INTO migrations (id, run, container, source, target, token, generation, document) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        self._held[migration.id] = migration.token

    def migrations(self, run: str) -> list[Migration]:
        """A run's migrations in the order in which they began."""
        rows = self._read(
            "SELECT id, run, container, source, target, token, generation, decision, document "
            "FROM migrations WHERE run = ? ORDER BY rowid",
            (run,),
        )
        return [_migration(row) for row in rows]

    def take_over(self, migration: str, token: int) -> None:
        """Records the token under which this orchestrator goes on with the migration."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE migrations SET token = ? WHERE id = ? AND token < ?", (token, migration, token)
            ).rowcount
        if changed != 1:
            raise Refused(f"migration {migration} was taken over by another orchestrator meanwhile")
        self._held[migration] = token

    # --- events -------------------------------------------------------------------------------------------------

    def record(self, migration: str, *steps: tuple[State, Phase, dict[str, Any]]) -> None:
        """Appends events in one synced transaction. An event that may not follow is refused and nothing is written."""
        progress = self.progress(migration)
        with self._transaction() as db:
            token = db.execute("SELECT token FROM migrations WHERE id = ?", (migration,)).fetchone()[0]
            if token != self._held.get(migration, token):
                raise Refused(f"migration {migration} was taken over by another orchestrator")
            for state, phase, data in steps:
                event = Event(0, self._now_ms(), state, phase, data)
                progress = apply(progress, event)
                self._append(db, migration, event)
        self._progress[migration] = progress

    def decide(self, migration: str, token: int, decision: State, data: dict[str, Any] | None = None) -> None:
        """The commit point. At most one caller succeeds: compare-and-set on the token and on being undecided."""
        event = Event(0, self._now_ms(), decision, Phase.END, data or {})
        progress = apply(self._fold(migration), event)
        before = str(State.COMMITTED) if decision is State.REVOKED else None
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE migrations SET decision = ? WHERE id = ? AND token = ? AND decision IS ?",
                (str(decision), migration, token, before),
            ).rowcount
            if changed != 1:
                raise Refused(f"migration {migration}: another orchestrator has decided or taken over")
            self._append(db, migration, event)
        self._progress[migration] = progress

    def events(self, migration: str) -> list[Event]:
        rows = self._read(
            "SELECT seq, at_ms, state, phase, data FROM events WHERE migration = ? ORDER BY seq", (migration,)
        )
        return [Event(row[0], row[1], State(row[2]), Phase(row[3]), json.loads(row[4])) for row in rows]

    def progress(self, migration: str) -> Progress:
        """Where the migration stands; folded once, then carried along with what this process appends."""
        if migration not in self._progress:
            self._progress[migration] = self._fold(migration)
        return self._progress[migration]

    # --- inside -------------------------------------------------------------------------------------------------

    def _fold(self, migration: str) -> Progress:
        return fold(migration, self.events(migration))

    def _append(self, db: sqlite3.Connection, migration: str, event: Event) -> None:
        row = (migration, event.at_ms, str(event.state), str(event.phase), json.dumps(event.data))
        db.execute("INSERT INTO events (migration, at_ms, state, phase, data) VALUES (?, ?, ?, ?, ?)", row)

    def _read(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"journal {self.path}: cannot be read: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # or nothing could ever be written again, not even ABORTED
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise JournalError(f"journal {self.path}: cannot be written: {error}") from error

    def _migrate_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            with self._transaction() as db:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise JournalError(f"journal {self.path} is of version {version}, this program reads {SCHEMA_VERSION}")


def _run(row: tuple[Any, ...]) -> Run:
    return Run(row[0], row[1], row[2], json.loads(row[3]), row[4])


def _migration(row: tuple[Any, ...]) -> Migration:
    decision = State(row[7]) if row[7] else None
    return Migration(row[0], row[1], row[2], row[3], row[4], row[5], row[6], decision, json.loads(row[8]))
