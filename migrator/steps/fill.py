"""Fill: the container runs on its target already, and memory that is not in its place yet follows. In post-copy it
comes from the source, in pre-copy it is what rounds have brought to the target before.

Nothing here hurries it or holds it up: the nodes do it. It is waited for, because until then the source's frozen
memory is the only one that is whole.
"""

from __future__ import annotations

import asyncio
from typing import Any

from migrator.errors import NeedsOperator
from migrator.model.modes import Mode
from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import JOB_WAIT_S, Move, Step, run_job
from migrator.steps.dump import words
from migrator.transport.base import NodeFailed, NodeRefused


class MemoryLost(NeedsOperator):
    """The container was killed on its target: the rest of its memory cannot come, or CRIU could not let it go. What it
    was at its pause is still on the source.
    """


async def do(move: Move) -> dict[str, Any]:
    clock = asyncio.get_running_loop().time
    began_s = clock()
    node = move.target.node
    while (answer := await node.call("await-filled", move.name, move.token, JOB_WAIT_S)).get("filled") != "yes":
        if answer.get("filled") == "lost":
            raise _lost(move)
        if clock() - began_s > move.policy.fill_timeout_s:
            raise NodeFailed(node.name, "fill", f"memory of {move.name} still follows")
    return {"filled_ms": round((clock() - began_s) * 1000), **await _sent(move)}


async def _sent(move: Move) -> dict[str, int]:
    """What the source says of what it has sent. After a take-over its job has an older name, and asking would begin
    another.
    """
    if move.mode is not Mode.POST_COPY or move.results.get(State.LEASED, {}).get("token") != move.token:
        return {}
    try:
        done = await run_job(move.source.node, move, "dump", *words(move), timeout_s=JOB_WAIT_S)
    except (NodeFailed, NodeRefused):
        return {}
    return {"image_bytes": done.number("image_kib") * 1024, "send_ms": done.number("send_ms")}


def _lost(move: Move) -> MemoryLost:
    name, source, target = move.name, move.source.node.name, move.target.node.name
    rest = "what its rounds had brought could not be put into its place"
    if move.mode is Mode.POST_COPY:
        rest = f"the rest of its memory could not follow from {source}"
    return MemoryLost(
        f"container {name} was killed on {target}: {rest}. Its files are whole on {target}, and its memory of before "
        f"the move may be on {source}, frozen. {_decide(move)} (what it has done since is lost)"
    )


def not_let_go(move: Move, why: str) -> MemoryLost:
    """What is told of a copy that died in its release: as far as anybody knows, nothing of it has run."""
    name, source, target = move.name, move.source.node.name, move.target.node.name
    return MemoryLost(
        f"container {name} died on {target} in its release: {why}. Its files are whole on {target}, and all of it is "
        f"on {source}, frozen. {_decide(move)} (it goes on from its pause)"
    )


def _decide(move: Move) -> str:
    source, target = move.source.node.name, move.target.node.name
    return f"Decide: migrator settle {move.name} --keep {target} (it starts cold), or --keep {source}"


STEP = Step(State.FILLED, do, traces.filled)
