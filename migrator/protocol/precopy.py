"""When pre-copy has copied enough: what is decided after each round, from what the rounds before it have shown.

Theory. A round sends what was written since the round before began; while it does, more is written. At dirty rate d and
bandwidth b a round of B bytes leaves B * d / b, so rounds shrink as long as d < b, and the pause has to send what was
written between the last round's begin and the freeze (Clark et al., Live Migration of Virtual Machines, NSDI 2005). d
is what the last round found, over the time in which it was written; b is what the largest round reached. A program that
writes the same pages again and again dirties fewer in a longer time than d says, so this errs upwards.

Between the last round and the freeze all is made ready, and a move may wait for its turn. What is written meanwhile is
taken away by rounds when all stands ready, where each saves the pause more than it holds the container up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from migrator.model.modes import AT_HAND_S, GIVE_UP, GO_ON, ROUNDS_REST_S, THROTTLE
from migrator.model.units import format_bytes, format_seconds

# Rounds while all stands ready. What stands waits for a while only, and so may others for the links.
LATE_MAX: Final = 3
# A round has to take off at least this share of the predicted memory part, or they are said not to shrink any more.
SHRINKS: Final = 0.9
# Of a cgroup's CPU time, one after the other, where throttling is allowed.
THROTTLE_PERCENT: Final = (50, 25, 12)


@dataclass(frozen=True, slots=True)
class Round:
    """One round: `sent_bytes` that were written since the round before began (in the first: all there were).

    `began_ms` is when it took hold of them, by the source's clock, `frozen_ms` how long it held the container up for
    that, `send_ms` how long sending took.
    """

    sent_bytes: int
    began_ms: int
    frozen_ms: int
    send_ms: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is wanted, and what there is.

    `pause_s` is the part of a pause that does not grow with bytes, `ready_s` what passes between the last round's end
    and the freeze. `target_s` is the pause that is good enough; None is `fixed_s` and ROUNDS_REST_S. `room_bytes` is
    what the target can keep of rounds. `way_out` is one of modes.WAYS_OUT. `files_s` is what the last pass over the
    files is predicted to add to the pause.
    """

    pause_s: float
    ready_s: float
    room_bytes: int
    target_s: float | None = None
    rounds_max: int = 8
    way_out: str = GIVE_UP
    files_s: float = 0.0

    @property
    def fixed_s(self) -> float:
        """What of the pause no round shortens."""
        return self.pause_s + self.files_s

    @property
    def wanted_s(self) -> float:
        return self.fixed_s + ROUNDS_REST_S if self.target_s is None else self.target_s


@dataclass(frozen=True, slots=True)
class NextRound:
    """Another round, as fast as the container writes now."""


@dataclass(frozen=True, slots=True)
class Slower:
    """Another round, with the container held to `percent` of a CPU's time."""

    percent: int
    why: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Enough: the pause comes now, `predicted_s` long."""

    predicted_s: float
    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It is not moved; `why` has the numbers."""

    why: str


Verdict = NextRound | Slower | Pause | GiveUp


def bandwidth_bytes_per_s(rounds: Sequence[Round]) -> float:
    """What the largest round reached: small ones are all overhead."""
    largest = max(rounds, key=lambda each: each.sent_bytes)
    return max(1.0, largest.sent_bytes / max(largest.send_ms, 1) * 1000)


def dirty_rate_bytes_per_s(rounds: Sequence[Round]) -> float | None:
    """How fast memory was written while the last round but one was sent; None after one round, which tells nothing."""
    if len(rounds) < 2:
        return None
    before, last = rounds[-2:]
    return last.sent_bytes / max(last.began_ms - before.began_ms, 1) * 1000


def predicted_pause_s(rounds: Sequence[Round], bounds: Bounds) -> float | None:
    """How long the pause would be if it came now; None after one round."""
    rate = dirty_rate_bytes_per_s(rounds)
    if rate is None:
        return None
    now_s, after_s = _left_s(rounds, rate, bounds.ready_s)
    return bounds.fixed_s + (after_s if wants_one_more(rounds, bounds, bounds.ready_s, 0) else now_s)


def wants_one_more(rounds: Sequence[Round], bounds: Bounds, since_s: float, late: int) -> bool:
    """Whether to send one more round now that all stands ready, `since_s` after the last one ended. `late` of them were
    sent so already: the second takes away what was written in the first, and so on, as long as that is less each time.
    """
    rate = dirty_rate_bytes_per_s(rounds)
    if rate is None or late == LATE_MAX or (late > 1 and rounds[-1].sent_bytes > SHRINKS * rounds[-2].sent_bytes):
        return False
    now_s, after_s = _left_s(rounds, rate, since_s)
    all_bytes = sum(each.sent_bytes for each in rounds) + now_s * bandwidth_bytes_per_s(rounds)
    return all_bytes <= bounds.room_bytes and now_s - after_s > rounds[-1].frozen_ms / 1000


def _left_s(rounds: Sequence[Round], rate: float, since_s: float) -> tuple[float, float]:
    """How long what is written by then takes to send, and what is left of that after one more round."""
    bandwidth = bandwidth_bytes_per_s(rounds)
    now_s = rate * (rounds[-1].send_ms / 1000 + since_s) / bandwidth
    return now_s, rate * (now_s + AT_HAND_S) / bandwidth


def decide(rounds: Sequence[Round], bounds: Bounds, throttled: int = 0) -> Verdict:
    """What follows the rounds so far. `throttled` is how many of THROTTLE_PERCENT are in force."""
    predicted_s = predicted_pause_s(rounds, bounds)
    if predicted_s is None:
        return (
            NextRound() if bounds.rounds_max > 1 else _way_out(rounds, bounds, "only one round is allowed", throttled)
        )
    if predicted_s <= bounds.wanted_s:
        return Pause(predicted_s, f"the pause is predicted at {format_seconds(predicted_s)}, under what is wanted")
    if len(rounds) >= bounds.rounds_max:
        return _way_out(rounds, bounds, f"{len(rounds)} rounds are the limit", throttled)
    # Held to less CPU time it would write less, but by how much is known only after one more round.
    if sum(each.sent_bytes for each in rounds) + _next_bytes(rounds, bounds) > bounds.room_bytes:
        return _way_out(rounds, bounds, "the target has no room for another round", len(THROTTLE_PERCENT))
    before_s = predicted_pause_s(rounds[:-1], bounds)
    if before_s is not None and predicted_s - bounds.fixed_s > SHRINKS * (before_s - bounds.fixed_s):
        return _way_out(rounds, bounds, "rounds no longer shrink", throttled)
    return NextRound()


def _next_bytes(rounds: Sequence[Round], bounds: Bounds) -> float:
    """What one more round would send: what is written while the last is sent, and until CRIU takes hold again, which is
    taken to need as long as it did between the last two.
    """
    before, last = rounds[-2:]
    between_s = (last.began_ms - before.began_ms - before.send_ms) / 1000
    return (dirty_rate_bytes_per_s(rounds) or 0.0) * (last.send_ms / 1000 + max(between_s, bounds.ready_s))


def _way_out(rounds: Sequence[Round], bounds: Bounds, why: str, throttled: int) -> Verdict:
    """What the policy says of memory that is written faster than rounds can take it away."""
    told = f"{why}: {in_words(rounds, bounds)}"
    if bounds.way_out == THROTTLE and throttled < len(THROTTLE_PERCENT) and len(rounds) < bounds.rounds_max:
        return Slower(THROTTLE_PERCENT[throttled], told)
    if bounds.way_out != GO_ON:
        return GiveUp(told)
    return Pause(predicted_pause_s(rounds, bounds) or bounds.fixed_s, f"it goes on with a longer pause, for {told}")


def in_words(rounds: Sequence[Round], bounds: Bounds) -> str:
    """The numbers, for people."""
    sent = ", ".join(format_bytes(each.sent_bytes) for each in rounds)
    rate, predicted_s = dirty_rate_bytes_per_s(rounds), predicted_pause_s(rounds, bounds)
    written = f", memory is written at {format_bytes(round(rate))}/s" if rate is not None else ""
    pause = f", the pause would be {format_seconds(predicted_s)}" if predicted_s is not None else ""
    pause += f", {format_seconds(bounds.files_s)} of it for files that it writes" if bounds.files_s else ""
    return (
        f"rounds of {sent}{written} and sent at {format_bytes(round(bandwidth_bytes_per_s(rounds)))}/s{pause}, "
        f"{format_seconds(bounds.wanted_s)} wanted"
    )
