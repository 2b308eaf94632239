"""The modes of a migration, and which one is taken.

*stop-and-copy* keeps the container frozen until all of it is on the target. *post-copy* lets it run there as soon as
its processes are, and its memory follows: the shortest pause, and the one mode in which a node or a link that fails
after the release takes the container's memory with it. *restart* stops it, brings its files over and starts it: its
processes begin anew, so nothing of their memory has to be dumped. Both are taken only when named, or allowed; and
restart, where it is allowed, for what cannot be dumped alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from migrator.model.estimate import Estimate
    from migrator.model.memory_way import MemoryWay
    from migrator.model.rates import Rates

AUTO: Final = "auto"


class Mode(StrEnum):
    STOP_AND_COPY = "stop-and-copy"
    POST_COPY = "post-copy"
    RESTART = "restart"


# What `auto` takes only where it is allowed: what can lose something that was acknowledged.
TO_BE_ALLOWED = (Mode.POST_COPY, Mode.RESTART)
STOP_TIMEOUT_S = 10.0  # how long a container that is stopped may take to end by itself
ANEW = "its processes begin anew"
# Of a restart's pause: the last pass over the files, the container created and started (docs/decisions/0022).
BEGINNING_S = 0.5


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


def predicted_pause_s(estimate: Estimate, rates: Rates, mode: Mode, stop_timeout_s: float = STOP_TIMEOUT_S) -> float:
    """How long a move's pause is expected to be. What `estimate` says is of stop-and-copy; memory that follows is sent
    after it, so of post-copy that part is left which does not grow with bytes. Of a restart it is the longest: nobody
    knows how long a container takes to end, but that it is given no more than `stop_timeout_s`.
    """
    if mode is Mode.RESTART:
        return restart_pause_s(stop_timeout_s)
    return rates.pause_s if mode is Mode.POST_COPY else estimate.blackout_s


def restart_pause_s(stop_timeout_s: float) -> float:
    """The longest that a restart's pause is expected to be."""
    return round(stop_timeout_s + BEGINNING_S, 3)


def choose(asked: str, allowed: tuple[str, ...], way: MemoryWay) -> Choice:
    """The mode for a move whose memory goes this way: the one that was asked for, or for `auto` the one with the
    shortest pause of those that are allowed. A mode that was asked for is never exchanged for another.
    """
    streams = way.name == "stream"
    if asked == Mode.POST_COPY:
        refused = "" if streams else f"post-copy needs memory that can be streamed: {way.why}; name another --mode"
        return Choice(Mode.POST_COPY, "asked for", refused)
    if asked in (Mode.STOP_AND_COPY, Mode.RESTART):
        return Choice(Mode(asked), "asked for")
    if Mode.POST_COPY in allowed and streams:
        return Choice(Mode.POST_COPY, "auto: allowed, and its pause holds no pages but those that are needed in it")
    if Mode.POST_COPY in allowed:
        return Choice(Mode.STOP_AND_COPY, f"auto: post-copy is allowed, and memory cannot be streamed: {way.why}")
    return Choice(Mode.STOP_AND_COPY, "auto: nothing with a shorter pause is allowed")


def instead(choice: Choice, asked: str, allowed: tuple[str, ...], undumpable: list[str]) -> Choice:
    """What `auto` takes for a container of which the source says that it cannot be dumped, and why: a restart, where
    that is allowed; else what it would have taken, which the check then refuses.
    """
    if asked != AUTO or Mode.RESTART not in allowed or not undumpable:
        return choice
    return Choice(Mode.RESTART, f"auto: allowed, and it cannot be dumped: {undumpable[0]}; {ANEW}")
