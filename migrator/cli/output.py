"""What commands print: tables for people, one JSON document for programs, one line for errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from migrator.cli.hints import pasteable

F = TypeVar("F", bound=Callable[..., Any])
GAP, WIDTH_MAX = 2, 500  # between columns, and of a line that is for no terminal


def json_option(command: F) -> F:
    """Adds --json to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(command)


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def fail(message: str, exit_code: int, as_json: bool, document: dict[str, Any] | None = None) -> int:
    """Says why a command ends: one line on stderr, and on stdout the one document, if one was asked for.

    `document` is what the command would have printed had it gone well; the error is added to it.
    """
    line = pasteable(clean(" ".join(message.split())))
    if as_json:
        print_json({**(document or {}), "error": line, "exit_code": exit_code})
    click.echo(f"migrator: {line}", err=True)
    return exit_code


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], whole: bool = False) -> None:
    """A table without lines, which also grep and awk can read; columns as wide as they need.

    What a terminal has no room for is cut, or, of a `whole` table, goes on in its next line.
    """
    cells = [list(columns), *([pasteable(clean(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    plain = all(cell.isascii() for row in cells for cell in row)  # of others a character may be two columns wide
    if plain and not sys.stdout.isatty() and sum(widths) + GAP * (len(widths) - 1) <= WIDTH_MAX:
        for row in cells:
            line = (" " * GAP).join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo(line)
        return
    _print_rich(cells, None if sys.stdout.isatty() and not whole else WIDTH_MAX)


def _print_rich(cells: Sequence[Sequence[str]], width: int | None) -> None:
    """For a terminal, and for text that is wider than its characters; much to load."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for column in cells[0]:
        table.add_column(column, no_wrap=True)
    for row in cells[1:]:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def clean(text: str) -> str:
    """Text of others, safe for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
