"""Asks the process that works on a run to end, and waits until it has made everything safe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from migrator.errors import Refused
from migrator.journal.store import Journal

LOOK_S = 5.0
"""How often a process that was asked to end is looked at, seconds."""


async def stop_worker(journal: Journal, run: str, tell: Callable[[int], None]) -> bool:
    """Sends SIGTERM to the run's process on this machine, if there is one, and returns when it has ended.

    `tell` is given the process's number. A worker is never killed: what it still does is making containers safe.
    """
    pid = journal.worker(run)
    if pid is None:
        return False
    if pid == os.getpid():
        raise Refused(f"run {run} is being worked on by this very process")
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if journal.worker(run) != pid:  # asked again now that its number cannot become another process's
            return False
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        tell(pid)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(handle, ended.set)
        try:
            while not ended.is_set():
                await _wait(ended, LOOK_S)
                if not ended.is_set() and is_stopped(pid):
                    raise Refused(
                        f"run {run}: its process {pid} is stopped and does not react; let it go on: kill -CONT {pid}; "
                        f"or end it: kill -KILL {pid}, and then run: migrator resume {run}"
                    )
        finally:
            loop.remove_reader(handle)
    finally:
        os.close(handle)
    return True


def is_stopped(pid: int) -> bool:
    """Whether a process of this machine is stopped (by SIGSTOP, or at a terminal), and so hears no signal."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in ("T", "t")


async def _wait(ended: asyncio.Event, limit_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await ended.wait()
