"""Ends a lab when the process that made it dies, however it dies: SIGKILL leaves no time to clean up.

The guard is a process in a session of its own that sleeps until its parent is gone. It is given the parent as a
descriptor (pidfd) opened by the parent itself, because a number could be another process's by the time it looks.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DISMISS_TIMEOUT_S = 5


class Guard:
    """A guard at work. `dismiss` it once the lab is gone: left over, it would end the next lab of that name."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def dismiss(self) -> None:
        self._process.kill()
        self._process.wait(DISMISS_TIMEOUT_S)


def start_guard(lab_name: str) -> Guard:
    """Starts the guard that ends a lab after the calling process."""
    return run_after_death([str(Path(sys.executable).with_name("migrator")), "lab", "down", "--name", lab_name])


def run_after_death(argv: Sequence[str]) -> Guard:
    """Starts a guard that runs a command as soon as the calling process is dead."""
    parent = os.pidfd_open(os.getpid())
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "migrator.lab.guard", str(parent), *argv],
            pass_fds=(parent,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(parent)
    return Guard(process)


def main(parent: int, argv: Sequence[str]) -> None:
    poller = select.poll()
    poller.register(parent, select.POLLIN)
    poller.poll()
    os.execv(argv[0], list(argv))  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
