"""A plan drawn with characters: nodes before and after as bars, and moves as a timeline, as wide as the terminal is.

Names and numbers come first. Bars and the timeline take what they leave of a line, up to what is good to look at, and
where that would be hardly a bar they are left out. Nothing is cut: a line that is still too long is the terminal's.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import click

from migrator.cli.output import clean, print_table
from migrator.cli.plan_text import moment
from migrator.model.plan import Plan
from migrator.model.units import counted, format_seconds
from migrator.planner.look import Use
from migrator.planner.schedule import When

BAR_CELLS, BAR_CELLS_MIN = 20, 3
TIMELINE_CELLS, TIMELINE_CELLS_MIN = 60, 10
ROWS_MAX = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GAP = 2  # between two columns
_BARS = 4  # in a line: of CPU and memory, before and after

_Row = tuple[str, ...]


def terminal_columns() -> int | None:
    """How wide a line may be; None where no terminal shows it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_uses(used: Sequence[Use], everything: bool, columns: int | None) -> None:
    """Bars of every node that the plan touches; of a large plan those that change most."""
    shown = list(used)
    if len(used) > ROWS_MAX and not everything:
        changed = sorted(used, key=lambda use: (-max(abs(a - b) for a, b in zip(use.before, use.after, strict=True)),))
        names = {use.node for use in changed[:ROWS_MAX]}
        shown = [use for use in used if use.node in names]
    cells = BAR_CELLS
    header = _header(cells)
    if columns is not None:
        bare = [_use(use, 0) for use in shown]
        left = columns - _wide([_header(0), *bare])  # of bars with none of their cells
        cells = min(BAR_CELLS, left // _BARS) if left >= _BARS * BAR_CELLS_MIN else 0
        header = _header(cells)
    print_table(header, [_use(use, cells) for use in shown], whole=True)
    if len(shown) < len(used):
        click.echo(f"{len(used) - len(shown)} more nodes change less; see them with --all")


def _header(cells: int) -> _Row:
    """Of bars that are wide enough for it a column is called by more than its resource."""
    both = " BEFORE AND AFTER" if 2 * cells + 12 >= len("MEMORY BEFORE AND AFTER") else ""
    return ("NODE", "CONTAINERS", f"CPU{both}", f"MEMORY{both}", "DISK")


def _use(use: Use, cells: int) -> _Row:
    """A node's row, with bars of so many cells; without bars where that is none."""
    containers = f"{use.containers[0]} -> {use.containers[1]}"
    pairs = list(zip(use.before, use.after, strict=True))
    if cells:
        bars = [f"{_bar(b, cells)} {b:4.0%}  {_bar(a, cells)} {a:4.0%}" for b, a in pairs[:2]]
    else:
        bars = [f"{b:4.0%} -> {a:4.0%}" for b, a in pairs[:2]]
    return (use.node, containers, *bars, f"{pairs[2][0]:.0%} -> {pairs[2][1]:.0%}")


def _wide(rows: Sequence[_Row]) -> int:
    """How wide a table of these rows is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return sum(widths) + _GAP * (len(widths) - 1)


def _bar(share: float, cells: int) -> str:
    """A share as a bar of eighths of a cell; what is over the whole is not drawn."""
    eighths = round(min(max(share, 0.0), 1.0) * cells * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(cells, "·")


def print_timeline(plan: Plan, when: dict[str, When], everything: bool, columns: int | None) -> None:
    """One line a move, from left to right as time goes; of a large plan one line a source."""
    whole_s = max((span.end_s for span in when.values()), default=0.0) or 1.0
    if plan.policy.start:
        click.echo(clean(f"if it starts at {plan.policy.start}, it is done about {moment(plan, whole_s)}"))
    names, more = ("CONTAINER", "MOVE"), 0
    rows = [(m.name, f"{m.source} -> {m.target}", [when[m.name]]) for m in plan.moves]
    if len(rows) > ROWS_MAX and not everything:
        sources: dict[str, list[When]] = {}
        for move in plan.moves:
            sources.setdefault(move.source, []).append(when[move.name])
        names, more = ("SOURCE", "MOVES"), len(sources) - ROWS_MAX
        rows = [(name, counted(len(spans), "move"), spans) for name, spans in sorted(sources.items())[:ROWS_MAX]]
    title, cells = f"0 to {format_seconds(whole_s)}", TIMELINE_CELLS
    told = [(first, second, *_ends(plan, *spans)) for first, second, spans in rows]
    if columns is not None:
        left = columns - _wide([(*names, "FROM", "TO"), *told]) - _GAP
        cells = min(TIMELINE_CELLS, left) if left >= max(TIMELINE_CELLS_MIN, len(title)) else 0
    if cells:
        tracks = [_track(spans, whole_s, cells) for _, _, spans in rows]
        drawn = [(*row[:2], track, *row[2:]) for row, track in zip(told, tracks, strict=True)]
        print_table((*names, title, "FROM", "TO"), drawn, whole=True)
    else:
        print_table((*names, "FROM", "TO"), told, whole=True)
    if more > 0:
        click.echo(f"and {more} more sources; see every move with --all")


def _ends(plan: Plan, *spans: When) -> tuple[str, str]:
    """When the first of these starts and the last ends."""
    return moment(plan, min(s.start_s for s in spans)), moment(plan, max(s.end_s for s in spans))


def _track(spans: Sequence[When], whole_s: float, cells: int) -> str:
    """Cells in which at least one of the moves is under way, light, or paused, full."""
    track = ["·"] * cells
    parts = [("░", s.start_s, s.pause_s) for s in spans] + [("█", s.pause_s, s.end_s) for s in spans]
    for mark, start_s, end_s in parts:
        first = min(int(start_s / whole_s * cells), cells - 1)
        last = max(first + 1, round(end_s / whole_s * cells))
        track[first:last] = mark * (min(last, cells) - first)
    return "".join(track)
