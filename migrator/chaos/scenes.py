"""How a container comes to need a second command: a run that was killed, what was broken then, and who settles it.

A scene ends where its command, `migrator resume` or `migrator settle`, has come to a point: a write of the journal, or
a call to a node before it is made or when it is answered. There a cell breaks something. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    SOURCE = "source"
    TARGET = "target"

    @property
    def other(self) -> Side:
        return Side.TARGET if self is Side.SOURCE else Side.SOURCE


class Wreck(StrEnum):
    """What is broken before the second command begins. `*_AWAY` stays so until the cell is recovered."""

    SOURCE_AWAY = "the source's link is parted"
    TARGET_AWAY = "the target's link is parted"
    SOURCE_DOWN = "the source crashed and booted"
    TARGET_DOWN = "the target crashed and booted"
    COPY_DEAD = "the held copy was killed"


class Command(StrEnum):
    NONE = ""
    RESUME = "resume"
    SETTLE = "settle"


# The points of a settlement that has decided, in the words of hold.py.
DECIDED = "settled:end"
KEPT = "kept:end"


@dataclass(frozen=True, slots=True)
class Scene:
    """One way to a second command.

    The first orchestrator is killed at `killed_at` (`state:phase`, "" for the plain migration, where nothing of this
    applies); then come the `wrecks`, in order. If `stuck`, a resume must say so and change nothing. `keep` is the side
    of a `settle`. `points` are where the command is killed. `may_run` and `keeps_memory` are what the design promises
    when nothing more is broken.
    """

    title: str = ""
    killed_at: str = ""
    wrecks: tuple[Wreck, ...] = ()
    command: Command = Command.NONE
    stuck: bool = False
    keep: Side | None = None
    points: tuple[str, ...] = ()
    may_run: frozenset[Side] = frozenset(Side)
    keeps_memory: bool = True

    @property
    def away(self) -> Side | None:
        """The side that does not answer until the recovery."""
        if Wreck.SOURCE_AWAY in self.wrecks:
            return Side.SOURCE
        return Side.TARGET if Wreck.TARGET_AWAY in self.wrecks else None


MOVE = Scene()
_SOURCE, _TARGET = frozenset({Side.SOURCE}), frozenset({Side.TARGET})

RESUMED = (
    Scene(
        "it goes back: killed in synced",
        "synced:end",
        command=Command.RESUME,
        points=(
            "take-over",
            "after lease source",
            "after lease target",
            "aborted:end",
            "before thaw source",
            "after thaw source",
            "after discard-target target",
            "after settle source",
            "rolled-back:end",
            "leased:end",  # of the second attempt, that the resume makes
            "dumped:end",
            "sealed:end",
            "committed:end",
            "finish-run",
        ),
    ),
    Scene(
        "it goes forward: killed in sealed",
        "sealed:end",
        command=Command.RESUME,
        points=(
            "take-over",
            "after lease source",
            "after lease target",
            "committed:end",
            "before release target",
            "after release target",
            "released:end",
            "after retire source",
            "source-removed:end",
            "after settle target",
            "done:end",
            "finish-run",
        ),
        may_run=_TARGET,
    ),
    Scene(
        "it revokes: killed in committed, then the held copy was killed",
        "committed:end",
        (Wreck.COPY_DEAD,),
        Command.RESUME,
        points=(
            "take-over",
            "revoked:end",
            "before thaw source",
            "after thaw source",
            "after discard-target target",
            "after settle source",
            "rolled-back:end",
            "fenced:end",  # of the second attempt
        ),
    ),
    Scene(
        "it starts cold: killed in fenced, then the source crashed and booted",
        "fenced:end",
        (Wreck.SOURCE_DOWN,),
        Command.RESUME,
        points=(
            "take-over",
            "aborted:end",
            "after reclaim source",
            "before ct-start source",
            "after ct-start source",
            "after discard-target target",
            "rolled-back:end",
        ),
        keeps_memory=False,
    ),
    Scene(
        "it saves the only copy, not compared yet: killed in restored, then the source crashed and booted",
        "restored:end",
        (Wreck.SOURCE_DOWN,),
        Command.RESUME,
        points=("take-over", "after census target", "committed:end", "after release target", "after retire source"),
        may_run=_TARGET,
    ),
)

STUCK_SOURCE = Scene(
    "stuck: killed in sealed, and the source is away",
    "sealed:end",
    (Wreck.SOURCE_AWAY,),
    stuck=True,
    points=("after inspect target",),
)
STUCK_TARGET = Scene(
    "stuck: killed in committed, and the target is away",
    "committed:end",
    (Wreck.TARGET_AWAY,),
    stuck=True,
    points=("after inspect source",),
    may_run=_TARGET,
)
STUCK = (STUCK_SOURCE, STUCK_TARGET)

KEEP_TARGET = Scene(
    "settled on the target: killed in sealed, and the source is away",
    "sealed:end",
    (Wreck.SOURCE_AWAY,),
    Command.SETTLE,
    stuck=True,
    keep=Side.TARGET,
    points=(
        "take-over",
        DECIDED,
        "after lease target",
        "before release target",
        "after release target",
        "after settle target",
        KEPT,
    ),
    may_run=_TARGET,
)
KEEP_SOURCE = Scene(
    "settled on the source: killed in committed, and the target is away",
    "committed:end",
    (Wreck.TARGET_AWAY,),
    Command.SETTLE,
    stuck=True,
    keep=Side.SOURCE,
    points=(
        "take-over",
        DECIDED,
        "after lease source",
        "before thaw source",
        "after thaw source",
        "after settle source",
        KEPT,
    ),
    may_run=_SOURCE,
)
_BOTH_DOWN = (Wreck.SOURCE_DOWN, Wreck.TARGET_DOWN)
COLD_TARGET = Scene(
    "settled on the target: killed in committed, and both nodes crashed and booted",
    "committed:end",
    _BOTH_DOWN,
    Command.SETTLE,
    stuck=True,
    keep=Side.TARGET,
    points=(
        "take-over",
        DECIDED,
        "after lease source",
        "after stand-down source",
        "after adopt target",
        "after settle target",
        "before ct-start target",
        "after ct-start target",
        KEPT,
        "after retire source",
        "done:end",
        "finish-run",
    ),
    may_run=_TARGET,
    keeps_memory=False,
)
COLD_SOURCE = Scene(
    "settled on the source: killed in committed, and both nodes crashed and booted",
    "committed:end",
    _BOTH_DOWN,
    Command.SETTLE,
    stuck=True,
    keep=Side.SOURCE,
    points=(
        "take-over",
        DECIDED,
        "after lease source",
        "after reclaim source",
        "after settle source",
        "after ct-start source",
        KEPT,
        "after discard-target target",
        "rolled-back:end",
        "finish-run",
    ),
    may_run=_SOURCE,
    keeps_memory=False,
)
COLD_AWAY = Scene(
    "settled on the source: killed in verified, the source crashed and booted, and the target is away",
    "verified:end",
    (Wreck.SOURCE_DOWN, Wreck.TARGET_AWAY),
    Command.SETTLE,
    stuck=True,
    keep=Side.SOURCE,
    points=(DECIDED, "after reclaim source", "after ct-start source", KEPT),
    may_run=_SOURCE,
    keeps_memory=False,
)
SETTLED = (KEEP_TARGET, KEEP_SOURCE, COLD_TARGET, COLD_SOURCE, COLD_AWAY)
