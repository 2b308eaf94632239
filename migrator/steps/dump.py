"""Dump: memory into images that flow to the target, and beside it the last pass over the files. Both are waited for."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

from migrator.model.memory_way import ENCRYPTED
from migrator.model.modes import Mode
from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step, all_of, refuse_ended, run_job, start_job
from migrator.steps.restore import why_it_failed
from migrator.transport.base import Answer, NodeError, NodeFailed

LAST_PASS = "files-final"


async def do(move: Move) -> dict[str, Any]:
    if move.mode is Mode.RESTART:
        return {}  # what it had in memory is given up
    node = move.source.node
    async with _handing_over(move):
        dumped, census, move.last_pass = await all_of(
            _dump_of_stream(move) if move.memory.name == "stream" else _dump(move),
            node.call("census", move.name),
            last_pass(move),
        )
    return {
        "dump_ms": dumped.number("dump_ms"),
        **({} if move.mode is Mode.POST_COPY else {"send_ms": dumped.number("send_ms")}),
        "image_bytes": dumped.number("image_kib") * 1024,
        **channel_of(move, dumped),
        "census": sorted(census.text.split("\n")),
    }


@contextlib.asynccontextmanager
async def _handing_over(move: Move) -> AsyncIterator[None]:
    """Meanwhile the move's links are handed over when nearly all is sent, if another stands ready for them. Where pages
    follow a release, or images are sent whole, they are kept until the seal.
    """
    if move.mode is Mode.POST_COPY or move.memory.name != "stream":
        yield
        return
    handing = asyncio.ensure_future(_hand_over(move))
    try:
        yield
    finally:
        handing.cancel()
        await asyncio.gather(handing, return_exceptions=True)


async def _hand_over(move: Move) -> None:
    timeout_s = math.ceil(move.policy.blackout_s_max)
    await move.turn.wanted()
    with contextlib.suppress(NodeError):  # a node that fails is told by what waits for the dump
        answer = await move.source.node.call("await-nearly", move.name, move.token, timeout_s, timeout_s=timeout_s + 15)
        if answer.get("nearly") == "yes":
            move.turn.hand_over()


def channel_of(move: Move, said: Answer) -> dict[str, str]:
    """How memory goes or went, and why not beside ssh where that was declared; nothing where it was not."""
    if not move.plain:
        return {}
    why = move.results.get(State.SEEDED, {}).get("channel_why", "") or said.get("channel_why", "")
    return {"channel": ENCRYPTED, "channel_why": why} if why else {"channel": said.get("channel", ENCRYPTED)}


async def start_dump(move: Move) -> None:
    """Starts the dump of streamed memory, which waits for the fence by itself."""
    await start_job(move.source.node, move, "dump", *words(move))


async def start_last_pass(move: Move) -> None:
    """Starts the last pass over the files, or finds it started. Where memory is streamed it waits for the fence."""
    await start_job(move.source.node, move, LAST_PASS, *_last_pass_words(move))


async def refuse_ended_dump(move: Move) -> None:
    """NodeFailed where a dump or a last pass that stands ready has ended."""
    await refuse_ended(move.source.node, move, "dump", *words(move))
    await refuse_ended(move.source.node, move, LAST_PASS, *_last_pass_words(move))


async def last_pass(move: Move) -> Answer:
    """Starts the last pass over the files, or finds it, and waits for its end."""
    return await run_job(
        move.source.node, move, LAST_PASS, *_last_pass_words(move), timeout_s=move.policy.blackout_s_max
    )


def _last_pass_words(move: Move) -> tuple[str | int, ...]:
    return ("send-files", move.name, move.token, "final")


def words(move: Move) -> tuple[str | int, ...]:
    return ("dump", move.name, move.token, move.memory.name)


async def _dump(move: Move) -> Answer:
    """Dumps; streamed memory is all in the restored processes when this ends. A restore that failed meanwhile is why
    nothing could be sent, so it is what is told.
    """
    try:
        return await run_job(move.source.node, move, "dump", *words(move), timeout_s=move.policy.blackout_s_max)
    except NodeFailed:
        if move.memory.name == "stream" and (failed := await why_it_failed(move)):
            raise failed from None
        raise


async def _dump_of_stream(move: Move) -> Answer:
    """Returns when all is sent, or, in post-copy, when the images are on their way: before the job has ended. Why it
    failed is told by the job itself, or by the restore.
    """
    node, timeout_s = move.source.node, math.ceil(move.policy.blackout_s_max)
    try:
        return await node.call("await-dumped", move.name, move.token, timeout_s, timeout_s=timeout_s + 15)
    except NodeFailed as failed:
        done = await _dump(move)
        if move.mode is Mode.POST_COPY:
            raise failed from None
        return done  # it had just ended when it was looked for


STEP = Step(State.DUMPED, do, traces.held)
