"""Where a pause went, to the millisecond: `migrator show --phases`, and `pause` in the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import click

from migrator.cli.output import print_table
from migrator.cli.report import WAITED_MS, blackout_ms, fenced_ms
from migrator.journal.events import Event, Phase
from migrator.model.site import When
from migrator.protocol.states import State

Clock = Literal["orchestrator", "source"]
_IN_THE_PAUSE = (
    ("freeze, gate", State.FENCED),
    ("dump, send", State.DUMPED),
    ("last files", State.SYNCED),
    ("restore", State.RESTORED),
    ("verify", State.VERIFIED),
    ("seal", State.SEALED),
    ("release", State.RELEASED),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a pause. `within` says of which other it is a part; "" for those that make up the whole.

    `clock` tells who measured it: what a node does on its own is told by its own clock.
    """

    name: str
    ms: int
    clock: Clock = "orchestrator"
    within: str = ""


def pause_parts(history: Sequence[Event]) -> list[Part]:
    """The parts of a move's pause, in order; those that are not within another add up to the blackout.

    Nothing for a move that never paused, or of whose pause nobody knows the end.
    """
    whole_ms = blackout_ms(list(history))
    if whole_ms is None:
        return []
    begun = {e.state: e.at_ms for e in history if e.phase is Phase.BEGIN}
    ended = {e.state: e for e in history if e.phase is Phase.END}
    parts = []
    for name, state in _IN_THE_PAUSE:
        if state not in begun or state not in ended:
            continue
        data, took_ms = ended[state].data, ended[state].at_ms - begun[state]
        if state is State.FENCED:
            took_ms -= fenced_ms(history, "quiet_ms") + fenced_ms(history, "turn_ms")
        parts.append(Part(name, took_ms))
        if state is State.DUMPED:
            inner = (("dump", "dump_ms"), ("send", "send_ms"))
            parts += [Part(word, int(data[key]), "source", name) for word, key in inner if key in data]
            # They go beside the dump, and a restore opens no file before they have ended: then memory waits for them.
            files = ended[State.SYNCED].data if State.SYNCED in ended else {}
            if "dump_ms" in data and "sync_ms" in files:
                parts.append(Part("last files, beside", int(files["sync_ms"]), "source", name))
    if asked := [e.at_ms for e in history if e.phase is Phase.NOTE and e.data.get("hook") == When.BEFORE_COMMIT]:
        parts.append(Part("the site's hooks", asked[-1] - asked[0]))
    rest_ms = whole_ms - sum(part.ms for part in parts if not part.within)
    back = State.RELEASED not in ended
    return [
        *parts,
        Part("the failed step, and taking it back" if back else "journal and decision, in between", rest_ms),
    ]


def print_phases(history: Sequence[Event]) -> None:
    """The pause as a table; one line where there is none to show."""
    parts = pause_parts(history)
    if not parts:
        click.echo("  no pause that has an end")
        return
    whole_ms = sum(part.ms for part in parts if not part.within)
    rows = [
        (f"- {p.name}" if p.within else p.name, f"{p.ms} ms", f"{p.ms / max(whole_ms, 1):.0%}", p.clock) for p in parts
    ]
    rows.append(("the whole pause", f"{whole_ms} ms", "100%", "orchestrator"))
    print_table(("PART OF THE PAUSE", "TOOK", "SHARE", "CLOCK"), rows)
    turn_ms = fenced_ms(history, "turn_ms")
    stood = f", and {turn_ms} ms ready and waiting for the pauses of others" if turn_ms >= WAITED_MS else ""
    click.echo(f"before it, {fenced_ms(history, 'quiet_ms')} ms until all was ready and its TCP at rest{stood}")
