"""A plan as one SVG picture: bars of the nodes before and after, and below them the moves as a timeline.

Text of others is escaped; nothing in the picture is a link or a script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from migrator.cli.plan_text import moment
from migrator.model.plan import Plan, brief
from migrator.model.units import counted, format_seconds
from migrator.planner.look import RESOURCES, Use
from migrator.planner.schedule import When

ROW_PX = 16
LABEL_PX = 170
BAR_PX = 150
TRACK_PX = 700
WIDTH_PX = LABEL_PX + TRACK_PX + 20
BEFORE, AFTER, MOVE = "#b8c4d6", "#3b6ea8", "#3b6ea8"


def draw(plan: Plan, used: Sequence[Use], when: Mapping[str, When]) -> str:
    """The picture's text."""
    parts: list[str] = []
    y = 24
    moves = counted(len(plan.moves), "move")
    parts.append(_text(8, y, f"{brief(plan.intent)}: {moves}, {format_seconds(plan.makespan_s)}", 14))
    y += 20
    for number, name in enumerate(RESOURCES):
        parts.append(_text(LABEL_PX + number * (BAR_PX + 20), y, f"{name}, before and after"))
    for use in used:
        y += ROW_PX + 2
        parts.append(_text(8, y, f"{use.node} ({use.containers[0]} to {use.containers[1]})"))
        for number in range(len(RESOURCES)):
            x = LABEL_PX + number * (BAR_PX + 20)
            parts.append(_bar(x, y - 10, use.before[number], BEFORE))
            parts.append(_bar(x, y - 4, use.after[number], AFTER))
    y += 2 * ROW_PX
    whole_s = max((span.end_s for span in when.values()), default=0.0) or 1.0
    parts.append(_text(LABEL_PX, y, moment(plan, 0.0) if plan.policy.start else "0 s"))
    end = moment(plan, whole_s)
    parts.append(_text(LABEL_PX + TRACK_PX - (110 if plan.policy.start else 40), y, end))
    for move in plan.moves:
        y += ROW_PX
        span = when[move.name]
        start = LABEL_PX + span.start_s / whole_s * TRACK_PX
        width = max((span.end_s - span.start_s) / whole_s * TRACK_PX, 1)
        title = f"{move.name}: {move.source} to {move.target}, {format_seconds(span.end_s - span.start_s)}"
        if plan.policy.start:
            title += f", from {moment(plan, span.start_s)} to {moment(plan, span.end_s)}"
        parts.append(_text(8, y, f"{move.name} {move.source} → {move.target}"))
        parts.append(
            f'<rect x="{start:.1f}" y="{y - 10}" width="{width:.1f}" height="10" fill="{MOVE}">'
            f"<title>{escape(title)}</title></rect>"
        )
    height = y + ROW_PX
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH_PX}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


def _text(x: float, y: float, words: str, size: int = 11) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}">{escape(words)}</text>'


def _bar(x: float, y: float, share: float, colour: str) -> str:
    """A share of the whole, which is drawn as a frame."""
    width = min(max(share, 0.0), 1.0) * BAR_PX
    frame = f'<rect x="{x}" y="{y}" width="{BAR_PX}" height="5" fill="none" stroke="#ddd"/>'
    return f'{frame}<rect x="{x}" y="{y}" width="{width:.1f}" height="5" fill="{colour}"/>'
