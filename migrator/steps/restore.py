"""Restore: the processes stand on the target, gate closed, and have not executed one instruction."""

from __future__ import annotations

import math
from typing import Any

from migrator.model.modes import Mode
from migrator.model.observation import Observation
from migrator.protocol.states import State
from migrator.steps import restart, traces
from migrator.steps.base import Move, Step, refuse_ended, run_job, start_job
from migrator.transport.base import Node, NodeFailed

ASK_TIMEOUT_S = 2


async def start_restore(move: Move) -> None:
    """Starts the restore, or finds it started. Where memory is streamed it waits for the images by itself."""
    await start_job(move.target.node, move, "restore", *_words(move))


async def refuse_ended_restore(move: Move) -> None:
    """NodeFailed where a restore that stands ready has ended. In the pause only its deadline would show that."""
    await refuse_ended(move.target.node, move, "restore", *_words(move))


async def why_it_failed(move: Move) -> NodeFailed | None:
    """What a restore says that has ended although nobody released it; None for one that goes on."""
    try:
        await run_job(move.target.node, move, "restore", *_words(move), timeout_s=ASK_TIMEOUT_S)
    except NodeFailed as failed:
        return failed if failed.verb == "restore" and " failed: " in str(failed) else None
    return None


def _words(move: Move) -> tuple[str | int, ...]:
    rehearsal = ("rehearsal",) if move.rehearsal else ()
    return ("restore", move.name, move.token, move.memory.name, *rehearsal)


async def do(move: Move) -> dict[str, Any]:
    if move.mode is Mode.RESTART:
        return await restart.create(move)
    node = move.target.node
    if move.memory.name == "images":
        await start_restore(move)
    timeout_s = math.ceil(move.policy.blackout_s_max)
    held = await node.call("await-held", move.name, move.token, timeout_s, timeout_s=timeout_s + 15)
    if held.get("held") != "yes":
        if failed := await why_it_failed(move):
            raise failed
        why = "; ".join(held.lines("why")) or "nothing of it is there"
        said = f"the restore of {move.name} does not hold, waited for up to {timeout_s} s: {why}"
        raise NodeFailed(node.name, "restore", said)
    if said := held.get("gate_error"):
        raise NodeFailed(node.name, "restore", f"the gate of {move.name} could not be opened: {said}; make it")
    return {"census": sorted(line for line in held.text.split("\n") if not line.startswith("held"))}


async def write_down(node: Node, move: Move, seen: Observation) -> None:
    """Has the record say that a copy is held, where the node's disk was too full for that when it came."""
    if seen.state == "reserved":
        await node.call("await-held", move.name, move.token, 1)


STEP = Step(State.RESTORED, do, traces.held)
