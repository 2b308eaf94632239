"""A refusal as people read it: for each container the reason of every class of nodes, and not of every node.

Nodes that give the same reason, but for its amounts, are one class; of a class the node that lacks least is shown,
for that is the smallest change that would help there. Containers of which many have the same reasons are told together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from migrator.cli.amounts import amount, kind, one_for_all
from migrator.cli.hints import pasteable
from migrator.cli.output import print_table
from migrator.model.plan import NOWHERE, Reason, Refusal, Stuck, brief
from migrator.model.units import counted

CLASS_MIN = 4  # so many nodes, or containers, with one reason are told together
ROWS_MAX = 40
NAMES_MAX = 5
SOME_MAX = 3


@dataclass(frozen=True, slots=True)
class Alike:
    """Containers that cannot move for the same reasons, and these, told of a class of nodes once."""

    stuck: tuple[Stuck, ...]
    reasons: tuple[Reason, ...]

    @property
    def names(self) -> str:
        return _names([one.container for one in self.stuck])

    @property
    def nodes(self) -> str:
        """Where they are."""
        return _names(list(dict.fromkeys(one.node for one in self.stuck)))


def print_refusal(refusal: Refusal, told: Sequence[Alike]) -> None:
    """A line for each class of nodes that did not take containers, which are those of one reason together."""
    print_stuck(("CONTAINER", "ON", "NODE", "WHY NOT"), [(one.names, one.nodes, one.reasons) for one in told])
    alike: dict[str, list[str]] = defaultdict(list)
    for stuck in refusal.containers:
        if stuck.change:
            alike[stuck.change].append(stuck.container)
    for change, names in alike.items():
        click.echo(pasteable(f"{_names(names)} could move {change}"))
    if len(alike) > 1 or (alike and refusal.change not in alike):
        whole = f"all could move {refusal.change}" if refusal.change else "no one change was found to do for all"
        click.echo(f"each of these is a change by itself, for one container; {whole}")


def print_stuck(columns: Sequence[str], told: Sequence[tuple[str, str, Sequence[Reason]]]) -> None:
    """A table with a line for each reason, or with the first of them where there are too many for a screen."""
    rows = [(first, second, reason.node or "-", reason.text) for first, second, reasons in told for reason in reasons]
    if rows:
        print_table(columns, rows[:ROWS_MAX])
    if len(rows) > ROWS_MAX:
        click.echo(f"... and {len(rows) - ROWS_MAX} more lines; --json has them all")


def refusal_line(refusal: Refusal, told: Sequence[Alike] | None = None, under_table: bool = False) -> str:
    """Everything in one line, shortened where there is much; `told` is what `same_reasons` says, if it is known. Under
    the table that has them all, one reason of each is enough.
    """
    words = [str(reason) for reason in refusal.reasons]
    if refusal.containers:
        groups = same_reasons(refusal.containers) if told is None else told
        most = 1 if under_table else SOME_MAX
        names = [f"{one.names} ({_some([str(reason) for reason in one.reasons], most)})" for one in groups]
        new = all(stuck.node == NOWHERE for stuck in refusal.containers)
        what = "no node takes" if new else f"{counted(len(refusal.containers), 'container')} cannot move:"
        words.insert(0, f"{what} {_some(names)}")
    if refusal.change:
        words.append(f"possible {refusal.change}")
    return f"{brief(refusal.intent)}: {'; '.join(words)}"


def same_reasons(containers: Sequence[Stuck]) -> list[Alike]:
    """Those of which many have the same reasons, but for amounts, together; the others each by itself."""
    kinds: dict[object, list[tuple[Stuck, tuple[Reason, ...]]]] = defaultdict(list)
    for stuck in containers:
        reasons = tuple(classes(stuck.reasons))
        one = len(reasons) == 1  # the node that it is wished on, or none
        kinds[tuple(("" if one else reason.node, kind(reason.text)) for reason in reasons)].append((stuck, reasons))
    found = []
    for members in kinds.values():
        if len(members) < CLASS_MIN:
            found += [Alike((stuck,), reasons) for stuck, reasons in members]
        else:
            columns = zip(*(reasons for _, reasons in members), strict=True)
            found.append(Alike(tuple(stuck for stuck, _ in members), tuple(map(_one_for_all, columns))))
    return found


def _one_for_all(alike: Sequence[Reason]) -> Reason:
    """One reason in place of those of a kind, with the nodes that they are of."""
    nodes = list(dict.fromkeys(reason.node for reason in alike))
    return Reason(one_for_all([reason.text for reason in alike]), _names(nodes))


def classes(reasons: Sequence[Reason]) -> Iterator[Reason]:
    """The reasons, with those that many nodes share told once: "95 nodes (n1, n2 ...)"."""
    alike: dict[str, list[Reason]] = defaultdict(list)
    for reason in reasons:
        alike[kind(reason.text) if reason.node else ""].append(reason)
    for alike_in, members in alike.items():
        if len(members) < CLASS_MIN or not alike_in:
            yield from members
            continue
        least = min(members, key=lambda reason: amount(reason.text))
        names = ", ".join(reason.node for reason in members[:2])
        same = all(reason.text == least.text for reason in members)
        text = least.text if same else f"{least.text} (that is {least.node}, {_of_them(members)})"
        yield Reason(text, f"{len(members)} nodes ({names} ...)")


def _of_them(members: Sequence[Reason]) -> str:
    """How one reason of a class stands to the others, which differ from it in amounts, or only in names."""
    if any(" short" in reason.text for reason in members):
        return "which lacks least"
    return "the least of them" if len({amount(reason.text) for reason in members}) > 1 else "and the others are alike"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return f"{', '.join(names[:NAMES_MAX])}{more}"


def _some(words: Sequence[str], most: int = SOME_MAX) -> str:
    return "; ".join(words[:most]) + (f"; and {len(words) - most} more" if len(words) > most else "")
