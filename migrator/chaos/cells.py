"""The matrix: every state of a migration times everything that can break in it.

A cell breaks one actor at one moment of one migration, or of the `resume` or `settle` that follows it (scenes.py), and
lets it recover. What is promised for each is in promises.py. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrator.chaos.scenes import (
    DECIDED,
    KEEP_SOURCE,
    KEEP_TARGET,
    KEPT,
    MOVE,
    RESUMED,
    SETTLED,
    STUCK,
    Command,
    Scene,
    Side,
)
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
    PROGRAM = "its program killed"  # where a restarter would start it again


class Moment(StrEnum):
    """`begin`: journalled, nothing done. `early`, `during`, `late`: the act is at work. `end`: the state is reached."""

    BEGIN = "begin"
    EARLY = "early"
    DURING = "during"
    LATE = "late"
    END = "end"


class Setting(StrEnum):
    """What is moved, in one run."""

    PLAIN = "one container"
    RESTARTED = "one container with a restart policy"
    THREE = "three containers"


@dataclass(frozen=True, slots=True)
class Cell:
    """In a scene `state` is only what the container is in, and `point` where the scene's command is held."""

    state: State
    moment: Moment
    actor: Actor
    setting: Setting = Setting.PLAIN
    scene: Scene = MOVE
    point: str = ""

    @property
    def name(self) -> str:
        words = [] if self.setting is Setting.PLAIN else [f"({self.setting})"]
        words.append(f"{self.state}:{self.moment}" if self.scene is MOVE else f"{self.scene.title}:")
        return " ".join([*words, *([self.point] if self.point else []), self.actor])

    @property
    def stop_at(self) -> str:
        """Where the first orchestrator is held: `state:phase`."""
        if self.scene is not MOVE:
            return self.scene.killed_at
        if self.state is State.REVOKED:
            return f"{State.COMMITTED}:end"  # there its copy is killed
        if self.state is State.PLANNED:
            return f"{State.LEASED}:begin"
        if self.waits_for_act and self.state in (State.DUMPED, State.RESTORED):
            return f"{State.FENCED}:begin"  # the fence sets both going
        return f"{self.state}:{'end' if self.moment is Moment.END else 'begin'}"

    @property
    def call_off_at(self) -> str:
        """Where the move is made to fail, for states that only a failure leads to; empty for the others."""
        return f"{State.SEALED}:end" if self.state in (State.ABORTED, State.ROLLED_BACK) else ""

    @property
    def waits_for_act(self) -> bool:
        """Whether it is broken while an act is at work, which has to be seen first."""
        return self.moment in (Moment.EARLY, Moment.DURING, Moment.LATE)


BACKWARD = (State.ABORTED, State.REVOKED, State.ROLLED_BACK)
STATES = (*FORWARD, *BACKWARD)
SHORT_LINKS = (Actor.SOURCE_LINK_5S, Actor.TARGET_LINK_5S)
LONG_LINKS = (Actor.SOURCE_LINK, Actor.TARGET_LINK)
SSH = (Actor.SOURCE_SSH, Actor.TARGET_SSH)
CRASHES = (Actor.SOURCE_CRASH, Actor.TARGET_CRASH)
OUTSIDE = tuple(actor for actor in Actor if actor is not Actor.PROGRAM)  # what breaks a migration from outside
# On which side a copy loses its memory, where one is frozen or held on each.
HIT = {
    Actor.SOURCE_CRASH: Side.SOURCE,
    Actor.TARGET_CRASH: Side.TARGET,
    Actor.TARGET_MEMORY: Side.TARGET,
    Actor.CRIU: Side.TARGET,
}

# CRIU stands over the held copy, in its hook, until the release.
_HELD = (State.RESTORED, State.VERIFIED, State.SEALED, State.COMMITTED)
# The others are as the state before them for a restarter: it is armed until the seeding, and then not.
_RESTARTERS_MATTER = tuple(state for state in STATES if state not in (State.CHECKED, State.RESERVED, State.SYNCED))
_ROOM_NOT_TAKEN = (State.PLANNED, State.LEASED, State.CHECKED)
_IMAGES_TO_COME = (State.SEEDED, State.FENCED)
_RESTORE_TO_COME = (State.DUMPED, State.SYNCED)


def matrix() -> list[Cell]:
    """Every cell, also those in which there is nothing to break, by group."""
    return [*of_a_migration(), *of_scenes(), *with_restarters(), *of_three()]


def of_a_migration() -> list[Cell]:
    """Every state times everything that breaks from outside."""
    cells = [Cell(state, Moment.END, actor) for state in STATES for actor in OUTSIDE]
    cells += [
        Cell(state, Moment.BEGIN, Actor.ORCHESTRATOR)
        for state in FORWARD[2:]
        if state is not State.COMMITTED  # a decision has no begin: it is one write
    ]
    during = (Actor.ORCHESTRATOR, *SSH, *CRASHES, *SHORT_LINKS)
    for state in (State.SEEDED, State.DUMPED, State.RESTORED):
        cells += [Cell(state, Moment.DURING, actor) for actor in during]
    for state in (State.DUMPED, State.RESTORED):
        cells += [Cell(state, moment, Actor.CRIU) for moment in (Moment.EARLY, Moment.DURING, Moment.LATE)]
    order = {state: index for index, state in enumerate(STATES)}
    return sorted(cells, key=lambda c: (order[c.state], list(Moment).index(c.moment), list(Actor).index(c.actor)))


def of_scenes() -> list[Cell]:
    """Resume and settle, killed at each of their points; and all that breaks while one is stuck, or was settled."""
    cells = [_killed(scene, point) for scene in (*RESUMED, *SETTLED) for point in scene.points]
    for scene in STUCK:
        cells += [_killed(scene, point) for point in scene.points]
        cells += [_in_scene(scene, actor) for actor in OUTSIDE if actor is not Actor.ORCHESTRATOR]
    for scene in (KEEP_TARGET, KEEP_SOURCE):
        cells += [_in_scene(scene, actor, DECIDED) for actor in OUTSIDE if actor is not Actor.ORCHESTRATOR]
        cells += [_in_scene(scene, actor, KEPT) for actor in CRASHES]
    return cells


def _killed(scene: Scene, point: str, setting: Setting = Setting.PLAIN) -> Cell:
    return Cell(_state_of(scene), Moment.END, Actor.ORCHESTRATOR, setting, scene, point)


def _in_scene(scene: Scene, actor: Actor, point: str = "") -> Cell:
    return Cell(_state_of(scene), Moment.END, actor, Setting.PLAIN, scene, point)


def _state_of(scene: Scene) -> State:
    return State.SETTLED if scene.command is Command.SETTLE else State(scene.killed_at.partition(":")[0])


def with_restarters() -> list[Cell]:
    """A container that is started again by whoever may: from the seeding to the release that is nobody."""
    actors = (Actor.ORCHESTRATOR, *CRASHES, Actor.PROGRAM)
    cells = [Cell(state, Moment.END, actor, Setting.RESTARTED) for state in _RESTARTERS_MATTER for actor in actors]
    cells += [Cell(state, Moment.END, Actor.CRIU, Setting.RESTARTED) for state in _HELD]
    for state in (State.FENCED, State.SEALED, State.COMMITTED, State.RELEASED):
        cells += [Cell(state, Moment.END, actor, Setting.RESTARTED) for actor in LONG_LINKS]
    for scene in SETTLED[:4]:
        cells += [_killed(scene, point, Setting.RESTARTED) for point in (DECIDED, KEPT)]
    return cells


def of_three() -> list[Cell]:
    """Three containers in one run, each as far as it has come when the first of them is in the state."""
    during = (State.SEEDED, State.DUMPED, State.RESTORED)
    states = (State.SEEDED, State.FENCED, State.RESTORED, State.SEALED, State.COMMITTED, State.RELEASED)
    actors = (Actor.ORCHESTRATOR, *SSH, *CRASHES, *SHORT_LINKS)
    cells = [Cell(state, Moment.DURING, Actor.ORCHESTRATOR, Setting.THREE) for state in during]
    cells += [Cell(state, Moment.END, actor, Setting.THREE) for state in states for actor in actors]
    for state in (State.SEALED, State.COMMITTED):
        cells += [Cell(state, Moment.END, actor, Setting.THREE) for actor in (*LONG_LINKS, Actor.CRIU)]
    return cells


def nothing_there(cell: Cell) -> str:
    """Why there is nothing to break in a cell; empty if there is."""
    if cell.scene is not MOVE:
        return _nothing_in_scene(cell)
    over = cell.state in (State.DONE, State.ROLLED_BACK)
    if over and cell.actor not in (Actor.ORCHESTRATOR, *CRASHES, Actor.PROGRAM):
        return "the move is over"
    if cell.actor is Actor.CRIU and not cell.waits_for_act and cell.state not in _HELD:
        return "no CRIU runs"
    if cell.actor is Actor.TARGET_MEMORY:
        if cell.state is State.RESERVED:
            return "its room is reserved"
        if cell.state not in (*_ROOM_NOT_TAKEN, *_IMAGES_TO_COME, *_RESTORE_TO_COME, *_HELD):
            return "the move needs no more memory"
    return ""


def _nothing_in_scene(cell: Cell) -> str:
    away, actor = cell.scene.away, cell.actor
    if away is Side.SOURCE and actor in (Actor.SOURCE_SSH, Actor.SOURCE_LINK_5S, Actor.SOURCE_LINK):
        return "the source is cut off already"
    if away is Side.TARGET and actor in (Actor.TARGET_SSH, Actor.TARGET_LINK_5S, Actor.TARGET_LINK, Actor.TARGET_DISK):
        return "the target is cut off already"
    if cell.scene.command is Command.NONE and actor in (*SSH, Actor.TARGET_DISK):
        return "nobody works while it is stuck"
    return ""


def memory_shortage(state: State) -> str:
    """What "memory short" is in a state: `rival`, `images`, `address-space` or `oom-kill`; see actors.py."""
    if state in _ROOM_NOT_TAKEN:
        return "rival"
    if state in _IMAGES_TO_COME:
        return "images"
    return "address-space" if state in _RESTORE_TO_COME else "oom-kill"


# What `make test` plays: every actor, and the states that decide.
_SELECTION = (
    Cell(State.LEASED, Moment.END, Actor.TARGET_MEMORY),
    Cell(State.DUMPED, Moment.DURING, Actor.SOURCE_SSH),
    Cell(State.DUMPED, Moment.DURING, Actor.CRIU),
    Cell(State.SYNCED, Moment.END, Actor.TARGET_LINK_5S),
    Cell(State.RESTORED, Moment.DURING, Actor.CRIU),
    Cell(State.RESTORED, Moment.END, Actor.SOURCE_CRASH),
    Cell(State.VERIFIED, Moment.END, Actor.SOURCE_CRASH),
    Cell(State.SEALED, Moment.END, Actor.ORCHESTRATOR),
    Cell(State.COMMITTED, Moment.END, Actor.TARGET_CRASH),
    Cell(State.COMMITTED, Moment.END, Actor.TARGET_DISK),
    Cell(State.RELEASED, Moment.END, Actor.TARGET_SSH),
    Cell(State.ABORTED, Moment.END, Actor.ORCHESTRATOR),
    Cell(State.REVOKED, Moment.END, Actor.ORCHESTRATOR),
    _killed(RESUMED[0], "after thaw source"),
    _killed(SETTLED[2], DECIDED),
    Cell(State.FENCED, Moment.END, Actor.SOURCE_CRASH, Setting.RESTARTED),
    Cell(State.RELEASED, Moment.END, Actor.PROGRAM, Setting.RESTARTED),
    Cell(State.SEALED, Moment.END, Actor.ORCHESTRATOR, Setting.THREE),
)


def selection() -> list[Cell]:
    """A short walk through the matrix."""
    return list(_SELECTION)
