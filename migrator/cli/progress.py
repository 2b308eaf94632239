"""Live progress of a run: a table that moves for a person at a terminal, plain lines for everything else."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import click

from migrator.journal.events import Phase
from migrator.model.plan import Plan, move_name
from migrator.model.units import format_bytes, format_seconds
from migrator.protocol.states import FORWARD, State
from migrator.steps.base import Move


@dataclass(slots=True)
class _Row:
    container: str
    way: str
    total_bytes: int
    estimate_s: float
    state: str = "planned"
    sent_bytes: int = 0
    started_s: float | None = None
    ended_s: float | None = None
    fenced_s: float | None = None
    released_s: float | None = None
    lines: list[str] = field(default_factory=list)


class Progress:
    """Takes the saga's notices. `quiet` shows nothing; otherwise it writes to stderr, so stdout stays a report."""

    def __init__(self, plan: Plan, quiet: bool) -> None:
        self._rows = {
            move.name: _Row(
                move.name,
                f"{move.source} -> {move.target}",
                move.estimate.bytes,
                move.estimate.duration_s,
            )
            for move in plan.moves
        }
        self._quiet = quiet
        self._live: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=8, get_renderable=self._table)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def notify(self, move: Move, state: State, phase: Phase) -> None:
        """One transition began or ended."""
        row = self._rows.get(move_name(move.name, move.leg))
        if row is None or self._quiet:
            return
        now = time.monotonic()
        row.started_s = row.started_s or now
        if phase is Phase.BEGIN:
            row.state = f"{state} ..." if self._live else str(state)
            if state is State.FENCED:
                row.fenced_s = now
            return
        row.state = str(state)
        row.sent_bytes = sum(
            int(result.get("sent_bytes", 0)) + int(result.get("image_bytes", 0)) for result in move.results.values()
        )
        if state is State.FENCED and row.fenced_s is not None:
            before_ms = sum(int(move.results[state].get(key, 0)) for key in ("quiet_ms", "turn_ms"))
            row.fenced_s += before_ms / 1000
        if state is State.RELEASED:
            row.released_s = now
        if state in (State.DONE, State.ROLLED_BACK):
            row.ended_s = now
        if self._live is None:
            self._line(row, state, now)

    def _line(self, row: _Row, state: State, now: float) -> None:
        since = format_seconds(now - (row.started_s or now))
        more = f", {format_bytes(row.sent_bytes)} sent" if row.sent_bytes else ""
        if state is State.RELEASED and row.fenced_s is not None:
            more += f", paused for {format_seconds(now - row.fenced_s)}"
        click.echo(f"{row.container}: {row.way}: {state} after {since}{more}", err=True)

    def _table(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("CONTAINER", "MOVE", "STATE", "", "SENT", "RATE", "TIME", "LEFT"):
            table.add_column(column, no_wrap=True)
        now = time.monotonic()
        for row in self._rows.values():
            spent_s = ((row.ended_s or now) - row.started_s) if row.started_s else 0.0
            ended = row.ended_s is not None
            table.add_row(
                row.container,
                row.way,
                row.state,
                ProgressBar(total=len(FORWARD), completed=_position(row.state), width=20),
                format_bytes(row.sent_bytes) if row.sent_bytes else "-",
                f"{format_bytes(row.sent_bytes / spent_s)}/s" if spent_s and row.sent_bytes else "-",
                format_seconds(spent_s) if row.started_s else "-",
                "-" if ended or not row.started_s else f"~{format_seconds(max(0.0, row.estimate_s - spent_s))}",
            )
        return table


def _position(state: str) -> int:
    word = state.removesuffix(" ...")
    names = [str(s) for s in FORWARD]
    return names.index(word) + 1 if word in names else 0
