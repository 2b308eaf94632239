"""Release: after COMMITTED, the target writes down that it runs the container, then lets it go and opens the gate."""

from __future__ import annotations

from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step


async def do(move: Move) -> dict[str, Any]:
    answer = await move.target.node.call("release", move.name, move.token, timeout_s=40)
    told = {"processes": answer.get("processes")}
    return told | {key: said for key in ("gate_error", "not_let_go") if (said := answer.get(key))}


STEP = Step(State.RELEASED, do, traces.released)
