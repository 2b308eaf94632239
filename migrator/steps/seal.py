"""Seal: the source acknowledges, durably, that no timer of its own decides any more."""

from __future__ import annotations

from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step


async def do(move: Move) -> dict[str, Any]:
    await move.source.node.call("seal", move.name, move.token)
    return {}


STEP = Step(State.SEALED, do, traces.sealed)
