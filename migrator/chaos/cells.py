"""The matrix: every state of a migration times everything that can break in it, and what is promised for each.

A cell breaks one actor at one moment of one migration and lets it recover. `promised` is written from the design, not
from what the program does: where the container may run afterwards, whether its connections and its memory must have
come through, and what must be true meanwhile while a link stays parted. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrator.protocol.states import FORWARD, State


class Actor(StrEnum):
    """Who is broken, in the words of the table."""

    ORCHESTRATOR = "orchestrator killed"
    SOURCE_SSH = "source's ssh session cut"
    TARGET_SSH = "target's ssh session cut"
    SOURCE_CRASH = "source crashed, booted"
    TARGET_CRASH = "target crashed, booted"
    SOURCE_LINK_5S = "source's link parted 5 s"
    TARGET_LINK_5S = "target's link parted 5 s"
    SOURCE_LINK = "source's link parted for ever"
    TARGET_LINK = "target's link parted for ever"
    TARGET_DISK = "target's disk full"
    TARGET_MEMORY = "target's memory short"
    CRIU = "CRIU killed"


class Moment(StrEnum):
    """`begin`: journalled, nothing done. `during`: the act is at work. `end`: the state has been reached."""

    BEGIN = "begin"
    DURING = "during"
    END = "end"


class Side(StrEnum):
    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Cell:
    state: State
    moment: Moment
    actor: Actor

    @property
    def name(self) -> str:
        return f"{self.state}:{self.moment} {self.actor}"

    @property
    def stop_at(self) -> str:
        """The journal's transition at which the orchestrator is held: `state:phase`."""
        if self.state is State.PLANNED:
            return f"{State.LEASED}:begin"
        return f"{self.state}:{'end' if self.moment is Moment.END else 'begin'}"

    @property
    def call_off_at(self) -> str:
        """Where the move is made to fail, for states that only a failure leads to; empty for the others."""
        return f"{State.SEALED}:end" if self.state in BACKWARD else ""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the design promises for a cell.

    `may_run`: the sides on which the one copy may run after recovery. `kept`: connections and memory must have come
    through; else the container starts again from its files. `meanwhile`: the side that must run it while a link stays
    parted; None allows that nothing runs until the link is joined.
    """

    may_run: frozenset[Side]
    kept: bool
    meanwhile: Side | None = None


BACKWARD = (State.ABORTED, State.ROLLED_BACK)
STATES = (*FORWARD, *BACKWARD)
SHORT_LINKS = (Actor.SOURCE_LINK_5S, Actor.TARGET_LINK_5S)
LONG_LINKS = (Actor.SOURCE_LINK, Actor.TARGET_LINK)
SSH = (Actor.SOURCE_SSH, Actor.TARGET_SSH)
CRASHES = (Actor.SOURCE_CRASH, Actor.TARGET_CRASH)

_BOTH = frozenset(Side)
_SOURCE = frozenset({Side.SOURCE})
_TARGET = frozenset({Side.TARGET})
# CRIU stands over the held copy, in its hook, until the release.
_HELD = (State.RESTORED, State.VERIFIED, State.SEALED, State.COMMITTED)
_ROOM_NOT_TAKEN = (State.PLANNED, State.LEASED, State.CHECKED)
_IMAGES_TO_COME = (State.SEEDED, State.FENCED)
_RESTORE_TO_COME = (State.DUMPED, State.SYNCED)


def matrix() -> list[Cell]:
    """Every cell, also those in which there is nothing to break."""
    cells = [Cell(state, Moment.END, actor) for state in STATES for actor in Actor]
    cells += [
        Cell(state, Moment.BEGIN, Actor.ORCHESTRATOR)
        for state in FORWARD[2:]
        if state is not State.COMMITTED  # a decision has no begin: it is one write
    ]
    during = (Actor.ORCHESTRATOR, *SSH, *CRASHES, *SHORT_LINKS)
    for state in (State.SEEDED, State.DUMPED, State.RESTORED):
        cells += [Cell(state, Moment.DURING, actor) for actor in during]
    cells += [Cell(state, Moment.DURING, Actor.CRIU) for state in (State.DUMPED, State.RESTORED)]
    order = {state: index for index, state in enumerate(STATES)}
    return sorted(cells, key=lambda c: (order[c.state], list(Moment).index(c.moment), list(Actor).index(c.actor)))


def nothing_there(cell: Cell) -> str:
    """Why there is nothing to break in a cell; empty if there is."""
    over = cell.state in (State.DONE, State.ROLLED_BACK)
    if over and cell.actor not in (Actor.ORCHESTRATOR, *CRASHES):
        return "the move is over"
    if cell.actor is Actor.CRIU and cell.moment is not Moment.DURING and cell.state not in _HELD:
        return "no CRIU runs"
    if cell.actor is Actor.TARGET_MEMORY:
        if cell.state is State.RESERVED:
            return "its room is reserved"
        if cell.state not in (*_ROOM_NOT_TAKEN, *_IMAGES_TO_COME, *_RESTORE_TO_COME, *_HELD):
            return "the move needs no more memory"
    return ""


def memory_shortage(state: State) -> str:
    """What "memory short" is in a state: `rival`, `images`, `address-space` or `oom-kill`; see actors.py."""
    if state in _ROOM_NOT_TAKEN:
        return "rival"
    if state in _IMAGES_TO_COME:
        return "images"
    return "address-space" if state in _RESTORE_TO_COME else "oom-kill"


def promised(cell: Cell) -> Promise:
    """What must be seen after recovery."""
    if cell.actor is Actor.SOURCE_CRASH:
        return _source_crash(cell)
    if cell.actor is Actor.TARGET_CRASH:
        return _target_crash(cell)
    if cell.actor is Actor.SOURCE_LINK:
        return Promise(_where(cell), kept=True, meanwhile=_meanwhile_source_parted(cell))
    if cell.actor is Actor.TARGET_LINK:
        return Promise(_where(cell), kept=True, meanwhile=_meanwhile_target_parted(cell))
    if cell.actor is Actor.CRIU and cell.state is State.DUMPED:
        # CRIU has code of its own in the processes while it dumps. Killed there it takes it back or not, by luck.
        return Promise(_where(cell), kept=False)
    return Promise(_where(cell), kept=True)


def _where(cell: Cell) -> frozenset[Side]:
    """Undecided, both ends are good: a resume goes forward, a failure goes back. Released, there is one."""
    if cell.state is State.COMMITTED:
        # A held copy that died before its release is what a decision may be revoked for.
        return _BOTH if cell.actor in (Actor.CRIU, Actor.TARGET_MEMORY, Actor.TARGET_CRASH) else _TARGET
    return _TARGET if _reached(cell, State.RELEASED) else _BOTH


def _source_crash(cell: Cell) -> Promise:
    """The memory is lost unless a verified copy is held on the target, or runs there."""
    if cell.state in BACKWARD:
        return Promise(_BOTH, kept=False)
    kept = _reached(cell, State.VERIFIED)
    return Promise(_TARGET if kept else _BOTH, kept=kept)


def _target_crash(cell: Cell) -> Promise:
    """Costs nothing but time until the release; after it the container's host is the one that lost power."""
    return Promise(_where(cell), kept=not _reached(cell, State.RELEASED))


def _meanwhile_source_parted(cell: Cell) -> Side | None:
    """The source's own watchdog ends the pause, unless it was sealed; then the target goes on with it."""
    if cell.state is State.ABORTED:
        return None  # sealed and frozen, and the thaw cannot reach it
    if cell.state is State.ROLLED_BACK:
        return Side.SOURCE
    return Side.TARGET if _reached(cell, State.SEALED) else Side.SOURCE


def _meanwhile_target_parted(cell: Cell) -> Side | None:
    """Rolled back until the target is needed no more before the commit; then it waits for the target."""
    if cell.state in BACKWARD:
        return Side.SOURCE
    if _reached(cell, State.RELEASED):
        return Side.TARGET
    return None if _reached(cell, State.RESTORED) else Side.SOURCE


def _reached(cell: Cell, state: State) -> bool:
    """Whether the migration was in a state, or further, at the cell's moment. Backward states never were released."""
    if cell.state in BACKWARD:
        return False
    at = FORWARD.index(cell.state) - (cell.moment is not Moment.END)
    return at >= FORWARD.index(state)


# What `make test` plays: every actor, and the states that decide.
_SELECTION = (
    (State.LEASED, Moment.END, Actor.TARGET_MEMORY),
    (State.SEEDED, Moment.DURING, Actor.ORCHESTRATOR),
    (State.FENCED, Moment.END, Actor.TARGET_SSH),
    (State.DUMPED, Moment.DURING, Actor.SOURCE_SSH),
    (State.DUMPED, Moment.DURING, Actor.CRIU),
    (State.SYNCED, Moment.END, Actor.TARGET_LINK_5S),
    (State.RESTORED, Moment.DURING, Actor.CRIU),
    (State.RESTORED, Moment.END, Actor.SOURCE_CRASH),
    (State.VERIFIED, Moment.END, Actor.SOURCE_CRASH),
    (State.SEALED, Moment.END, Actor.ORCHESTRATOR),
    (State.COMMITTED, Moment.END, Actor.TARGET_CRASH),
    (State.COMMITTED, Moment.END, Actor.TARGET_DISK),
    (State.RELEASED, Moment.END, Actor.TARGET_SSH),
    (State.ABORTED, Moment.END, Actor.ORCHESTRATOR),
)


def selection() -> list[Cell]:
    """A short walk through the matrix."""
    return [Cell(*words) for words in _SELECTION]
