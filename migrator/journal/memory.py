"""A journal in memory: the same operations, kept in lists. For the simulator, where the orchestrator dies and it does
not; never for real containers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from migrator.errors import Refused
from migrator.journal.base import Migration, Run
from migrator.journal.events import Event
from migrator.protocol.states import State


class MemoryStore:
    """See `journal.base.Store`."""

    def __init__(self, where: str = "memory") -> None:
        self.where = where
        self._runs: dict[str, Run] = {}
        self._migrations: dict[str, Migration] = {}
        self._of_run: dict[str, list[str]] = {}
        self._events: dict[str, list[Event]] = {}
        self._worked_on: set[str] = set()
        self._seq = 0

    def copy(self) -> MemoryStore:
        """A backup: what is written later is not in it."""
        backup = MemoryStore(f"backup of {self.where}")
        backup._runs = dict(self._runs)
        backup._migrations = dict(self._migrations)
        backup._of_run = {run: list(ids) for run, ids in self._of_run.items()}
        backup._events = {migration: list(events) for migration, events in self._events.items()}
        backup._seq = self._seq
        return backup

    def add_run(self, run: Run) -> None:
        self._runs[run.id] = run
        self._of_run[run.id] = []

    def set_outcome(self, run: str, outcome: str) -> None:
        self._runs[run] = replace(self._runs[run], outcome=outcome)

    def runs(self) -> list[Run]:
        return sorted(self._runs.values(), key=lambda run: (run.created_ms, run.id), reverse=True)

    def add_migration(self, migration: Migration) -> bool:
        if migration.id in self._migrations or any(
            other.token >= migration.token for other in self.migrations_of(migration.container)
        ):
            return False
        self._migrations[migration.id] = migration
        self._of_run[migration.run].append(migration.id)
        self._events[migration.id] = []
        return True

    def migration(self, migration: str) -> Migration:
        return self._migrations[migration]

    def migrations(self, run: str) -> list[Migration]:
        return [self._migrations[migration] for migration in self._of_run.get(run, [])]

    def migrations_of(self, container: str) -> list[Migration]:
        return [migration for migration in self._migrations.values() if migration.container == container]

    def raise_token(self, migration: str, token: int) -> bool:
        found = self._migrations[migration]
        if any(other.token >= token for other in self.migrations_of(found.container)):
            return False
        self._migrations[migration] = replace(found, token=token)
        return True

    def append(self, migration: str, token: int | None, events: Sequence[Event]) -> bool:
        if token is not None and self._migrations[migration].token != token:
            return False
        for event in events:
            self._seq += 1
            self._events[migration].append(replace(event, seq=self._seq))
        return True

    def decide(self, migration: str, token: int, before: State | None, event: Event) -> bool:
        found = self._migrations[migration]
        if found.token != token or found.decision is not before:
            return False
        self._migrations[migration] = replace(found, decision=event.state)
        return self.append(migration, token, [event])

    def events(self, migration: str) -> list[Event]:
        return list(self._events[migration])

    @contextlib.contextmanager
    def working_on(self, run: str) -> Iterator[None]:
        if run in self._worked_on:
            raise Refused(f"run {run} is being worked on by another process; end that first")
        self._worked_on.add(run)
        try:
            yield
        finally:
            self.let_go(run)

    def let_go(self, run: str) -> None:
        """Nobody works on the run any more: its orchestrator is through with it, or has died."""
        self._worked_on.discard(run)

    def worker(self, run: str) -> int | None:
        return os.getpid() if run in self._worked_on else None

    def close(self) -> None:
        """Nothing is held open."""
