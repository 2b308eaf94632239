"""What the checker can find wrong with a plan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    WRONG_CLUSTER = "wrong-cluster"
    UNKNOWN_NODE = "unknown-node"
    UNKNOWN_CONTAINER = "unknown-container"
    DUPLICATE_MOVE = "duplicate-move"
    BROKEN_WAY = "broken-way"
    NO_MOVE = "source-is-target"
    MOVED = "container-moved"
    ON_THE_MOVE = "on-the-move"
    NOT_RUNNING = "not-running"
    GENERATION_CHANGED = "generation-changed"
    LIMITS_CHANGED = "limits-changed"
    SOURCE_SILENT = "source-silent"
    TARGET_SILENT = "target-silent"
    TARGET_CORDONED = "target-cordoned"
    TARGET_EMPTIED = "target-emptied"
    INCOMPATIBLE = "incompatible"
    VOLUME_MISSING = "volume-missing"
    DEVICE_MISSING = "device-missing"
    ANTI_AFFINITY = "anti-affinity"
    BANNED = "banned"
    FENCED = "fenced-out"
    PINNED = "pinned"
    SPREAD = "not-spread"
    CROWDED = "too-many-containers"
    APART = "not-together"
    NOT_ALONE = "not-alone"
    NOT_SURVIVED = "loss-not-survived"
    BUDGET = "too-many-in-motion"
    LINK_BUSY = "too-many-on-a-link"
    WINDOW = "outside-its-window"
    WINDOW_UNLIKELY = "window-unlikely"
    OUT_OF_TURN = "out-of-turn"
    SOFT_UNSAID = "soft-rule-unsaid"
    WAITS_UNKNOWN = "waits-for-unknown"
    WAITS_CYCLE = "waits-in-a-circle"
    OVER_LIMITS = "over-limits"
    NOT_EMPTY = "not-empty"
    IMAGES_DO_NOT_FIT = "images-do-not-fit"
    MEMORY_NOT_FREE = "memory-not-free"
    DISK_NOT_FREE = "disk-not-free"
    PAUSE_TOO_LONG = "pause-too-long"
    PAUSE_UNLIKELY = "pause-unlikely"
    PAUSES_OVERLAP = "pauses-overlap"
    ESTIMATE = "estimate-unlikely"
    MAKESPAN = "makespan-unlikely"
    INTENT = "not-as-intended"
    STAYS = "stays-and-moves"
    STAYS_ELSEWHERE = "stays-elsewhere"

    @property
    def drifts(self) -> bool:
        """Whether it rests on a measured number, which is another a second later, or on a wish: never what makes a
        plan stale.
        """
        return self in _DRIFTING


_DRIFTING = frozenset(
    {
        Code.IMAGES_DO_NOT_FIT,
        Code.MEMORY_NOT_FREE,
        Code.DISK_NOT_FREE,
        Code.PAUSE_TOO_LONG,
        Code.PAUSE_UNLIKELY,
        Code.PAUSES_OVERLAP,
        Code.WINDOW_UNLIKELY,
        Code.ESTIMATE,
        Code.MAKESPAN,
        Code.STAYS_ELSEWHERE,
        Code.SOFT_UNSAID,
        Code.OUT_OF_TURN,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong. `container` and `node` are empty where it is not about one."""

    code: Code
    text: str
    container: str = ""
    node: str = ""
