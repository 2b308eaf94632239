"""The journal on disk: SQLite, every write synced before the act it announces."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from migrator.journal import lockfile
from migrator.journal.base import JournalError, Migration, Run
from migrator.journal.events import Event, Phase
from migrator.journal.ours import APPLICATION_ID, check_path, note_opened
from migrator.protocol.states import State

SCHEMA_VERSION = 1
CACHE_KIB = 128  # SQLite would keep up to 2 MiB of pages, and an orchestrator grow by some KiB with every move
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
_MIGRATIONS = "SELECT id, run, container, source, target, token, generation, decision, document FROM migrations "


class SqliteStore:
    """See `journal.base.Store`. Opening makes the file, readable by its owner alone, if there is none.

    BadInput, and nothing is changed, where the path is that of something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        check_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path.absolute(), timeout=10, isolation_level=None)
            path.chmod(0o600)
            note_opened(path)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._migrate_schema()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"journal {path}: cannot be opened: {error}") from error

    def close(self) -> None:
        self._db.close()

    def add_run(self, run: Run) -> None:
        row = (run.id, run.kind, run.created_ms, json.dumps(run.document), run.outcome)
        with self._transaction() as db:
            db.execute("INSERT INTO runs (id, kind, created_ms, document, outcome) VALUES (?, ?, ?, ?, ?)", row)

    def set_outcome(self, run: str, outcome: str) -> None:
        with self._transaction() as db:
            db.execute("UPDATE runs SET outcome = ? WHERE id = ?", (outcome, run))

    def runs(self) -> list[Run]:
        rows = self._read("SELECT id, kind, created_ms, document, outcome FROM runs ORDER BY created_ms DESC, id DESC")
        return [Run(row[0], row[1], row[2], json.loads(row[3]), row[4]) for row in rows]

    def add_migration(self, migration: Migration) -> bool:
        m = migration
        document = json.dumps(m.document)
        row = (m.id, m.run, m.container, m.source, m.target, m.token, m.generation, document)
        with self._transaction() as db:
            known = db.execute("SELECT count(*) FROM migrations WHERE id = ?", (m.id,)).fetchone()[0]
            if known or _token_taken(db, m.container, m.token):
                return False
            db.execute(
                "INSERT INTO migrations (id, run, container, source, target, token, generation, document) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        return True

    def migration(self, migration: str) -> Migration:
        return _migration(self._read(_MIGRATIONS + "WHERE id = ?", (migration,))[0])

    def migrations(self, run: str) -> list[Migration]:
        rows = self._read(
            _MIGRATIONS + "WHERE run = ? ORDER BY rowid",
            (run,),
        )
        return [_migration(row) for row in rows]

    def migrations_of(self, container: str) -> list[Migration]:
        rows = self._read(_MIGRATIONS + "WHERE container = ? ORDER BY rowid", (container,))
        return [_migration(row) for row in rows]

    def raise_token(self, migration: str, token: int) -> bool:
        with self._transaction() as db:
            container = db.execute("SELECT container FROM migrations WHERE id = ?", (migration,)).fetchone()[0]
            if _token_taken(db, container, token):
                return False
            db.execute("UPDATE migrations SET token = ? WHERE id = ?", (token, migration))
        return True

    def append(self, migration: str, token: int | None, events: Sequence[Event]) -> bool:
        with self._transaction() as db:
            holds = db.execute("SELECT token FROM migrations WHERE id = ?", (migration,)).fetchone()[0]
            if token is not None and holds != token:
                return False
            for event in events:
                self._append(db, migration, event)
        return True

    def decide(self, migration: str, token: int, before: State | None, event: Event) -> bool:
        old = str(before) if before else None
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE migrations SET decision = ? WHERE id = ? AND token = ? AND decision IS ?",
                (str(event.state), migration, token, old),
            ).rowcount
            if changed != 1:
                return False
            self._append(db, migration, event)
        return True

    def events(self, migration: str) -> list[Event]:
        rows = self._read(
            "SELECT seq, at_ms, state, phase, data FROM events WHERE migration = ? ORDER BY seq", (migration,)
        )
        return [Event(row[0], row[1], State(row[2]), Phase(row[3]), json.loads(row[4])) for row in rows]

    def working_on(self, run: str) -> contextlib.AbstractContextManager[None]:
        return lockfile.held(self._lock(run), run)

    def worker(self, run: str) -> int | None:
        return lockfile.holder(self._lock(run))

    def _lock(self, run: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{run}.lock")

    # --- inside -------------------------------------------------------------------------------------------------

    @staticmethod
    def _append(db: sqlite3.Connection, migration: str, event: Event) -> None:
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
        version = self._version()
        if version == 0:
            with self._transaction() as db:
                if self._version() == 0:  # or another process was first
                    for statement in _SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            version = self._version()
        if version != SCHEMA_VERSION:
            raise JournalError(f"journal {self.path} is of version {version}, this program reads {SCHEMA_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])


def _token_taken(db: sqlite3.Connection, container: str, token: int) -> bool:
    sql = "SELECT count(*) FROM migrations WHERE container = ? AND token >= ?"
    return bool(db.execute(sql, (container, token)).fetchone()[0])


def _migration(row: tuple[Any, ...]) -> Migration:
    decision = State(row[7]) if row[7] else None
    return Migration(row[0], row[1], row[2], row[3], row[4], row[5], row[6], decision, json.loads(row[8]))
