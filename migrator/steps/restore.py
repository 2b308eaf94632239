"""Restore: the processes stand on the target, gate closed, and have not executed one instruction."""

from __future__ import annotations

import math
from typing import Any

from migrator.model.observation import Observation
from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step, run_job, start_job
from migrator.transport.base import Node, NodeFailed


async def do(move: Move) -> dict[str, Any]:
    node = move.target.node
    words = ("restore", move.name, move.token)
    await start_job(node, move, "restore", *words)
    timeout_s = math.ceil(move.policy.blackout_s_max)
    held = await node.call("await-held", move.name, move.token, timeout_s, timeout_s=timeout_s + 15)
    if held.get("held") != "yes":
        await run_job(node, move, "restore", *words, timeout_s=2)  # raises with what CRIU said
        raise NodeFailed(node.name, "restore", f"the restore of {move.name} ended without holding")
    if said := held.get("gate_error"):
        raise NodeFailed(node.name, "restore", f"the gate of {move.name} could not be opened: {said}; make it")
    return {"census": sorted(line for line in held.text.split("\n") if not line.startswith("held"))}


async def write_down(node: Node, move: Move, seen: Observation) -> None:
    """Has the record say that a copy is held, where the node's disk was too full for that when it came."""
    if seen.state == "reserved":
        await node.call("await-held", move.name, move.token, 1)


STEP = Step(State.RESTORED, do, traces.held)
