"""Verify: the held processes and sockets are the ones that were dumped."""

from __future__ import annotations

from typing import Any

from migrator.model.observation import Observation
from migrator.protocol.states import State
from migrator.steps.base import Move, Step
from migrator.transport.base import NodeFailed


async def do(move: Move) -> dict[str, Any]:
    dumped, restored = ([row for row in move.results[s]["census"] if row] for s in (State.DUMPED, State.RESTORED))
    difference = sorted(set(dumped).symmetric_difference(restored))
    if difference or len(dumped) != len(restored):
        raise NodeFailed(
            move.target.node.name,
            "verify",
            f"the restored copy of {move.name} is not what was dumped: {'; '.join(difference[:3]) or 'counts differ'}",
        )
    return {
        "processes": sum(row.startswith("process ") for row in restored),
        "sockets": sum(row.startswith("socket ") for row in restored),
    }


def happened(source: Observation, target: Observation) -> bool:
    return source.state == "sealed"


STEP = Step(State.VERIFIED, do, happened)
