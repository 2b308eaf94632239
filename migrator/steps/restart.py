"""The steps of a move by restart, where they are not those of the others: a stop, files alone, and a container created.

What is frozen elsewhere is stopped here, and what is restored elsewhere is created and held before its first
instruction. The source's files are whole until it is retired, so giving it back is to start it: its processes begin
anew, on whichever side.
"""

from __future__ import annotations

import math
from typing import Any

from migrator.steps.base import Move, run_job
from migrator.transport.base import NodeFailed

AFTER_GRACE_S = 45  # to kill what is left, beside the node's own wait for its lock


async def stop(move: Move) -> dict[str, Any]:
    """Stops the container on its source, where a watchdog starts it again at the deadline."""
    deadline_s, grace_s = math.ceil(move.policy.blackout_s_max), math.ceil(move.policy.stop_timeout_s)
    words = (move.name, move.token, deadline_s, grace_s)
    answer = await move.source.node.call("stop", *words, timeout_s=grace_s + AFTER_GRACE_S)
    return {
        "frozen_at_ms": answer.number("frozen_at_ms"),
        "stop_ms": answer.number("stop_ms"),
        "killed": answer.get("killed") == "yes",
        "deadline_s": deadline_s,
    }


async def create(move: Move) -> dict[str, Any]:
    """Has the container created on its target, and held. NodeFailed with the runtime's reason where it cannot be."""
    node, words = move.target.node, ("restore", move.name, move.token, "files")
    await run_job(node, move, "restore", *words, timeout_s=move.policy.blackout_s_max)
    held = await node.call("await-held", move.name, move.token, 1)
    if held.get("held") != "yes":
        raise NodeFailed(node.name, "restore", f"container {move.name} was created and is not held")
    if said := held.get("gate_error"):
        raise NodeFailed(node.name, "restore", f"the gate of {move.name} could not be opened: {said}; make it")
    return {}
