"""What ended migrations have shown of each pair of nodes: rates for the estimates of the next plan.

Theory. Of a migration that went straight to its end the journal has the time of every step, and the bytes. A step is
an overhead and bytes over a rate, so a rate is told only by a migration that is large enough for its overhead to be
small beside it; the usual overhead is taken off, but never more than half of the time. What a pause, and a move around
it, took beyond its bytes at these rates is the constant part. Each figure is the median of the latest migrations of its
pair, so one that ran while the machine was busy changes little; where none was large enough the default rate stays.
Memory that is streamed and memory that goes by images have nothing in common but the link, so of a pair those alone
count that went the way which its next one will go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median

from migrator.journal.base import Migration
from migrator.journal.events import Event, Phase
from migrator.model.memory_way import PLAIN
from migrator.model.rates import DEFAULT_RATES, Rates, Way
from migrator.protocol.states import FORWARD, State

LATEST = 20  # migrations of a pair that count
LARGE_BYTES = 64 << 20
# Of small containers between two lab nodes.
OVERHEAD_S = {"dump": 0.1, "send": 0.1, "restore": 0.2, "files": 0.4, "stream": 0.15}
PAUSE_S_MIN, SETUP_S_MIN = 0.05, 0.1

History = tuple[Migration, Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one migration took. `plain` is whether memory went beside ssh, `blackout_s` is from freeze to release,
    `around_s` all of the rest but waiting.
    """

    way: Way
    plain: bool
    memory_bytes: int
    files_bytes: int
    dump_s: float
    send_s: float
    restore_s: float
    files_s: float
    blackout_s: float
    around_s: float


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
        if found.way == way(*pair) and found.plain == plain(*pair):
            there.append(found)
    learnt: dict[str, dict[str, Rates]] = {}
    for source, target in sorted(pair for pair, there in samples.items() if there):
        learnt.setdefault(source, {})[target] = rates_of(samples[source, target])
    return learnt


def sample(migration: Migration, events: Sequence[Event]) -> Sample | None:
    """What a migration took; None if it did not go straight to its end under one orchestrator."""
    count = Counter((event.state, event.phase) for event in events)
    straight = all(count[state, Phase.END] == 1 for state in FORWARD[1:]) and all(
        count[state, Phase.BEGIN] == 1 for state in FORWARD[1:] if state is not State.COMMITTED
    )
    if not straight or any(event.phase is Phase.FAIL for event in events):
        return None
    at_s = {(event.state, event.phase): event.at_ms / 1000 for event in events}
    data = {event.state: event.data for event in events if event.phase is Phase.END}
    if migration.token != data[State.LEASED].get("token"):
        return None  # another has taken it over, and nobody knows how long it lay
    dumped, files = data[State.DUMPED], (data[State.SEEDED], data[State.SYNCED])
    if not {"image_bytes", "dump_ms", "send_ms"} <= dumped.keys() or "rounds" in files[0]:
        return None  # post-copy, or pre-copy: what estimates are of is stop-and-copy
    quiet_s = data[State.FENCED].get("quiet_ms", 0) / 1000  # before the freeze, until its TCP was at rest
    turn_s = data[State.FENCED].get("turn_ms", 0) / 1000  # and then for the pauses of others to end
    blackout_s = at_s[State.RELEASED, Phase.END] - at_s[State.FENCED, Phase.BEGIN] - quiet_s - turn_s
    waited_s = at_s[State.FENCED, Phase.BEGIN] - at_s[State.SEEDED, Phase.END] + turn_s
    return Sample(
        way="stream" if data[State.CHECKED].get("memory") == "stream" else "images",
        plain=dumped.get("channel") == PLAIN,
        memory_bytes=int(dumped["image_bytes"]),
        files_bytes=sum(int(each.get("sent_bytes", 0)) for each in files),
        dump_s=dumped["dump_ms"] / 1000,
        send_s=dumped["send_ms"] / 1000,
        restore_s=at_s[State.RESTORED, Phase.END] - at_s[State.RESTORED, Phase.BEGIN],
        files_s=at_s[State.SEEDED, Phase.END] - at_s[State.SEEDED, Phase.BEGIN],
        blackout_s=blackout_s,
        around_s=events[-1].at_ms / 1000 - events[0].at_ms / 1000 - blackout_s - waited_s,
    )


def rates_of(samples: Sequence[Sample]) -> Rates:
    """The rates that these migrations of one pair show, at least one, all of one way."""
    usual = DEFAULT_RATES[samples[0].way]
    memory, files = [s.memory_bytes for s in samples], [s.files_bytes for s in samples]
    sending = "stream" if usual.way == "stream" else "send"
    rates = replace(
        usual,
        send_bytes_per_s=_rate(sending, memory, [s.send_s for s in samples]) or usual.send_bytes_per_s,
        files_bytes_per_s=_rate("files", files, [s.files_s for s in samples]) or usual.files_bytes_per_s,
        runs=len(samples),
    )
    if usual.way == "images":
        rates = replace(
            rates,
            dump_bytes_per_s=_rate("dump", memory, [s.dump_s for s in samples]) or usual.dump_bytes_per_s,
            restore_bytes_per_s=_rate("restore", memory, [s.restore_s for s in samples]) or usual.restore_bytes_per_s,
        )
    pause_s = median(s.blackout_s - _moving_s(s.memory_bytes, rates) for s in samples)
    setup_s = median(s.around_s - s.files_bytes / rates.files_bytes_per_s for s in samples)
    return replace(rates, pause_s=max(round(pause_s, 3), PAUSE_S_MIN), setup_s=max(round(setup_s, 3), SETUP_S_MIN))


def pauses_seen(
    histories: Iterable[History], source: str, target: str, rates: Rates, plain: bool = False
) -> list[float]:
    """The pauses of a pair's latest migrations over what these rates say of each, sorted; 1.0 is as predicted."""
    mine = (sample(m, events) for m, events in histories if (m.source, m.target) == (source, target))
    latest = islice((s for s in mine if s is not None and (s.way, s.plain) == (rates.way, plain)), LATEST)
    return sorted(s.blackout_s / (rates.pause_s + _moving_s(s.memory_bytes, rates)) for s in latest)


def _moving_s(memory_bytes: int, rates: Rates) -> float:
    """What of a pause memory takes at these rates."""
    return memory_bytes / rates.send_bytes_per_s + sum(rates.images_s(memory_bytes))


def _rate(step: str, sizes_bytes: Sequence[int], times_s: Sequence[float]) -> int | None:
    """Bytes a second of one step; None if no migration was large enough to tell."""
    found = [
        size_bytes / max(time_s - OVERHEAD_S[step], time_s / 2)
        for size_bytes, time_s in zip(sizes_bytes, times_s, strict=True)
        if size_bytes >= LARGE_BYTES and time_s > 0
    ]
    return max(round(median(found)), 1) if found else None
