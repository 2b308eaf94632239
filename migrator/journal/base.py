"""What a journal is kept in: a handful of operations, each one durable transaction.

The rules (which event may follow, who may decide) are in `journal/store.py` and the same over every store.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from migrator.errors import MigratorError
from migrator.journal.events import Event
from migrator.model.modes import Mode
from migrator.model.plan import move_name
from migrator.protocol.states import State


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
    """One attempt at one move of one container. `token` and `generation` are those it holds now."""

    id: str
    run: str
    container: str
    source: str
    target: str
    token: int
    generation: int
    decision: State | None
    document: dict[str, Any]

    @property
    def leg(self) -> int:
        """Which of the container's moves in the run's plan it is an attempt at, from 1."""
        return int(self.document.get("leg", 1))

    @property
    def mode(self) -> Mode:
        """How its memory goes."""
        return Mode(self.document.get("mode", Mode.STOP_AND_COPY))

    @property
    def move(self) -> str:
        """The name of that move in the plan."""
        return move_name(self.container, self.leg)


class Store(Protocol):
    """Each method that writes returns only after what it wrote would survive a power loss; JournalError if it cannot.

    Those that return a bool wrote nothing when it is False.
    """

    where: str

    def add_run(self, run: Run) -> None: ...

    def set_outcome(self, run: str, outcome: str) -> None: ...

    def runs(self) -> list[Run]:
        """The newest first."""
        ...

    def add_migration(self, migration: Migration) -> bool:
        """False unless its id is new, and its token above that of every migration of its container in this journal."""
        ...

    def migration(self, migration: str) -> Migration: ...

    def migrations(self, run: str) -> list[Migration]:
        """A run's migrations in the order in which they began."""
        ...

    def migrations_of(self, container: str) -> list[Migration]:
        """A container's migrations, of all runs, in the order in which they began."""
        ...

    def raise_token(self, migration: str, token: int) -> bool:
        """False unless the token is above that of every migration of its container in this journal."""
        ...

    def append(self, migration: str, token: int | None, events: Sequence[Event]) -> bool:
        """Appends all of the events or none; False unless the migration's token is `token` (None: whatever it is)."""
        ...

    def decide(self, migration: str, token: int, before: State | None, event: Event) -> bool:
        """Compare-and-set: False unless the token is the migration's and `before` its decision so far."""
        ...

    def events(self, migration: str) -> list[Event]: ...

    def working_on(self, run: str) -> AbstractContextManager[None]:
        """Holds the run against other orchestrators on this machine; refused while one works on it."""
        ...

    def worker(self, run: str) -> int | None:
        """The process on this machine that works on the run; None when nobody does."""
        ...

    def close(self) -> None: ...
