"""What must be finished is finished, also when somebody presses Ctrl-C meanwhile, and can be told by name."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")

_under_way: dict[int, str] = {}


def under_way() -> list[str]:
    """What this process is making safe right now: "web: rolling back on n1"."""
    return sorted(_under_way.values())


async def finish_anyway(work: Coroutine[object, object, T], what: str) -> T:
    """Runs `work` to its end; a cancellation that comes meanwhile is passed on only then. `what` is told meanwhile."""
    task = asyncio.ensure_future(work)
    _under_way[id(task)] = what
    cancelled: asyncio.CancelledError | None = None
    try:
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                if task.cancelled():
                    raise
                cancelled = error
            except Exception:
                break  # the work's own error; told below
    finally:
        del _under_way[id(task)]
    if cancelled is not None and task.exception() is None:
        raise cancelled
    return task.result()
