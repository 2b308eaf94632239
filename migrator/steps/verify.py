"""Verify: the held processes and sockets are the ones that were dumped, and, on request, the files are equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step
from migrator.steps.sync import differs_in, manifest
from migrator.transport.base import NodeFailed

TARGET_TIMEOUT_S = 5


def difference(dumped: Sequence[str], restored: Sequence[str]) -> str:
    """What a restored copy has that was not dumped, or lacks; empty when they are the same."""
    before, after = (sorted(row for row in rows if row) for rows in (dumped, restored))
    if before == after:
        return ""
    return "; ".join(sorted(set(before).symmetric_difference(after))[:3]) or "counts differ"


async def do(move: Move) -> dict[str, Any]:
    # Of a move by restart nothing was dumped: there is nobody to be counted.
    dumped, restored = (move.results[state].get("census", ()) for state in (State.DUMPED, State.RESTORED))
    if found := difference(dumped, restored):
        said = f"the restored copy of {move.name} is not what was dumped: {found}"
        raise NodeFailed(move.target.node.name, "verify", said)
    files = move.results[State.SYNCED].get("manifest")
    if files is None:
        where = ""  # the target has answered this moment
    else:
        where = differs_in(files, await manifest(move, move.target.node))
        await _ask_again(move)
    if where:
        said = f"files of {move.name} did not arrive as they are on {move.source.node.name}, in {where}"
        raise NodeFailed(move.target.node.name, "verify", said)
    return {
        "processes": sum(row.startswith("process ") for row in restored),
        "sockets": sum(row.startswith("socket ") for row in restored),
    }


async def _ask_again(move: Move) -> None:
    """Shortly: a target that has gone since is known before the seal, while the way back is open."""
    seen = await move.target.node.call("inspect", move.name, timeout_s=TARGET_TIMEOUT_S, tries=1)
    if seen.get("held") != "yes":
        raise NodeFailed(move.target.node.name, "verify", f"the restored copy of {move.name} is not held any more")


STEP = Step(State.VERIFIED, do, traces.sealed)
