"""The blackout of each load and mode as bars, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from migrator.demo.bench_report import MODES, PODMAN, Measured

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 640, 130, 90, 50, 16, 14
COLOURS = {"floor": "#999999", **dict(zip(MODES, ("#0b62a4", "#7fb2d9", "#4aa564"), strict=True)), PODMAN: "#c9772e"}
LETTER = 6


def bars(measured: Sequence[Measured]) -> str:
    """A whole SVG document: a group of bars for each load, the floor first. The same values give the same bytes.

    Loads over shaped links are left out: they take so long that nothing would be seen of the others.
    """
    drawn = [m for m in measured if m.load.link_mbit is None]
    rows = [(m, times_ms(m)) for m in drawn]
    longest_ms = max(time_ms for _, times in rows for time_ms in times.values())
    height = TOP + sum(BAR * len(times) + GAP for _, times in rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f'<style>text{{font:13px sans-serif;fill:#333}}</style><rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    x = 8
    for name, colour in ((n, c) for n, c in COLOURS.items() if any(n in times for _, times in rows)):
        parts.append(f'<rect x="{x}" y="16" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="27">{escape(name)}</text>')
        x += 30 + LETTER * len(name)
    y = TOP
    for m, times in rows:
        parts.append(f'<text x="8" y="{y + BAR + 6}">{escape(m.load.words)}</text>')
        for name, time_ms in times.items():
            width = time_ms / longest_ms * (WIDTH - LEFT - RIGHT)
            colour = COLOURS[name]
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(f'<text x="{LEFT + width + 6:.1f}" y="{y + BAR - 4}">{time_ms:.0f} ms</text>')
            y += BAR
        y += GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def times_ms(measured: Measured) -> dict[str, float]:
    """What is drawn of a load, in this order."""
    times = {"floor": measured.floor_ms, **{mode: measured.blackout_ms(mode) for mode in MODES}}
    return {**times, PODMAN: measured.podman.total_ms} if measured.podman else times
