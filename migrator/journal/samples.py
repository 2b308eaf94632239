"""What one ended migration took, read from its journal: the samples that rates are learnt from (learnt.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migrator.journal.base import Migration
from migrator.journal.events import Event, Phase
from migrator.model.estimate import FOLLOW_PAUSE_BYTES, silent_s
from migrator.model.file_passes import LITTLE_BYTES
from migrator.model.memory_way import PLAIN
from migrator.model.modes import Mode
from migrator.model.rates import Rates, Way
from migrator.model.rounds import ROUND_S
from migrator.protocol.states import FORWARD, State


@dataclass(frozen=True, slots=True)
class Sample:
    """What one migration took.

    `memory_bytes` were sent in `send_s`: in the pause, or in post-copy after it.
    `blackout_s` is from freeze to release, `stop_s` what of it a restart waited for the container's end; `around_s` is
    all of the rest but waiting, rounds, and memory that is gathered or follows. `way` is None of a restart, which
    carries no memory; `plain` is whether it went beside ssh. `link_bytes_per_s` is the speed that was declared between
    the nodes, 0 where none was.
    """

    mode: Mode
    way: Way | None
    memory_bytes: int
    files_bytes: int
    dump_s: float
    send_s: float
    restore_s: float
    files_s: float
    stop_s: float
    blackout_s: float
    around_s: float
    link_bytes_per_s: int = 0
    plain: bool = False

    def moving_s(self, rates: Rates) -> float:
        """What of its pause was no constant: bytes at these rates, no faster than its link was, and its stop."""
        if self.mode is Mode.RESTART:
            return self.stop_s
        paused_bytes = min(self.memory_bytes, FOLLOW_PAUSE_BYTES) if self.mode is Mode.POST_COPY else self.memory_bytes
        rate = min(rates.send_bytes_per_s, self.link_bytes_per_s or rates.send_bytes_per_s)
        silent = sum(silent_s(self.mode, rates, paused_bytes, 0.0)) - rates.constant_s(self.mode)
        return paused_bytes / rate + silent


def sample(migration: Migration, events: Sequence[Event]) -> Sample | None:
    """What a migration took; None if it did not go straight to its end under one orchestrator, or if files that were
    written meanwhile made its pause.
    """
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
    sent = _sent(migration.mode, data)
    # A last pass with much to look at makes the pause its own, and the memory beside it waits for it; and so do files
    # in memory, which are packed.
    looked_bytes, packed_bytes = data[State.SYNCED].get("looked_bytes", 0), data[State.CHECKED].get("tmpfs_bytes", 0)
    if sent is None or max(looked_bytes, packed_bytes) > LITTLE_BYTES:
        return None

    def took_s(state: State) -> float:
        return at_s[state, Phase.END] - at_s[state, Phase.BEGIN] if (state, Phase.BEGIN) in at_s else 0.0

    seeded, fenced, checked = data[State.SEEDED], data[State.FENCED], data[State.CHECKED]
    quiet_s = fenced.get("quiet_ms", 0) / 1000  # before the freeze, until its TCP was at rest
    turn_s = fenced.get("turn_ms", 0) / 1000  # and then for the pauses of others to end
    blackout_s = at_s[State.RELEASED, Phase.END] - at_s[State.FENCED, Phase.BEGIN] - quiet_s - turn_s
    waited_s = at_s[State.FENCED, Phase.BEGIN] - at_s[State.SEEDED, Phase.END] + turn_s
    rounds = (*seeded.get("rounds", ()), *fenced.get("rounds", ()))
    rounds_s = sum(ROUND_S + each["ms"] / 1000 for each in rounds)
    whole_s = events[-1].at_ms / 1000 - events[0].at_ms / 1000
    gather_s = seeded.get("gather_ms", 0) / 1000
    around_s = whole_s - blackout_s - waited_s - rounds_s - gather_s - took_s(State.FILLED)
    way: Way = "stream" if checked.get("memory") == "stream" else "images"
    return Sample(
        mode=migration.mode,
        way=None if migration.mode is Mode.RESTART else way,
        memory_bytes=int(sent.get("image_bytes", 0)),
        files_bytes=sum(int(each.get("sent_bytes", 0)) for each in (seeded, data[State.SYNCED])),
        dump_s=sent.get("dump_ms", 0) / 1000,
        send_s=sent.get("send_ms", 0) / 1000,
        restore_s=took_s(State.RESTORED),
        files_s=0.0 if rounds else took_s(State.SEEDED) - gather_s,
        stop_s=fenced.get("stop_ms", 0) / 1000,
        blackout_s=blackout_s,
        around_s=max(around_s, 0.0),
        link_bytes_per_s=int(checked.get("link_bytes_per_s", 0)),
        plain=data[State.DUMPED].get("channel") == PLAIN,
    )


def _sent(mode: Mode, data: dict[State, dict[str, Any]]) -> dict[str, Any] | None:
    """What tells how its memory was sent; None where nothing does."""
    if mode is Mode.RESTART:
        return {} if "stop_ms" in data[State.FENCED] else None
    told = data.get(State.FILLED, {}) if mode is Mode.POST_COPY else data[State.DUMPED]
    whole = {"image_bytes", "send_ms"} if mode is Mode.POST_COPY else {"image_bytes", "dump_ms", "send_ms"}
    return told if whole <= told.keys() else None


def written_bytes_per_s(events: Sequence[Event]) -> int | None:
    """How fast its container wrote its memory while the last rounds of pre-copy were sent; None where none were."""
    seen = [event.data.get("dirty_bytes_per_s") for event in events if event.state is State.SEEDED]
    return next((int(rate) for rate in reversed(seen) if rate is not None), None)
