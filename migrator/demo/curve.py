"""Cost over size as an SVG plot: both axes by powers of ten, one measured curve, one for comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 50
Points = Sequence[tuple[float, float]]

_STYLE = (
    "text{font:13px sans-serif;fill:#333}.title{font-size:15px;font-weight:bold}"
    ".grid{stroke:#ddd}.axis{stroke:#333}.measured{stroke:#0b62a4;stroke-width:2;fill:none}"
    ".dot{fill:#0b62a4}.reference{stroke:#c0504d;stroke-width:1.5;stroke-dasharray:6 4;fill:none}"
)


def plot(title: str, x_name: str, y_name: str, measured: Points, reference: Points, reference_name: str) -> str:
    """A whole SVG document. All values are above 0; the same values give the same bytes."""
    across = _decades([x for x, _ in (*measured, *reference)])
    upward = _decades([y for _, y in (*measured, *reference)])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + _share(x, across) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - _share(y, upward) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f'<style>{_STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
    ]
    for exponent in range(across[0], across[1] + 1):
        x, y = place(10.0**exponent, 10.0 ** upward[0])
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{10**exponent:,}</text>')
    for exponent in range(upward[0], upward[1] + 1):
        x, y = place(10.0 ** across[0], 10.0**exponent)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{10.0**exponent:g}</text>')
    parts.append(_line("reference", [place(*point) for point in reference]))
    parts.append(_line("measured", [place(*point) for point in measured]))
    parts += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in (place(*p) for p in measured)]
    parts.append(f'<line class="reference" x1="{LEFT + 14}" y1="{TOP + 14}" x2="{LEFT + 44}" y2="{TOP + 14}"/>')
    parts.append(f'<text x="{LEFT + 52}" y="{TOP + 18}">{escape(reference_name)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(f'<text x="8" y="{TOP - 8}">{escape(y_name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten below and above all values, apart from each other."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _share(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])


def _line(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
