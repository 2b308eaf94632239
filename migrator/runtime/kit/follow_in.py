"""The target's end of post-copy: processes run, and get the pages that they touch before all others.

Nothing is sent unasked before the restored processes stand, when nobody waits for the link any more: the pause is not
longer by a page that is not needed in it. Then, while the pause goes on for its last words, EARLY_BYTES come, so that
whoever runs finds what all programs touch at once. When CRIU has said that its restore is over, which is after the
release, all the rest follows. Of what is sent unasked at most WINDOW_BYTES are on their way.
"""

from __future__ import annotations

import select
import socket
from pathlib import Path

from frames import write_all
from places import EARLY_BYTES, HEARTBEAT_S, Places
from watcher import Watcher

# A millisecond or two on the way at 10 Gb/s and more; at 1 Gb/s a page that is waited for comes 30 ms later by it.
WINDOW_BYTES = 4 << 20


class Follower(Places):
    """The memory that follows from the source."""

    def __init__(self, stream: int, answers: int, images: Path, connection: socket.socket, watcher: Watcher) -> None:
        super().__init__(images, connection, watcher)
        self._stream, self._answers = stream, answers
        self._asked: set[tuple[int, int]] = set()
        self._owed_bytes, self._early_bytes = WINDOW_BYTES, EARLY_BYTES
        self.poll.register(stream, select.EPOLLIN)

    def follow(self) -> int:
        """Returns when every page is in its place, and how many came."""
        while True:
            ready = self.turn(HEARTBEAT_S)
            if self._stream in ready and self._frame():
                break
            if not ready:
                self._say("more 0")
        self.end()
        return self.came

    def want(self, pid: int, origin: int) -> None:
        if (pid, origin) not in self._asked:
            self._asked.add((pid, origin))
            self._say(f"want {pid} {origin}")

    def allow(self) -> None:
        """Says how much more may be sent unasked."""
        more_bytes = (
            self._owed_bytes if self.finished else min(self._owed_bytes, self._early_bytes) if self.stands else 0
        )
        if more_bytes:
            self._owed_bytes -= more_bytes
            self._early_bytes -= min(more_bytes, self._early_bytes)
            self._say(f"more {more_bytes}")

    def _frame(self) -> bool:
        """Takes one frame of the stream; True if it was the last."""
        size_bytes = self.take_frame(self._stream)
        self._owed_bytes += size_bytes
        self.allow()
        return not size_bytes

    def _say(self, line: str) -> None:
        write_all(self._answers, line.encode() + b"\n")
