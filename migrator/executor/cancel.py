"""What must be finished is finished, also when somebody presses Ctrl-C meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def finish_anyway(work: Coroutine[object, object, T]) -> T:
    """Runs `work` to its end; a cancellation that comes meanwhile is passed on only then."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:
            break  # the work's own error; told below
    if cancelled is not None and task.exception() is None:
        raise cancelled
    return task.result()
