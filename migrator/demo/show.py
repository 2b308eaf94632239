"""What the demo prints: tables and colour for a person at a terminal, the same words plainly for everything else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from migrator.cli.output import clean
from migrator.demo.clients import Client
from migrator.demo.verdict import Row, verdict_line
from migrator.model.units import format_bytes, format_seconds

PLAIN_WIDTH = 200


class Show:
    """One demo's output, and its clock."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(file=self._console.file, highlight=False, width=PLAIN_WIDTH)
        self._began_s = time.monotonic()

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(clean(text), style=style), soft_wrap=True)

    def title(self, text: str) -> None:
        self.line()
        self.line(text, "bold")

    def command(self, *words: str) -> None:
        """The command a person would type for what happens next."""
        self.line(f"$ migrator {' '.join(words)}", "cyan")

    @contextlib.contextmanager
    def clients_at_work(self, clients: Sequence[Client]) -> Iterator[None]:
        """While the body runs, a terminal shows what the clients do."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            console=self._console,
            refresh_per_second=5,
            transient=True,
            get_renderable=lambda: _clients_table(clients),
        ):
            yield

    def rows(self, rows: Sequence[Row]) -> None:
        """The table of one drain."""
        columns = ("CONTAINER", "WHAT IT IS", "MOVE", "BLACKOUT", "LONGEST GAP", "SENT", "CHECK")
        table = _table(columns, right=("BLACKOUT", "LONGEST GAP", "SENT"))
        for row in rows:
            table.add_row(
                row.container,
                row.kind,
                row.move,
                f"{row.blackout_ms} ms" if row.blackout_ms is not None else "-",
                f"{row.gap_ms:.0f} ms",
                format_bytes(row.bytes) if row.bytes else "-",
                Text(clean(row.finding.text), style="green" if row.finding.good else "bold red"),
            )
        self._console.print(table)

    def events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """One move as its journal tells it: the end of every state, and what failed or was decided."""
        for event in events:
            if event["phase"] == "begin":
                continue
            said = str(event["data"].get("error") or "") if event["phase"] == "fail" else ""
            since_s = (event["at_ms"] - events[0]["at_ms"]) / 1000
            failed = event["phase"] == "fail" or event["state"] == "aborted"
            word = f"{event['state']}{' failed' if event['phase'] == 'fail' else ''}"
            self.line(f"  {since_s:8.3f} s  {word:<17} {said}".rstrip(), "yellow" if failed else "")

    def verdict(self, reasons: Sequence[str]) -> None:
        self.line()
        self.line(verdict_line(reasons), "bold red" if reasons else "bold green")

    def took(self) -> str:
        """The time since the demo began."""
        return format_seconds(time.monotonic() - self._began_s)


def _clients_table(clients: Sequence[Client]) -> Table:
    table = _table(("CLIENT OF", "SO FAR", "LONGEST GAP"), right=("SO FAR", "LONGEST GAP"))
    for client in clients:
        said = Text(client.error, style="bold red") if client.error else Text(f"{client.meter.gap_so_far_ms:.0f} ms")
        table.add_row(client.container, client.talk.done, said)
    return table


def _table(columns: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in right else "left")
    return table
