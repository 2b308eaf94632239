"""What a command costs: a child process, with its own CPU seconds and its own peak of memory."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_s` is user and system time; `memory_bytes` the peak of resident memory; `ended` whether in its time."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    code: int
    ended: bool = True


def cost_of(words: Sequence[str], stdout: Path, limit_s: float) -> Cost:
    """Runs a command, its output into a file, and ends it after a time.

    The peak counts from the fork, where the child is still as large as its parent: the caller has to be small.
    """
    begin_s = time.monotonic()
    with stdout.open("wb") as out:
        child = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(limit_s, end)
        timer.start()
        try:
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - begin_s
    return Cost(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss << 10, child.returncode, not late.is_set())
