"""Remove the source: its cable first, so that the dying copy says nothing, then its processes, files and record."""

from __future__ import annotations

from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step


async def do(move: Move) -> dict[str, Any]:
    await move.source.node.call("retire", move.name, move.token, timeout_s=120)
    return {}


STEP = Step(State.SOURCE_REMOVED, do, traces.source_removed)
