"""Check: everything that would make the move fail is asked while nothing has been touched; all findings at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from migrator.errors import Refused
from migrator.protocol.checks import Neighbour, findings
from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step


async def do(move: Move) -> dict[str, Any]:
    found = await ask(move)
    if found:
        raise Refused(refusal(move, found))
    way = {"memory": move.memory.name}
    return {"findings": 0, **way, **({"memory_why": move.memory.why} if move.memory.why else {})}


async def ask(move: Move) -> list[str]:
    """Every reason against the move. Both nodes are asked, and neither is changed."""
    neighbour = await _neighbour(move)
    return findings(move.descriptor, move.source.facts, move.target.facts, neighbour, move.policy, move.rates)


def refusal(move: Move, found: Sequence[str]) -> str:
    """All that was found against a move, in one line."""
    return f"container {move.name} cannot move to {move.target.node.name}: " + "; ".join(found)


async def _neighbour(move: Move) -> Neighbour:
    """Who answers for the container's address: asked from the target, which proves the shared network too."""
    answers = await asyncio.gather(
        move.target.node.call("arp-owner", move.target.facts.bridge, move.descriptor.ip),
        move.target.node.call("criu-check"),
    )
    return Neighbour(macs=tuple(answers[0].lines("owner")), criu_works=answers[1].get("criu") == "works")


STEP = Step(State.CHECKED, do, traces.frozen)
