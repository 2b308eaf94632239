"""The rounds of pre-copy, while the container runs: one after the other until protocol/precopy.py says enough, and
more of them when all stands ready for the freeze.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from migrator.errors import FailedSafe
from migrator.model.modes import READY_S
from migrator.model.units import format_bytes, format_seconds
from migrator.protocol.checks import IMAGE_MARGIN_BYTES
from migrator.protocol.precopy import (
    Bounds,
    GiveUp,
    Pause,
    Round,
    Slower,
    decide,
    dirty_rate_bytes_per_s,
    wants_one_more,
)
from migrator.protocol.states import State
from migrator.steps.base import Move, beside, run_job
from migrator.steps.passes import FilePasses


def bounds_of(move: Move) -> Bounds:
    """What the policy wants of the rounds, and what the target has room for: as much as `prepare` sets aside."""
    mine = move.source.facts.container(move.name)
    anon_bytes = mine.anon_bytes if mine else move.descriptor.memory_bytes
    free_bytes = (move.target.facts.memory_available_bytes + IMAGE_MARGIN_BYTES) // 2
    images_bytes = max(anon_bytes + anon_bytes // 2, move.descriptor.memory_bytes) + IMAGE_MARGIN_BYTES
    policy = move.policy
    return Bounds(
        pause_s=move.rates.pause_s,
        ready_s=READY_S,
        room_bytes=min(images_bytes, free_bytes) - IMAGE_MARGIN_BYTES // 2,
        target_s=policy.target_blackout_s,
        rounds_max=policy.rounds_max,
        way_out=move.way_out,
    )


async def copy_rounds(move: Move, files: FilePasses) -> dict[str, Any]:
    """Copies memory until little is left. Returns what the rounds were. FailedSafe when it gives up.

    Beside each round but the first goes a pass over the files: what is written to them while memory is copied would
    else be left to the pause. What is left of them all the same counts in what is predicted.
    """
    usual, rounds, throttled = bounds_of(move), list[Round](), 0
    while True:
        rounds.append(await beside(_round(move, len(rounds) + 1), *([files.one()] if rounds else [])))
        bounds = replace(usual, files_s=files.left_s)
        _tell(move, rounds)
        verdict = decide(rounds, bounds, throttled)
        if isinstance(verdict, Pause):
            move.rounds, move.rounds_over_s = tuple(rounds), asyncio.get_running_loop().time()
            return {
                "rounds": [_told(each) for each in rounds],
                "image_bytes": sum(each.sent_bytes for each in rounds),
                "dirty_bytes_per_s": round(dirty_rate_bytes_per_s(rounds) or 0),
                "predicted_ms": round(verdict.predicted_s * 1000),
                "enough": verdict.why,
            }
        if isinstance(verdict, GiveUp):
            raise FailedSafe(
                f"container {move.name} writes memory faster than it goes to {move.target.node.name}: {verdict.why}; "
                "allow more with --target-blackout, say --not-convergent go-on, or name another --mode"
            )
        if isinstance(verdict, Slower):
            move.on_progress(State.SEEDED, f"memory: held to {verdict.percent} % of a CPU, for {verdict.why}")
            await move.source.node.call("throttle", move.name, move.token, verdict.percent)
            throttled += 1


async def copy_when_ready(move: Move) -> dict[str, Any]:
    """Rounds when all stands ready, as long as what was written meanwhile is worth one. Returns what they were, or
    nothing.

    Any that fails ends the move: what it took hold of no later dump would send.
    """
    clock, rounds, over_s = asyncio.get_running_loop().time, list(move.rounds), move.rounds_over_s
    bounds, before = bounds_of(move), len(move.rounds)
    while wants_one_more(rounds, bounds, clock() - over_s, len(rounds) - before):
        rounds.append(await _round(move, len(rounds) + 1))
        over_s = clock()
        _tell(move, rounds)
    late = rounds[before:]
    return {"rounds": list(map(_told, late)), "image_bytes": sum(each.sent_bytes for each in late)} if late else {}


def _told(each: Round) -> dict[str, int]:
    return {"sent": each.sent_bytes, "frozen_ms": each.frozen_ms, "ms": each.send_ms}


async def _round(move: Move, number: int) -> Round:
    words = ("pre-dump", move.name, move.token, number)
    timeout_s = move.policy.job_timeout_s
    done = await run_job(move.source.node, move, f"pre-dump{number}", *words, timeout_s=timeout_s)
    return Round(done.number("sent"), done.number("began_ms"), done.number("frozen_ms"), done.number("send_ms"))


def _tell(move: Move, rounds: list[Round]) -> None:
    last, rate = rounds[-1], dirty_rate_bytes_per_s(rounds)
    written = f", written at {format_bytes(round(rate))}/s" if rate is not None else ""
    took = format_seconds(last.send_ms / 1000)
    move.on_progress(State.SEEDED, f"memory: round {len(rounds)}, {format_bytes(last.sent_bytes)} in {took}{written}")
