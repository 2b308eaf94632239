"""Holds an orchestrator at one point: a write of its journal, or a call to a node before it is made or when answered.

The product needs no hook for it: these are its own journal and its own nodes, watched. Points are named by what was
written (`sealed:end`, `take-over`, `kept:end`, `finish-run`) or called (`after thaw source`), as in scenes.py.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.protocol.states import State
from migrator.transport.base import Answer
from migrator.transport.ssh import SshNode


def say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


@dataclass
class Hold:
    """`stop_at` is the point, `container` whose it is, `sides` what a node's name means in this move."""

    stop_at: str = ""
    container: str = ""
    sides: dict[str, str] = field(default_factory=dict)

    def passes(self, journal: Journal | None, point: str, container: str) -> None:
        """Stops here, if this is the point, until a line comes. That line may name the next point."""
        if not self.stop_at or (point, container) != (self.stop_at, self.container):
            return
        self.stop_at = ""  # once: a second attempt passes here again
        say({"stopped": point, **(_standing(journal, container) if journal else {})})
        line = sys.stdin.readline()  # blocking on purpose: nothing of this process goes on
        self.stop_at = json.loads(line).get("stop_at", "") if line.strip() else ""


def _standing(journal: Journal, container: str) -> dict[str, Any]:
    """The run that is newest, the container's token in it, and where each of the run's containers stands."""
    run = journal.runs(1)[0].id
    states = {}
    token = 0
    for migration in journal.migrations(run):
        progress = journal.progress(migration.id)
        phase = Phase.END if progress.pending is None else Phase.BEGIN
        states[migration.container] = f"{progress.pending or progress.state}:{phase}"
        token = migration.token if migration.container == container else token
    return {"run": run, "token": token, "states": states}


class WatchedJournal(Journal):
    """The journal, which tells a hold of each write once it is durable."""

    hold: Hold | None = None

    def record(self, migration: str, *steps: tuple[State, Phase, dict[str, Any]]) -> None:
        super().record(migration, *steps)
        for state, phase, data in steps:
            self._passes("kept:end" if state is State.SETTLED and "kept" in data else f"{state}:{phase}", migration)

    def decide(self, migration: str, token: int, decision: State, data: dict[str, Any] | None = None) -> None:
        super().decide(migration, token, decision, data)
        self._passes(f"{decision}:end", migration)

    def take_over(self, migration: str, token: int) -> None:
        super().take_over(migration, token)
        self._passes("take-over", migration)

    def finish_run(self, run: str, outcome: str) -> None:
        super().finish_run(run, outcome)
        if self.hold is not None:
            self.hold.passes(self, "finish-run", self.hold.container)

    def _passes(self, point: str, migration: str) -> None:
        if self.hold is not None:
            self.hold.passes(self, point, self.migration(migration).container)


class WatchedNode(SshNode):
    """A node, which tells a hold of each call."""

    hold: Hold
    journal: Journal

    async def call(
        self, verb: str, *args: str | int, stdin: bytes = b"", timeout_s: float = 30, tries: int = 3
    ) -> Answer:
        container, side = str(args[0]) if args else "", self.hold.sides.get(self.name, self.name)
        self.hold.passes(self.journal, f"before {verb} {side}", container)
        answer = await super().call(verb, *args, stdin=stdin, timeout_s=timeout_s, tries=tries)
        self.hold.passes(self.journal, f"after {verb} {side}", container)
        return answer
