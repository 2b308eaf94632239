"""Moving bytes from one descriptor to another by reference: splice(2), which wants one of them to be a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

PIPE_BYTES = 1 << 20
SPLICE_BYTES = 1 << 20


class Splicer:
    """Moves to or from a descriptor; where that is no pipe, through a pipe between."""

    def __init__(self, fd: int) -> None:
        self._through: tuple[int, int] | None = None
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            self._through = os.pipe()
            fd = self._through[0]
        with contextlib.suppress(OSError):  # the node's limit for pipes is lower: slower, not wrong
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def move(self, source: int, into: int, size: int) -> int:
        """Moves some, and returns how many bytes; 0 when the source has ended."""
        if self._through is None:
            return os.splice(source, into, size)
        moved = left = os.splice(source, self._through[1], size)
        while left:
            left -= os.splice(self._through[0], into, left)
        return moved
