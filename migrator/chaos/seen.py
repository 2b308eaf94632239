"""What was seen of one cell, and the judge that holds it against what was promised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from migrator.chaos.cells import CRASHES, LONG_LINKS, SHORT_LINKS, Actor, Cell
from migrator.chaos.promises import Promise, promised
from migrator.chaos.scenes import MOVE, Side

STUCK = 5


@dataclass
class Fate:
    """What became of one container.

    `pause_ms` is the longest time between two answers on its one connection, `down_ms` the same for a client that
    calls again.
    """

    container: str
    promise: Promise
    runs_on: Side | None = None
    kept: bool = False
    pause_ms: float = 0.0
    down_ms: float = 0.0

    @property
    def outage_ms(self) -> float:
        """How long it was not served: on its connection if that came through, else for who calls again."""
        return self.pause_ms if self.kept else self.down_ms


@dataclass
class Seen:
    """What was seen of one cell. `exit_code` is that of the orchestrator that was broken; None when it was killed."""

    cell: Cell
    exit_code: int | None = None
    resumed: bool = False
    fates: list[Fate] = field(default_factory=list)
    meanwhile: str = ""
    twice: int = 0
    left: list[str] = field(default_factory=list)
    took_s: float = 0.0
    said: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return sum(fate.runs_on is None for fate in self.fates) if self.fates else 1

    @property
    def connections_lost(self) -> int:
        """Those that were promised."""
        return sum(fate.promise.kept and not fate.kept for fate in self.fates)

    @property
    def runs_on(self) -> str:
        return _each(str(fate.runs_on or "**nowhere**") for fate in self.fates) if self.fates else "**nowhere**"

    @property
    def connection(self) -> str:
        return _each("kept" if fate.kept else "lost" for fate in self.fates) if self.fates else "lost"

    @property
    def outage_ms(self) -> float:
        return max((fate.outage_ms for fate in self.fates), default=0.0)

    @property
    def cold(self) -> bool:
        """Whether a connection was lost, so that the outage is that of who calls again."""
        return any(not fate.kept for fate in self.fates)


def _each(words: Iterable[str]) -> str:
    """One word if all say the same, else all of them in order."""
    told = list(words)
    return told[0] if len(set(told)) == 1 else ", ".join(told)


def judge(seen: Seen) -> None:
    """Adds what is not as promised to `broken`."""
    several = len(seen.fates) > 1
    for fate in seen.fates:
        which = f"{fate.container}: " if several else ""
        if fate.runs_on is None:
            continue  # said where it was looked for
        if fate.runs_on not in fate.promise.may_run:
            seen.broken.append(f"{which}it runs on the {fate.runs_on}")
        if fate.promise.kept and not fate.kept:
            seen.broken.append(f"{which}the connection was lost")
    wanted = promised(seen.cell).meanwhile
    if wanted and str(wanted) not in seen.meanwhile:
        seen.broken.append(f"meanwhile {seen.meanwhile or 'nobody looked'}, promised was the {wanted}")
    if seen.exit_code == STUCK and not _may_be_stuck(seen.cell):
        seen.broken.append("it was stuck, though every node answers")


def _may_be_stuck(cell: Cell) -> bool:
    """A side that does not answer, as one that boots, a full disk, a copy that died committed: nobody can know then."""
    if cell.scene is not MOVE and cell.scene.away is not None:
        return True
    parted_or_full = (*SHORT_LINKS, *LONG_LINKS, Actor.TARGET_DISK)
    dead_copy = (Actor.CRIU, Actor.TARGET_MEMORY)
    return cell.actor in (*parted_or_full, *CRASHES, *dead_copy)
