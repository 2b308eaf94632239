"""Sync: the last pass over the files has ended; what the target has is what the frozen container sees."""

from __future__ import annotations

from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step, run_job
from migrator.steps.dump import LAST_PASS


async def do(move: Move) -> dict[str, Any]:
    words = ("send-files", move.name, move.token, "final")
    done = await run_job(move.source.node, move, LAST_PASS, *words, timeout_s=move.policy.blackout_s_max)
    return {"sent_bytes": done.number("sent"), "sync_ms": done.number("ms")}


STEP = Step(State.SYNCED, do, traces.held)
