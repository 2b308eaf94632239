"""Asks the process that works on a run to end, and waits until it has made everything safe."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from migrator.errors import Refused
from migrator.journal.store import Journal


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
            await ended.wait()
        finally:
            loop.remove_reader(handle)
    finally:
        os.close(handle)
    return True
