"""The journal: which event may follow which, and who may write and decide.

The decision of a migration is one row changed by compare-and-set on token and on being undecided, in the same
transaction as its event: of two orchestrators with the same journal, at most one decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from migrator.errors import BadInput, Refused, quoted
from migrator.journal.base import JournalError, Migration, Run, Store
from migrator.journal.events import Event, Phase, Progress, apply, fold
from migrator.journal.sqlite import SqliteStore
from migrator.model.modes import FOLLOWED
from migrator.protocol.stale import Known
from migrator.protocol.states import State

__all__ = ["ENVIRONMENT", "Journal", "JournalError", "Migration", "Run", "Store", "default_path"]

ENVIRONMENT = "MIGRATOR_JOURNAL"


def default_path() -> Path:
    """$MIGRATOR_JOURNAL, else the XDG place for state."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "migrator" / "journal.db"


class Journal:
    """An open journal, over a store or over the SQLite file at a path.

    All calls are short and synchronous: an orchestrator that has not synced may not act.
    """

    def __init__(self, store: Store | Path, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.store: Store = SqliteStore(store) if isinstance(store, Path) else store
        self.now_ms = now_ms
        self._progress: dict[str, Progress] = {}
        self._held: dict[str, int] = {}  # the token under which this process works on a migration

    @property
    def path(self) -> Path:
        """The file that it is kept in."""
        return Path(self.store.where)

    def close(self) -> None:
        self.store.close()

    # --- runs -------------------------------------------------------------------------------------------------

    def create_run(self, run: str, kind: str, document: dict[str, Any]) -> None:
        self.store.add_run(Run(run, kind, self.now_ms(), document, None))

    def finish_run(self, run: str, outcome: str) -> None:
        self.store.set_outcome(run, outcome)
        for migration in self.migrations(run):  # or an orchestrator would grow with every move it has made
            self._progress.pop(migration.id, None)
            self._held.pop(migration.id, None)

    def runs(self, limit: int = 1000) -> list[Run]:
        """The newest first."""
        return self.store.runs()[:limit]

    def run(self, run: str) -> Run:
        """The run of that id, or of an id that begins so if only one does."""
        runs = self.store.runs()
        found = [r for r in runs if r.id == run] or [r for r in runs if r.id.startswith(run)]
        if len(found) != 1:
            what = "there is no run" if not found else "there are several runs that begin with"
            raise BadInput(f"{what} {quoted(run)} in journal {self.store.where}; see: migrator runs")
        return found[0]

    def working_on(self, run: str) -> AbstractContextManager[None]:
        """Holds the run against other orchestrators on this machine; refused while one works on it."""
        return self.store.working_on(run)

    def worker(self, run: str) -> int | None:
        """The process on this machine that works on the run; None when nobody does."""
        return self.store.worker(run)

    # --- migrations ---------------------------------------------------------------------------------------------

    def add_migration(self, migration: Migration) -> None:
        """Enters an attempt. Its token has to be above all that this journal has given for the container: of two
        orchestrators that begin at one moment, one is refused."""
        if not self.store.add_migration(migration):
            raise Refused(f"container {migration.container} is being moved by another orchestrator of this journal")
        self._held[migration.id] = migration.token

    def token_max(self, container: str) -> int:
        """The highest token that this journal has given for a container, 0 if none."""
        return max((migration.token for migration in self.store.migrations_of(container)), default=0)

    def superseded(self, migration: str, container: str) -> bool:
        """Whether it is undecided, and a later attempt of this journal has leased the container: it holds nothing.

        A lease needs a source that no run holds, so the earlier one had not leased it, and now never can.
        """
        if self._fold(migration).decision is not None:
            return False
        attempts = self.store.migrations_of(container)
        mine = next(m.token for m in attempts if m.id == migration)
        return any(m.token > mine and State.LEASED in self._fold(m.id).reached for m in attempts)

    def migrations(self, run: str) -> list[Migration]:
        """A run's migrations in the order in which they began."""
        return self.store.migrations(run)

    def migrations_of(self, container: str) -> list[Migration]:
        """A container's migrations, of all runs, in the order in which they began."""
        return self.store.migrations_of(container)

    def known(self, migration: Migration) -> Known:
        """What the journal knows of a migration, as the recovery table asks for it."""
        progress = self.progress(migration.id)
        superseded = ""
        if State.LEASED not in progress.reached and progress.decision is None:
            all_of_it = self.migrations_of(migration.container)
            later = all_of_it[[m.id for m in all_of_it].index(migration.id) + 1 :]
            superseded = later[0].run if later else ""
        return Known(
            run=migration.run,
            token=migration.token,
            generation=migration.generation,
            decision=progress.decision,
            begun=progress.begun,
            reached=frozenset(progress.reached),
            superseded=superseded,
            follows=migration.mode in FOLLOWED and State.FILLED not in progress.reached,
            not_let_go="not_let_go" in progress.reached.get(State.RELEASED, {}),
        )

    def migration(self, migration: str) -> Migration:
        """One migration as it stands now."""
        return self.store.migration(migration)

    def take_over(self, migration: str, token: int) -> None:
        """Records the token under which this orchestrator goes on with the migration."""
        if not self.store.raise_token(migration, token):
            raise Refused(f"migration {migration} was taken over by another orchestrator meanwhile")
        self._held[migration] = token
        self._progress.pop(migration, None)  # what the other has written until now counts

    # --- events -------------------------------------------------------------------------------------------------

    def record(self, migration: str, *steps: tuple[State, Phase, dict[str, Any]]) -> None:
        """Appends events in one synced transaction. An event that may not follow is refused and nothing is written."""
        progress = self.progress(migration)
        events = []
        for state, phase, data in steps:
            event = Event(0, self.now_ms(), state, phase, data)
            progress = apply(progress, event)
            events.append(event)
        if not self.store.append(migration, self._held.get(migration), events):
            raise Refused(f"migration {migration} was taken over by another orchestrator")
        self._progress[migration] = progress

    def note(self, migration: str, data: dict[str, Any]) -> None:
        """Writes down what stands beside the states, where the migration is: see `events.Phase`."""
        self.record(migration, (self.progress(migration).state, Phase.NOTE, data))

    def decide(self, migration: str, token: int, decision: State, data: dict[str, Any] | None = None) -> None:
        """The commit point. At most one caller succeeds: compare-and-set on the token and on the decision before.

        That is none, but for REVOKED, which follows COMMITTED, and for SETTLED, which follows whatever was decided.
        """
        event = Event(0, self.now_ms(), decision, Phase.END, data or {})
        folded = self._fold(migration)
        progress = apply(folded, event)
        before = {State.REVOKED: State.COMMITTED, State.SETTLED: folded.decision}.get(decision)
        if not self.store.decide(migration, token, before, event):
            raise Refused(f"migration {migration}: another orchestrator has decided or taken over")
        self._progress[migration] = progress

    def events(self, migration: str) -> list[Event]:
        return self.store.events(migration)

    def progress(self, migration: str) -> Progress:
        """Where the migration stands.

        Folded once and carried along with what it appends for one that this process holds; any other is folded at each
        reading: kept, an orchestrator would grow with every move it has looked at.
        """
        known = self._progress.get(migration)
        if known is None:
            known = self._fold(migration)
            if migration in self._held:
                self._progress[migration] = known
        return known

    def _fold(self, migration: str) -> Progress:
        return fold(migration, self.events(migration))
