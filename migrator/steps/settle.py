"""Settle: the target's record says that it serves the container, under a generation of its own; the move is over."""

from __future__ import annotations

from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step


async def do(move: Move) -> dict[str, Any]:
    await move.target.node.call("settle", move.name, move.token, move.generation + 1, move.claim)
    return {"generation": move.generation + 1}


STEP = Step(State.DONE, do, traces.settled)
