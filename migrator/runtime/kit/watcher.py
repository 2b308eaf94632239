"""Who stands by while a container runs on memory that has not all come. When the receiver ends before it has said that
all is there, the kernel would let missing pages read as zeros: so the watcher holds every userfaultfd as well, which
keeps whoever touches such a page waiting, closes the container's gate, so that what dies says nothing, and kills it.
Dead is an outage; wrong is worse.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from apart import apart

_DONE = b"d"
_GATE_TIMEOUT_S = 2
_KILL_TRIES = 100
_KILL_PAUSE_S = 0.05


class Watcher:
    """The receiver's end of it. A watcher that was killed is replaced, with all that it held."""

    def __init__(self, group: Path, cables: list[str]) -> None:
        """`group` is the container's control group, `cables` the interfaces that its gate is made of."""
        self._group, self._cables = group, cables
        self._held: list[int] = []
        self.socket = self._start()

    def hold(self, uffd: int) -> None:
        """Before the first page is placed by it."""
        self._held.append(uffd)
        with contextlib.suppress(OSError):  # it was killed: that is seen where the socket is waited for
            socket.send_fds(self.socket, [b"h"], [uffd])

    def forget(self, uffd: int) -> None:
        """Its process is gone. The watcher's own descriptor holds nothing any more."""
        self._held.remove(uffd)

    def replace(self) -> None:
        """Makes a new one. To be called when the socket can be read: a watcher says nothing, so it is gone."""
        self.socket.close()
        self.socket = self._start()
        for uffd in self._held:
            socket.send_fds(self.socket, [b"h"], [uffd])

    def end(self) -> None:
        """All memory is there."""
        with contextlib.suppress(OSError):
            self.socket.send(_DONE)
        self.socket.close()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if apart(theirs.fileno()) == 0:  # what ends jobs must not end who stands by
            with contextlib.suppress(BaseException):
                _watch(theirs, self._group, self._cables)
            os._exit(0)
        theirs.close()
        return ours


def _watch(receiver: socket.socket, group: Path, cables: list[str]) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-1000")
    while True:
        word, _, _, _ = socket.recv_fds(receiver, 1, 1)
        if word == _DONE:
            return
        if not word:
            break
    null = subprocess.DEVNULL
    for cable in cables:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            gate = ["ip", "link", "set", "dev", cable, "nomaster"]
            subprocess.run(gate, stdin=null, stdout=null, stderr=null, timeout=_GATE_TIMEOUT_S, check=False)
    for _ in range(_KILL_TRIES):
        _kill(group)
        if "populated 0" in (group / "cgroup.events").read_text():
            return
        time.sleep(_KILL_PAUSE_S)


def _kill(group: Path) -> None:
    try:
        (group / "cgroup.kill").write_text("1")
    except OSError:  # before Linux 5.14: one by one
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
