"""Ends a lab when the process that uses it has died, however it died: SIGKILL leaves no time to clean up."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from migrator.lab import lab
from migrator.lab.paths import LabPaths

LIFETIME_S_MAX = 3 * 3600


def start_guard(lab_name: str) -> None:
    """Starts a process, detached from this one, that waits for this one's end and then ends the lab."""
    subprocess.Popen(
        [sys.executable, "-m", "migrator.lab.guard", str(os.getpid()), lab_name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(pid: int, lab_name: str) -> None:
    """Waits without polling; a pid that is gone already counts as ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        pass
    else:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        poller.poll(LIFETIME_S_MAX * 1000)
    lab.down(LabPaths.of(lab_name))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
