"""Reserve: room on the target, in the ledger that its records are, under its lock."""

from __future__ import annotations

from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step


async def do(move: Move) -> dict[str, Any]:
    ct, capacity = move.descriptor, move.target.facts.capacity
    await move.target.node.call(
        "reserve",
        ct.name,
        move.token,
        ct.memory_bytes,
        ct.cpu_milli,
        ct.disk_bytes,
        capacity.memory_bytes,
        capacity.cpu_milli,
        capacity.disk_bytes,
    )
    return {}


async def undo(move: Move) -> None:
    """Ends whatever the target holds of this move: processes, images, files, key, reservation, record."""
    await move.target.node.call("discard-target", move.name, move.token, move.claim, timeout_s=60)


STEP = Step(State.RESERVED, do, traces.frozen, undo, "target")
