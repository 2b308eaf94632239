"""One who stands apart: a child that outlives its parent, and whatever ends the job that the parent belongs to."""

from __future__ import annotations

import os

FDS_MAX = 4096


def apart(kept: int) -> int:
    """Forks one with nothing of its parent's but a descriptor. Returns its number, and 0 in it.

    The parent goes on when it does stand apart, and not before: jobs are ended by their process group, and on a busy
    node a child may run for the first time long after its parent has ended.
    """
    stands, says = os.pipe()
    if child := os.fork():
        os.close(says)
        os.read(stands, 1)  # it says nothing: the pipe ends when all else is closed there
        os.close(stands)
        return child
    os.setsid()
    os.closerange(0, kept)
    os.closerange(kept + 1, FDS_MAX)
    return 0
