"""What ended migrations have shown of each pair of nodes: rates for the estimates of the next plan.

Theory. Of a migration that went straight to its end the journal has the time of every step, and the bytes (samples.py).
A step is an overhead and bytes over a rate, so a rate is told only by a migration that is large enough for its
overhead to be small beside it; the usual overhead is taken off, but never more than half of the time. One that filled
the link that was declared for it says nothing of what a faster link would carry, and counts only where none did not.
What a pause, and a move around it, took beyond its bytes at these rates is the constant part.

Each figure is the median of the latest migrations of its pair, so one that ran while the machine was busy changes
little; where none was large enough the default rate stays. Each mode has a constant of its own. Of a mode that the
pair has not seen it is the default, as many times as those that it has seen are theirs: a machine that is slow in one
mode is slow in all. Memory that is streamed and memory that goes by images have nothing in common but the link, so of a
pair those alone count that went the way which its next one will go, and restarts, which carry none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median

from migrator.journal.base import Migration
from migrator.journal.events import Event
from migrator.journal.samples import Sample, sample, written_bytes_per_s
from migrator.model.modes import Mode
from migrator.model.rates import DEFAULT_RATES, Rates, Way

LATEST = 12  # migrations of a pair that count: seven in a row are the median, so a change of load is soon learnt
LARGE_BYTES = 64 << 20
FULL_LINK = 0.8  # of its declared speed: what is sent so fast is held up by the link
# Of small containers between two lab nodes.
OVERHEAD_S = {"dump": 0.1, "send": 0.1, "restore": 0.2, "files": 0.4, "stream": 0.05}
PAUSE_S_MIN, SETUP_S_MIN = 0.05, 0.1

History = tuple[Migration, Sequence[Event]]


def learn(
    histories: Iterable[History],
    way: Callable[[str, str], Way],
    plain: Callable[[str, str], bool] = lambda source, target: False,
) -> dict[str, dict[str, Rates]]:
    """Rates by source and target, sorted. `histories` are migrations with their events, the latest first; `way` tells
    of two nodes how memory goes between them now, and `plain` whether beside ssh.
    """
    samples: dict[tuple[str, str], list[Sample]] = {}
    for migration, events in histories:
        there = samples.setdefault((migration.source, migration.target), [])
        if len(there) == LATEST or (found := sample(migration, events)) is None:
            continue
        pair = migration.source, migration.target
        if found.way is None or (found.way, found.plain) == (way(*pair), plain(*pair)):
            there.append(found)
    learnt: dict[str, dict[str, Rates]] = {}
    for source, target in sorted(pair for pair, there in samples.items() if there):
        learnt.setdefault(source, {})[target] = rates_of(samples[source, target], way(source, target))
    return learnt


def rates_of(samples: Sequence[Sample], way: Way) -> Rates:
    """The rates that these migrations of one pair show, at least one, of this way or of none."""
    usual = DEFAULT_RATES[way]
    files = _rate("files", [(s.files_bytes, s.files_s) for s in samples])
    rates = replace(
        usual,
        send_bytes_per_s=_sending(samples, way) or usual.send_bytes_per_s,
        files_bytes_per_s=files or usual.files_bytes_per_s,
        runs=len(samples),
    )
    if way == "images":
        written = _rate("dump", [(s.memory_bytes, s.dump_s) for s in samples])
        read = _rate("restore", [(s.memory_bytes, s.restore_s) for s in samples])
        rates = replace(
            rates,
            dump_bytes_per_s=written or usual.dump_bytes_per_s,
            restore_bytes_per_s=read or usual.restore_bytes_per_s,
        )
    # A restart is not made ready before its pause as the others are.
    around = [s for s in samples if s.mode is not Mode.RESTART] or samples
    setup_s = median(s.around_s - s.files_bytes / rates.files_bytes_per_s for s in around)
    rates = replace(rates, setup_s=max(round(setup_s, 3), SETUP_S_MIN))
    return _with_constants(rates, samples)


def _with_constants(rates: Rates, samples: Sequence[Sample]) -> Rates:
    """The same rates, with the constant part of a pause of each mode."""
    usual = DEFAULT_RATES[rates.way]
    seen = [(s.mode, s.blackout_s - s.moving_s(rates)) for s in samples]
    slower = median(constant_s / usual.constant_s(mode) for mode, constant_s in seen)

    def constant_s(*modes: Mode) -> float:
        own = [seconds for mode, seconds in seen if mode in modes]
        return max(round(median(own) if own else slower * usual.constant_s(modes[0]), 3), PAUSE_S_MIN)

    return replace(
        rates,
        pause_s=constant_s(Mode.STOP_AND_COPY, Mode.PRE_COPY),
        follow_pause_s=constant_s(Mode.POST_COPY),
        begin_pause_s=constant_s(Mode.RESTART),
    )


def pauses_seen(
    histories: Iterable[History], source: str, target: str, rates: Rates, mode: Mode, plain: bool = False
) -> list[float]:
    """The pauses of a pair's latest migrations over what these rates say of each, sorted; 1.0 is as predicted.

    Those by this mode, or where there were none, all.
    """
    mine = (sample(m, events) for m, events in histories if (m.source, m.target) == (source, target))
    alike = (s for s in mine if s is not None and (s.way is None or (s.way, s.plain) == (rates.way, plain)))
    latest = list(islice(alike, LATEST))
    same = [s for s in latest if s.mode is mode] or latest
    return sorted(s.blackout_s / (rates.constant_s(s.mode) + s.moving_s(rates)) for s in same)


def writing(histories: Iterable[History]) -> dict[str, int]:
    """How fast each container was last seen to write its memory, in bytes a second, by name, sorted."""
    found: dict[str, int] = {}
    for migration, events in histories:
        rate = None if migration.container in found else written_bytes_per_s(events)
        if rate is not None:
            found[migration.container] = rate
    return dict(sorted(found.items()))


# Of the logarithm of pauses over what was predicted, where nothing was learnt: nine of ten within a factor of 2.3,
# which is what machines differ by, and their load. It counts as much as two migrations that were seen.
_SPREAD, _COUNTS_AS = 0.3, 2
_NINE_OF_TEN = 1.645
_FAR = 1.0  # one that is farther off counts as this far: it was held up by something of its own


def spread(seen: Sequence[float]) -> tuple[float, float]:
    """The factors between which nine of ten pauses are expected, around what is predicted.

    `seen` are pauses over their predictions. Theory: these are taken as log-normal, with a variance of its own on each
    side, since what goes wrong makes pauses longer. What was seen is weighed against what is known of any pair, and the
    prediction itself is off by one part in the root of their number. So nothing seen is the widest, and each makes it
    narrower, unless it was far off.
    """
    logs = [max(-_FAR, min(_FAR, math.log(max(ratio, 1e-6)))) for ratio in seen]
    weight = _COUNTS_AS + len(logs)
    unsure = math.sqrt(1 + _COUNTS_AS / (1 + len(logs)))

    def side_s(sign: int) -> float:
        squares = sum(2 * each * each for each in logs if each * sign > 0)
        return math.sqrt((_COUNTS_AS * _SPREAD**2 + squares) / weight) * unsure * _NINE_OF_TEN

    return math.exp(-side_s(-1)), math.exp(side_s(1))


def _sending(samples: Sequence[Sample], way: Way) -> int | None:
    """How fast memory was sent in pauses; where none tells that, how fast it followed or went in rounds; and where all
    filled their links, what came over the fastest of them.
    """
    step = "stream" if way == "stream" else "send"
    free = [s for s in samples if not s.link_bytes_per_s or s.memory_bytes < FULL_LINK * s.link_bytes_per_s * s.send_s]
    fastest = max(s.link_bytes_per_s for s in samples)
    full = [s for s in samples if s not in free and s.link_bytes_per_s == fastest]
    paused = [s for s in free if s.mode is not Mode.POST_COPY]
    rates = (_rate(step, [(s.memory_bytes, s.send_s) for s in there]) for there in (paused, free, full))
    return next((rate for rate in rates if rate), None)


def _rate(step: str, sent: Iterable[tuple[int, float]]) -> int | None:
    """Bytes a second of one step, from bytes and seconds; None if no migration was large enough to tell."""
    found = [
        size_bytes / max(time_s - OVERHEAD_S[step], time_s / 2)
        for size_bytes, time_s in sent
        if size_bytes >= LARGE_BYTES and time_s > 0
    ]
    return max(round(median(found)), 1) if found else None
