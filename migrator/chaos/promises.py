"""What is promised for each cell, written from the design and not from what the program does. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from migrator.chaos.cells import BACKWARD, HIT, LONG_LINKS, SHORT_LINKS, Actor, Cell, Moment
from migrator.chaos.scenes import KEPT, MOVE, Command, Side
from migrator.protocol.states import FORWARD, State


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


_BOTH = frozenset(Side)
_SOURCE = frozenset({Side.SOURCE})
_TARGET = frozenset({Side.TARGET})


def promised(cell: Cell) -> Promise:
    """What must be seen after recovery."""
    if cell.scene is not MOVE:
        return _of_a_scene(cell)
    if cell.actor is Actor.SOURCE_CRASH:
        return _source_crash(cell)
    if cell.actor is Actor.PROGRAM:
        # It is one program, wherever it runs: once it was released it is the target's that is killed.
        return Promise(_TARGET, kept=False) if _reached(cell, State.RELEASED) else _source_crash(cell)
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


def promised_beside(cell: Cell, standing: str) -> Promise:
    """The same for another container of the run, which stood at `state:phase` when the cell's own was held.

    What strikes a node strikes it too; what strikes the one container does not.
    """
    state, _, phase = standing.partition(":")
    of_the_node = cell.actor not in (Actor.CRIU, Actor.TARGET_MEMORY, Actor.PROGRAM)
    actor = cell.actor if of_the_node else Actor.ORCHESTRATOR
    promise = promised(Cell(State(state), Moment(phase), actor))
    # Nobody looks at where it runs while a link is parted.
    return replace(promise, meanwhile=None)


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
    if cell.state in (State.ABORTED, State.REVOKED):
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


def _of_a_scene(cell: Cell) -> Promise:
    scene = cell.scene
    hit = HIT.get(cell.actor)
    plain = Promise(scene.may_run, scene.keeps_memory, meanwhile=_settled_meanwhile(cell))
    if hit is None:
        return plain
    if scene.command is Command.SETTLE:
        # The operator has decided which side goes on: that side loses its memory, or nothing is lost.
        return replace(plain, kept=plain.kept and hit is not scene.keep)
    if hit is Side.SOURCE:
        return replace(plain, may_run=_TARGET)  # the verified copy is the only living one
    # The source, sealed and whole, is given back, and the resume moves it again.
    return replace(plain, may_run=_BOTH)


def _settled_meanwhile(cell: Cell) -> Side | None:
    """What an operator has settled runs before the other side is back, if nobody is in the way."""
    scene = cell.scene
    if scene.command is not Command.SETTLE or scene.away is None:
        return None
    if cell.actor in (*SHORT_LINKS, *LONG_LINKS) or (HIT.get(cell.actor) is scene.keep and cell.point == KEPT):
        return None  # that side may not answer either, or went down after all was done: it is started by hand
    return scene.keep
