"""Dump: memory into images that flow to the target, and beside it the last pass over the files."""

from __future__ import annotations

import asyncio
from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step, run_job, start_job

LAST_PASS = "files-final"


async def do(move: Move) -> dict[str, Any]:
    node = move.source.node
    dumped, census, _ = await asyncio.gather(
        run_job(node, move, "dump", "dump", move.name, move.token, timeout_s=move.policy.blackout_s_max),
        node.call("census", move.name),
        start_job(node, move, LAST_PASS, "send-files", move.name, move.token, "final"),
    )
    return {
        "dump_ms": dumped.number("dump_ms"),
        "send_ms": dumped.number("send_ms"),
        "image_bytes": dumped.number("image_kib") * 1024,
        "census": sorted(census.text.split("\n")),
    }


STEP = Step(State.DUMPED, do, traces.held)
