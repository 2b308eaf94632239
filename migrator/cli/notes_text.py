"""Notes of a plan as people read them: many of one kind are one line, and a plan's file or document has them all."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from migrator.cli.hints import pasteable
from migrator.cli.output import clean

SHOWN_MAX = 3  # of one kind
_KINDS = tuple(
    re.compile(kind)
    for kind in (
        r" are together on \S+ already and stay so$",
        r" are together on \S+ already and are parted by this plan$",
        r" did not answer and is left out$",
        r" is stopped and stays where it is$",
        r"^container \S+ is on \S+ already$",
        r"^container \S+ is left alone: ",
        r"^what if \S+ were not cordoned$",
        r"^what if \S+ did not exist$",
    )
)


def print_notes(notes: Iterable[str], err: bool = False) -> None:
    """A line for each note, or for each kind of which there are many."""
    for note in folded(notes):
        click.echo(pasteable(clean(f"note: {note}")), err=err)


def folded(notes: Iterable[str]) -> list[str]:
    """The notes in their order; of a kind with many the first few, and how many there are, where the first was."""
    kinds: dict[object, list[str]] = {}
    for note in notes:
        kinds.setdefault(next((kind for kind in _KINDS if kind.search(note)), note), []).append(note)
    return [line for alike in kinds.values() for line in _line(alike)]


def _line(alike: list[str]) -> list[str]:
    if len(alike) <= SHOWN_MAX or len(set(alike)) == 1:
        return list(dict.fromkeys(alike))
    return [f"{len(alike)} alike: {'; '.join(alike[:SHOWN_MAX])}; and {len(alike) - SHOWN_MAX} more"]
