"""What commands print: tables for people, one JSON document for programs, one line for errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from migrator.cli.hints import pasteable

F = TypeVar("F", bound=Callable[..., Any])


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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(pasteable(clean(cell))) for cell in row))
    width = None if sys.stdout.isatty() and not whole else 500
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def clean(text: str) -> str:
    """Text of others, safe for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
