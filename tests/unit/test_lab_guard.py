"""The guard acts when its parent dies, and only then."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 20
PARENT = """
import sys
from migrator.lab.guard import run_after_death
guard = run_after_death(["/bin/sh", "-c", 'echo gone > "$1"', "sh", sys.argv[1]])
if sys.argv[2] == "dismiss":
    guard.dismiss()
print("ready", flush=True)
sys.stdin.read()
"""


def parent(fifo: Path, then: str) -> subprocess.Popen[bytes]:
    """A process with a guard that writes to the fifo after its death; returns once the guard was started."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(fifo), then], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_the_guard_acts_when_its_parent_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = parent(fifo, "stay")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([end], [], [], TIMEOUT_S)[0], "the guard did nothing"
        assert os.read(end, 100) == b"gone\n"
    finally:
        os.close(end)


def test_a_dismissed_guard_does_nothing(tmp_path: Path) -> None:
    process = parent(tmp_path / "file", "dismiss")
    process.communicate(timeout=TIMEOUT_S)  # ends by itself, when its stdin is closed
    assert process.returncode == 0
    assert not (tmp_path / "file").exists()
