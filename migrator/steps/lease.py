"""Lease: the token goes up on both nodes, and everything older tokens still do there is ended first."""

from __future__ import annotations

from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step


async def do(move: Move) -> dict[str, Any]:
    await move.source.node.call("lease", move.name, move.expected_token, move.token, move.run, move.holder)
    await move.target.node.call("lease", move.name, 0, move.token, move.run, move.holder)
    return {"token": move.token}


async def undo(move: Move) -> None:
    await move.source.node.call("settle", move.name, move.token, move.generation, move.claim)


STEP = Step(State.LEASED, do, traces.leased, undo)
