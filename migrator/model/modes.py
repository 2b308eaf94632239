"""The modes of a migration, and which one is taken.

*stop-and-copy* keeps the container frozen until all of it is on the target. *pre-copy* copies its memory in rounds
while it runs, and in the pause only what was written since the last one; the source's kernel has to know what that is.
*post-copy* lets it run there as soon as
its processes are, and its memory follows: the shortest pause, and the one mode in which a node or a link that fails
after the release takes the container's memory with it. *restart* stops it, brings its files over and starts it: its
processes begin anew, so nothing of their memory has to be dumped. Both are taken only when named, or allowed; and
restart, where it is allowed, for what cannot be dumped alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from migrator.model.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.model.estimate import Estimate
    from migrator.model.facts import NodeFacts
    from migrator.model.memory_way import MemoryWay
    from migrator.model.rates import Rates

AUTO: Final = "auto"

# What is done about memory that is written faster than rounds of pre-copy take it away.
GIVE_UP: Final = "give-up"
GO_ON: Final = "go-on"
THROTTLE: Final = "throttle"
WAYS_OUT: Final = (GIVE_UP, GO_ON, THROTTLE)


class Mode(StrEnum):
    STOP_AND_COPY = "stop-and-copy"
    PRE_COPY = "pre-copy"
    POST_COPY = "post-copy"
    RESTART = "restart"


# What `auto` takes only where it is allowed: what can lose something that was acknowledged.
TO_BE_ALLOWED = (Mode.POST_COPY, Mode.RESTART)
# Those in which memory is still put into its place while the container runs on its target.
FOLLOWED = (Mode.PRE_COPY, Mode.POST_COPY)
# What rounds of pre-copy leave to the pause, unless something else is asked for.
ROUNDS_REST_S: Final = 0.2
# From the last round's end to the freeze: dump, restore and last pass are made ready, handshakes come to rest.
READY_S: Final = 0.6
# From the end of a round that was sent when all stands ready: a word to the source, and handshakes come to rest.
AT_HAND_S: Final = 0.15
TRACKS_MEMORY: Final = "mem_dirty_track"  # as CRIU names it
IMAGE_MARGIN_BYTES = 64 << 20
STOP_TIMEOUT_S = 10.0  # how long a container that is stopped may take to end by itself
ANEW = "its processes begin anew"


# A rehearsal shows stop-and-copy, whose dump, restore and comparison are in each mode that dumps: what of the others it
# does not show.
NOT_REHEARSED: Final = {
    Mode.STOP_AND_COPY: "",
    Mode.PRE_COPY: "rounds of memory before the pause, and how fast it writes it",
    Mode.POST_COPY: "memory that follows when it runs on {target} already",
    Mode.RESTART: "its stop, and its start from its files on {target}",
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What `auto` may also take for the containers that a selector means."""

    containers: str
    modes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The mode that is taken, and why; `refused` is why the one that was asked for cannot be, empty when it can."""

    mode: Mode
    why: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is said of pre-copy between two nodes: `cannot` is why it is impossible, `not_worth` why auto lets it be;
    both empty where it is offered.
    """

    cannot: str = ""
    not_worth: str = ""


def rounds_between(
    source: NodeFacts, target: NodeFacts, way: MemoryWay, estimate: Estimate, rates: Rates, tmpfs_bytes: int = 0
) -> Rounds:
    """Whether memory can be copied in rounds, and whether that would make the pause shorter.

    The target keeps what rounds bring beside what is restored from it, and auto wants as much again to be free: other
    moves may be on their way there. `tmpfs_bytes` of what is sent are files in memory, which no round can bring.
    """
    if way.name != "stream":
        return Rounds(f"memory cannot be streamed: {way.why}")
    if TRACKS_MEMORY not in source.features:
        return Rounds(
            f"the kernel of {source.name} ({source.kernel or 'unknown'}) does not track which memory is written"
        )
    sent_s = estimate.blackout_s - estimate.files_pause_s - rates.constant_s(Mode.STOP_AND_COPY)
    if sent_s * (1 - tmpfs_bytes / max(1, estimate.memory_bytes)) <= ROUNDS_REST_S:
        return Rounds(not_worth="its memory is sent in no time")
    if target.memory_available_bytes < 2 * (2 * estimate.memory_bytes + IMAGE_MARGIN_BYTES):
        return Rounds(not_worth=f"{target.name} has too little free memory to keep its memory twice")
    return Rounds()


def choose(
    asked: str, allowed: tuple[str, ...], way: MemoryWay, rounds: Rounds, pauses_s: Mapping[Mode, float]
) -> Choice:
    """The mode for a move whose memory goes this way: the one that was asked for, or for `auto` the one with the
    shortest predicted pause of those that are possible and allowed. A mode that was asked for is never exchanged for
    another. `pauses_s` are the predicted pauses of the modes that auto may take.
    """
    streams = way.name == "stream"
    if asked == Mode.POST_COPY:
        refused = "" if streams else f"post-copy needs memory that can be streamed: {way.why}; name another --mode"
        return Choice(Mode.POST_COPY, "asked for", refused)
    if asked == Mode.PRE_COPY:
        refused = f"pre-copy is not possible: {rounds.cannot}; name another --mode" if rounds.cannot else ""
        return Choice(Mode.PRE_COPY, "asked for", refused)
    if asked in (Mode.STOP_AND_COPY, Mode.RESTART):
        return Choice(Mode(asked), "asked for")
    open_to_it = [Mode.STOP_AND_COPY]
    left = [f"pre-copy is not offered: {rounds.cannot or rounds.not_worth}"]
    if not (rounds.cannot or rounds.not_worth):
        open_to_it, left = [*open_to_it, Mode.PRE_COPY], []
    if Mode.POST_COPY in allowed and streams:
        open_to_it.append(Mode.POST_COPY)
    elif Mode.POST_COPY in allowed:
        left.append(f"post-copy is allowed, and memory cannot be streamed: {way.why}")
    best = min(open_to_it, key=lambda mode: pauses_s[mode])
    others = [f"{mode} {format_seconds(pauses_s[mode])}" for mode in open_to_it if mode is not best]
    if not others:
        return Choice(best, f"auto: nothing with a shorter pause is allowed; {'; '.join(left)}")
    told = f"auto: the shortest predicted pause, {format_seconds(pauses_s[best])} ({', '.join(others)})"
    return Choice(best, "; ".join([told, *left]))


def instead(choice: Choice, asked: str, allowed: tuple[str, ...], undumpable: list[str]) -> Choice:
    """What `auto` takes for a container of which the source says that it cannot be dumped, and why: a restart, where
    that is allowed; else what it would have taken, which the check then refuses.
    """
    if asked != AUTO or Mode.RESTART not in allowed or not undumpable:
        return choice
    return Choice(Mode.RESTART, f"auto: allowed, and it cannot be dumped: {undumpable[0]}; {ANEW}")
