"""Sync: the last pass over the files has ended; what the target has is what the frozen container sees.

`looked_bytes` is the size of the files that it brought up to date, `sent_bytes` what it sent for that. `listed` is how
many names it was given, where somebody had noted what changes; else it walked over all files.
That is compared on request: the source's digest is taken here, the target's when the held copy is verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migrator.protocol.states import State
from migrator.steps import traces
from migrator.steps.base import Move, Step, run_job
from migrator.steps.dump import last_pass
from migrator.transport.base import Answer, Node


async def do(move: Move) -> dict[str, Any]:
    done = move.last_pass or await last_pass(move)
    if move.policy.verify_files:  # while the container is frozen
        return {**_passed(done), "manifest": await manifest(move, move.source.node)}
    return _passed(done)


def _passed(done: Answer) -> dict[str, Any]:
    listed = {"listed": done.number("listed")} if done.get("listed") else {}
    return {
        "sent_bytes": done.number("sent"),
        "looked_bytes": done.number("bytes"),
        "sync_ms": done.number("ms"),
        **listed,
    }


async def manifest(move: Move, node: Node) -> list[str]:
    """Digests of the container's own files on a node, of all first: equal where all that they are is equal."""
    words = ("manifest", move.name, move.token)
    done = await run_job(node, move, "manifest", *words, timeout_s=move.policy.blackout_s_max)
    return [done.get("manifest"), *done.lines("part")]


def differs_in(here: Sequence[str], there: Sequence[str]) -> str:
    """Where two manifests are not the same, as far as they tell; empty where they are."""
    if here == there:
        return ""
    parts = sorted({line.partition(" ")[2] for line in set(here[1:]).symmetric_difference(there[1:])})
    return ", ".join(parts[:3]) or "a part that is not told"


STEP = Step(State.SYNCED, do, traces.held)
