"""Notes of a plan as people read them: many of one kind are one line, and a plan's file or document has them all."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from migrator.cli.amounts import kind, one_for_all
from migrator.cli.hints import pasteable
from migrator.cli.output import clean

SHOWN_MAX = 3  # of one kind
_COMMON = "memory way: "  # of every plan of facts that do not tell whether nodes can stream
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
        r"^node \S+ keeps what it holds: no room",
        r"^node \S+ keeps what it holds: after more",
    )
)

_KEPT = re.compile(r"^node (\S+) keeps (\S+), which cannot leave: (.*)$")


def print_notes(notes: Iterable[str], err: bool = False) -> None:
    """A line for each note, or for each kind of which there are many; what is of nearly every plan comes last."""
    for note in sorted(folded(notes), key=lambda note: note.startswith(_COMMON)):
        click.echo(pasteable(clean(f"note: {note}")), err=err)


def folded(notes: Iterable[str]) -> list[str]:
    """The notes in their order; of a kind with many the first few, and how many there are, where the first was."""
    kinds: dict[tuple[bool, object], list[str]] = {}
    for note in notes:
        kept = _KEPT.match(note)
        known = kind(kept[3]) if kept else next((known for known in _KINDS if known.search(note)), note)
        kinds.setdefault((bool(kept), known), []).append(note)
    return [line for (kept, _), alike in kinds.items() for line in (_kept if kept else _line)(alike)]


def _kept(alike: list[str]) -> list[str]:
    """Of nodes that are kept for one reason that, and of whom."""
    if len(alike) <= SHOWN_MAX:
        return alike
    told = [found for note in alike if (found := _KEPT.match(note))]
    some = ", ".join(f"{found[1]} ({found[2]})" for found in told[:SHOWN_MAX])
    why = one_for_all([found[3] for found in told])
    return [f"{len(told)} nodes keep a container that cannot leave: {why}: {some} and {len(told) - SHOWN_MAX} more"]


def _line(alike: list[str]) -> list[str]:
    if len(alike) <= SHOWN_MAX or len(set(alike)) == 1:
        return list(dict.fromkeys(alike))
    return [f"{len(alike)} alike: {'; '.join(alike[:SHOWN_MAX])}; and {len(alike) - SHOWN_MAX} more"]
