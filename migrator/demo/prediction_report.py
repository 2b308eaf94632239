"""The prediction benchmark's figures: how far each was off, how many were near, and the section of the page in docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from migrator.demo.bench_report import Load
from migrator.model.modes import Mode

NEAR = 0.25  # of what was measured
REACH = 0.9
HEAD = ("link", "memory", "program", "mode", "blackout", "range", "measured", "off", "duration", "measured", "off")

Link = int | None  # Mbit/s; None is not shaped


@dataclass(frozen=True, slots=True)
class Judged:
    """One move: what was predicted of its pause and its duration, and what was measured, in seconds each."""

    link_mbit: Link
    load: Load
    mode: Mode
    told_s: tuple[float, float]
    range_s: tuple[float, float]
    took_s: tuple[float, float]

    @property
    def off(self) -> tuple[float, float]:
        """By what share of what was measured the predictions of pause and duration are off; positive is too long."""
        blackout, duration = (told / took - 1 for told, took in zip(self.told_s, self.took_s, strict=True))
        return blackout, duration

    @property
    def near(self) -> bool:
        """Whether both are."""
        return all(abs(each) <= NEAR for each in self.off)

    @property
    def within(self) -> bool:
        """Whether the pause was in the range that was told."""
        return self.range_s[0] <= self.took_s[0] <= self.range_s[1]

    @property
    def line(self) -> str:
        (blackout_s, duration_s), (paused_s, lasted_s) = self.told_s, self.took_s
        return (
            f"{link_words(self.link_mbit)}, {self.load.words}, {self.mode}: paused {paused_s:.2f} s "
            f"({blackout_s:.2f} predicted), took {lasted_s:.2f} s ({duration_s:.2f} predicted)"
        )


def link_words(link_mbit: Link) -> str:
    """The speed of a link."""
    if link_mbit is None:
        return "unshaped"
    return f"{link_mbit / 1000:g} Gb/s" if link_mbit >= 1000 else f"{link_mbit} Mb/s"


def summary(judged: Sequence[Judged]) -> list[str]:
    """How many were near, and in their range."""

    def share(near: Sequence[bool]) -> str:
        return f"{sum(near)} of {len(near)} ({sum(near) / len(near):.0%})"

    both = [each.near for each in judged]
    met = "met" if sum(both) >= REACH * len(both) else "missed"
    return [
        f"- pause and duration both within {NEAR:.0%}: {share(both)} (wanted: {REACH:.0%}, {met})",
        f"- the pause within {NEAR:.0%}: {share([abs(each.off[0]) <= NEAR for each in judged])}",
        f"- the duration within {NEAR:.0%}: {share([abs(each.off[1]) <= NEAR for each in judged])}",
        f"- the pause in the range that was told: {share([each.within for each in judged])}",
    ]


def table(judged: Sequence[Judged]) -> str:
    """Every run, in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|--:|---|---" + "|--:" * (len(HEAD) - 4) + "|"]
    for each in judged:
        low_s, high_s = each.range_s
        cells = (
            link_words(each.link_mbit),
            f"{each.load.mib} MiB",
            "writing" if each.load.writing else "quiet",
            str(each.mode),
            f"{each.told_s[0]:.2f} s",
            f"{low_s:.2f} to {high_s:.2f} s",
            f"{each.took_s[0]:.2f} s",
            f"{each.off[0]:+.0%}",
            f"{each.told_s[1]:.2f} s",
            f"{each.took_s[1]:.2f} s",
            f"{each.off[1]:+.0%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(judged: Sequence[Judged], facts: Mapping[str, str], rounds: int) -> str:
    """The section of docs/benchmarks.md, whole."""
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    return "\n".join(
        [
            "## Prediction",
            "",
            "`make bench-prediction` writes this section. Containers of 16 and 128 MiB, quiet, are moved there and",
            f"back between two nodes of a lab, {rounds} times in each mode, over unshaped links and over 1 Gb/s.",
            "From the journal of these moves, and from no other, `migrate --dry-run` predicts moves of other sizes,",
            "of programs that write to 2,000 pages a second, and over links of other speeds, and each is made.",
            "*Measured* is what the journal says: the pause from the order to freeze until the release, the duration",
            "until all is done. The range is that of the pause.",
            "",
            *summary(judged),
            "",
            table(judged),
            "",
            f"Measured {datetime.now(UTC):%Y-%m-%d} on one machine that holds all nodes: {told}.",
            "",
        ]
    )
