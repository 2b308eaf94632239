"""The rounds of pre-copy as they are expected, from how fast a container writes its memory and how fast that is sent.

Theory. The first round sends all memory, each later one what was written while the one before was under way: at dirty
rate d and bandwidth b a round of B bytes takes t = ROUND_S + B / b and leaves d * t, never more than there is. So
rounds are geometric in d / b (Clark et al., NSDI 2005, as in protocol/precopy.py, which decides by what rounds show
while they run). They end when what they leave goes in the time that is wanted, when they shrink by less than a tenth,
or at their limit. What is left was written in the last round, and in READY_S until all stands ready for the freeze: it
goes in one round more if that is worth it, and what is written in that one in the pause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from migrator.model.modes import AT_HAND_S, READY_S, ROUNDS_REST_S

# A round that has nothing to send, by what a job and a dump of 1 MiB take; on emulated machines it is seconds.
ROUND_S: Final = 0.3
# How long a round holds a container up, which it has to save.
HELD_UP_S: Final = 0.03
# Of a container of which nobody has seen how fast it writes: this share of its memory each second, and no more than
# what some 5,000 pages are. It is a guess, and the first pre-copy move of it tells.
WRITTEN_SHARE_PER_S: Final = 0.02
WRITTEN_BYTES_PER_S_MAX: Final = 20_000_000
SHRINKS: Final = 0.9


@dataclass(frozen=True, slots=True)
class ExpectedRounds:
    """`sizes_bytes` are the rounds while it runs, `rest_bytes` is left for the pause; they take `ahead_s`.

    `why_not` says why they end before little is left; empty where they do not.
    """

    sizes_bytes: tuple[int, ...]
    rest_bytes: int
    ahead_s: float
    why_not: str = ""

    @property
    def ahead_bytes(self) -> int:
        return sum(self.sizes_bytes)


def rounds_of(
    memory_bytes: int,
    rate_bytes_per_s: float,
    written_bytes_per_s: int | None,
    target_s: float | None,
    constant_s: float,
    rounds_max: int,
) -> ExpectedRounds:
    """The rounds of so much memory. `target_s` is the pause that is wanted, None is the usual; `constant_s` is what of
    it no round can shorten.
    """
    guessed = min(WRITTEN_SHARE_PER_S * memory_bytes, WRITTEN_BYTES_PER_S_MAX)
    written = guessed if written_bytes_per_s is None else float(written_bytes_per_s)
    rest_s = ROUNDS_REST_S if target_s is None else target_s - constant_s
    sizes, ahead_s, size, before = list[int](), 0.0, float(memory_bytes), 0.0
    while True:
        sizes.append(round(size))
        took_s = ROUND_S + size / rate_bytes_per_s
        ahead_s += took_s
        found = min(written * (took_s + READY_S), float(memory_bytes))
        left = _after_one_more(found, written, rate_bytes_per_s)
        why_not = ""
        if len(sizes) >= 2 and left / rate_bytes_per_s <= rest_s:
            break
        if len(sizes) >= rounds_max:
            why_not = f"{len(sizes)} rounds are the limit"
            break
        if len(sizes) >= 2 and left > SHRINKS * before:
            why_not = "rounds do not shrink"
            break
        before = left if len(sizes) >= 2 else float("inf")
        size = min(written * took_s, float(memory_bytes))
    if left < found:
        sizes.append(round(found))
        ahead_s += ROUND_S + found / rate_bytes_per_s
    return ExpectedRounds(tuple(sizes), round(left), ahead_s, why_not)


def _after_one_more(left_bytes: float, written_bytes_per_s: float, rate_bytes_per_s: float) -> float:
    """What is left when so much was sent in a round while all stands ready; as it was where that is not worth one."""
    after = min(left_bytes, written_bytes_per_s * (left_bytes / rate_bytes_per_s + AT_HAND_S))
    return after if (left_bytes - after) / rate_bytes_per_s > HELD_UP_S else left_bytes


def rounds_kept_bytes(memory_bytes: int) -> int:
    """What rounds may keep on the target until the restore has read them: as much as is set aside for them there."""
    return memory_bytes + memory_bytes // 2
