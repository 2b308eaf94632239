"""A refusal as people read it: for each container the reason of every class of nodes, and not of every node.

Nodes that give the same reason, but for its amounts, are one class; of a class the node that lacks least is shown,
for that is the smallest change that would help there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import click

from migrator.cli.output import print_table
from migrator.model.plan import Reason, Refusal, brief
from migrator.model.units import parse_bytes

CLASS_MIN = 4  # so many nodes with one reason are told as a class
_AMOUNT = re.compile(r"\d+(?:\.\d+)?( (?:B|KiB|MiB|GiB|TiB|s)\b)?")
_SAID = re.compile(r"(?<![\w.-])" + _AMOUNT.pattern + r"(?![\w-])")  # not a number within a name


def print_refusal(refusal: Refusal) -> None:
    """A line for each container and each class of nodes that did not take it."""
    rows = [
        (stuck.container, stuck.node, reason.node or "-", reason.text)
        for stuck in refusal.containers
        for reason in classes(stuck.reasons)
    ]
    if rows:
        print_table(("CONTAINER", "ON", "NODE", "WHY NOT"), rows)
    alike: dict[str, list[str]] = defaultdict(list)
    for stuck in refusal.containers:
        if stuck.change:
            alike[stuck.change].append(stuck.container)
    for change, names in alike.items():
        click.echo(f"{_names(names)} could move {change}")
    if len(alike) > 1 or (alike and refusal.change not in alike):
        whole = f"all could move {refusal.change}" if refusal.change else "no one change was found to do for all"
        click.echo(f"each of these is a change by itself, for one container; {whole}")


def refusal_line(refusal: Refusal) -> str:
    """Everything in one line, shortened where there is much."""
    told = [str(reason) for reason in refusal.reasons]
    if refusal.containers:
        names = [f"{s.container} ({_some([str(r) for r in classes(s.reasons)])})" for s in refusal.containers]
        containers = "1 container" if len(names) == 1 else f"{len(names)} containers"
        told.insert(0, f"{containers} cannot move: {_some(names)}")
    if refusal.change:
        told.append(f"possible {refusal.change}")
    return f"{brief(refusal.intent)}: {'; '.join(told)}"


def classes(reasons: Sequence[Reason]) -> Iterator[Reason]:
    """The reasons, with those that many nodes share told once: "95 nodes (n1, n2 ...)"."""
    alike: dict[str, list[Reason]] = defaultdict(list)
    for reason in reasons:
        alike[_AMOUNT.sub("#", reason.text) if reason.node else ""].append(reason)
    for kind, members in alike.items():
        if len(members) < CLASS_MIN or not kind:
            yield from members
            continue
        least = min(members, key=lambda reason: _amount(reason.text))
        names = ", ".join(reason.node for reason in members[:2])
        same = all(reason.text == least.text for reason in members)
        text = least.text if same else f"{least.text} (that is {least.node}, {_of_them(members)})"
        yield Reason(text, f"{len(members)} nodes ({names} ...)")


def _of_them(members: Sequence[Reason]) -> str:
    """How one reason of a class stands to the others, which differ from it in amounts, or only in names."""
    if any(" short" in reason.text for reason in members):
        return "which lacks least"
    return "the least of them" if len({_amount(reason.text) for reason in members}) > 1 else "and the others are alike"


def _amount(text: str) -> float:
    """The first amount in a text, to compare texts that differ in it alone."""
    match = _SAID.search(text)
    if match is None:
        return 0.0
    number, _, unit = match[0].partition(" ")
    return float(parse_bytes(match[0])) if unit.endswith("B") and unit else float(number)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _some(words: Sequence[str]) -> str:
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")
