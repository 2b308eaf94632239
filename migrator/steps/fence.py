"""Fence: frozen, gate closed, and a watchdog on the source that undoes both at the deadline.

Before the freeze, for `quiet_ms`, which is no part of the pause, dump, restore and last pass are made ready, and the
container's handshakes are let come to rest. In between, for `turn_ms`, which is part of neither, it stands ready and
waits for its turn: the container before it may still be paused on its links. In pre-copy what was written to memory
since its last round goes then, in one or few rounds more (`rounds`, of `image_bytes`).
`unsent` is how many connections that its program had closed could not get their last bytes out. What its root has made
in its network goes to the target before the freeze. If it is another by then it goes once more, in the pause, and only
then the dump begins.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from migrator.model.modes import Mode
from migrator.protocol.states import State
from migrator.runtime.carried import checked
from migrator.steps import restart, traces
from migrator.steps.base import Move, Step
from migrator.steps.dump import refuse_ended_dump, start_dump, start_last_pass
from migrator.steps.precopy import copy_when_ready
from migrator.steps.restore import refuse_ended_restore, start_restore
from migrator.transport.base import Answer, NodeFailed

ASK_S = 1.0


def makes_ready(move: Move) -> bool:
    """Whether there is something to be made ready before the freeze, beside the pause of another."""
    return move.mode is not Mode.RESTART and move.memory.name == "stream"


async def do(move: Move) -> dict[str, Any]:
    if move.mode is Mode.RESTART:
        return await restart.stop(move)
    ready_ms = await _make_ready(move) if makes_ready(move) else 0
    clock = asyncio.get_running_loop().time
    began_s = clock()
    mark = await _carry(move, await move.source.node.call("own-network", move.name, move.token))
    late = await _copy_late(move) if move.mode is Mode.PRE_COPY else {}
    ready_ms += round((clock() - began_s) * 1000)
    deadline_s = math.ceil(move.policy.blackout_s_max)
    answer = await move.source.node.call("fence", move.name, move.token, deadline_s, *([mark] if mark else []))
    if list(answer.lines("carry")):
        await _carry(move, answer)
        if move.memory.name == "stream":
            await move.source.node.call("fence", move.name, move.token, deadline_s, "carried")
    return {
        "frozen_at_ms": answer.number("frozen_at_ms"),
        "quiet_ms": ready_ms + answer.number("quiet_ms"),
        "turn_ms": move.turn_ms,
        "unsent": answer.number("unsent"),
        "deadline_s": deadline_s,
        **late,
    }


async def _carry(move: Move, told: Answer) -> str:
    """Gives the target what its source tells of the container's own network. Returns the mark by which the source knows
    whether it is that still, or "" where there is nothing.
    """
    if not (lines := list(told.lines("carry"))):
        return ""
    try:
        carried = checked(lines)
    except ValueError as error:
        raise NodeFailed(told.node, told.verb, f"container {move.name}: {error}") from error
    await move.target.node.call("carry", move.name, move.token, stdin=carried)
    return told.get("mark")


async def _make_ready(move: Move) -> int:
    """Returns when the move has its turn, with how many milliseconds the rest took; what is not ready by then the fence
    waits for. All go as far as they can without the frozen container: no program starts, nothing connects in the pause.
    """
    clock = asyncio.get_running_loop().time
    began_s = clock()
    await asyncio.gather(start_restore(move), start_dump(move), start_last_pass(move))
    ready_s = clock()
    await _have_turn(move)
    move.turn_ms = round((clock() - ready_s) * 1000)
    return round((ready_s - began_s) * 1000)


async def _copy_late(move: Move) -> dict[str, Any]:
    """Nothing but a word to the source is left between this and the freeze."""
    await move.source.node.call("await-ready", move.name, move.token)
    return await copy_when_ready(move)


async def _have_turn(move: Move) -> None:
    """Waits for the move's turn, and meanwhile asks whether all still stands: nothing is frozen for what must fail."""
    turn = asyncio.ensure_future(move.turn.come())
    try:
        while not (await asyncio.wait({turn}, timeout=ASK_S))[0]:
            await refuse_ended_restore(move)
            await refuse_ended_dump(move)
        await turn
    finally:
        turn.cancel()


async def undo(move: Move) -> None:
    answer = await move.source.node.call("thaw", move.name, move.token, move.claim)
    move.thawed = answer.get("thawed") == "now"
    if answer.get("paused_ms"):  # its watchdog was first, and its node knows when
        move.paused_ms = answer.number("paused_ms")


STEP = Step(State.FENCED, do, traces.frozen, undo)
