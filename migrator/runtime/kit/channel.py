"""The way of one stream from a source to its target: all memory that leaves a node goes through here.

A stream is one command of the move's ssh connection, with its receiver at the other end. Where the cluster file
declares the network trusted (a file MOVE/plain holds the target's address) the receiver opens a door there, and tells
the port and a secret over that command; the bytes then go over a TCP connection of their own (plain.py). The command
stands beside it: whoever ends the move's ssh ends both. Where the door cannot be reached, or the container is fenced
by then, the stream goes through ssh as ever.

A file MOVE/bandwidth holds how many bytes a second a stream may send (pace.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from frames import Damaged, write_all
from nearly import Nearly
from pace import Bucket
from plain import CONNECT_TIMEOUT_S, ENCRYPTED, OFFER, Impostor, connect
from splicer import SPLICE_BYTES, Splicer

# The network in which the node's ssh lives, where a program was put into one of its own: the scripts open it as this.
NETWORK_FD = 5
OFFER_TIMEOUT_S = 30
OFFER_BYTES_MAX = 400
# How long a receiver that hung up may take to say why, and how much of it is heard.
LAST_WORDS_S = 0.5
LAST_WORDS_BYTES = 2000
CLONE_NEWNET = 0x40000000
# An unasked piece goes in parts that take this long, so that a stream that is held back flows evenly.
PART_S = 0.05
PART_BYTES_MIN = 64 << 10


class Outlet:
    """Where a stream's bytes go in."""

    def __init__(self, fd: int, bytes_per_s: int = 0) -> None:
        self._fd = fd
        self._splicer = Splicer(fd)
        self._bucket = Bucket(bytes_per_s, time.monotonic()) if bytes_per_s else None
        self._part_bytes = max(PART_BYTES_MIN, int(bytes_per_s * PART_S)) if bytes_per_s else SPLICE_BYTES
        self.nearly: Nearly | None = None  # who counts what has gone, if somebody does

    def write(self, data: bytes) -> None:
        """A frame's head, which is never held back."""
        write_all(self._fd, data)

    def pour(self, fd: int, size: int, *, at_once: bool = False) -> None:
        """Passes on what a descriptor gives, by reference. `at_once` counts, but does not wait for what went before.
        Damaged when it gives less.
        """
        while size:
            part = min(SPLICE_BYTES, self._part_bytes, size)
            if not at_once and (wait_s := self.wait_s()):
                time.sleep(wait_s)
            moved = self._splicer.move(fd, self._fd, part)
            if not moved:
                raise Damaged("CRIU ended before all pages had come")
            if self._bucket is not None:
                self._bucket.take(moved, time.monotonic())
            if self.nearly is not None:
                self.nearly.count(moved, time.monotonic())
            size -= moved

    def wait_s(self) -> float:
        """How long what can wait has to."""
        return self._bucket.wait_s(time.monotonic()) if self._bucket is not None else 0.0


class Channel:
    """One stream's way to the target: `out` flows there, `answers` come back."""

    def __init__(self, command: list[str], move: Path) -> None:
        read, self._words = os.pipe()
        self.answers, write = os.pipe()
        self._receiver = os.fdopen(os.memfd_create("receiver"), "w+b")  # it says there why it ended, if it does
        self._process = subprocess.Popen(command, stdin=read, stdout=write, stderr=self._receiver)
        os.close(read)
        os.close(write)
        self._move = move
        self._bytes_per_s = _number_in(move / "bandwidth")
        self.out = Outlet(self._words, self._bytes_per_s)
        self.said = ""

    def agree(self) -> None:
        """Takes the plain way, where it is declared and can be had. Damaged when the receiver does not even offer."""
        declared = self._move / "plain"
        if not declared.exists():
            return
        before = self._move / "not-plain"
        why, connection = "", None
        offer = self._line().split()
        if len(offer) != 3 or offer[0] != OFFER:
            why = b" ".join(offer[1:]).decode("ascii", "replace") if offer[:1] == [ENCRYPTED] else "no port was offered"
        elif before.exists():
            why = before.read_text()
        elif (self._move / "fenced").exists():
            why = "the container was fenced before the port was known"
        else:
            try:
                address = declared.read_text().strip()
                with _network():
                    connection = connect(address, int(offer[1]), bytes.fromhex(offer[2].decode()))
            except (OSError, ValueError, Impostor) as error:
                why = f"port {offer[1].decode('ascii', 'replace')} of {address}: {_in_words(error)}"
        if connection is None:
            write_all(self._words, ENCRYPTED + b"\n")
            before.write_text(why)
            self.said = f"channel encrypted\nchannel_why {why}\n"
            return
        self._go_plain(connection)

    def _go_plain(self, connection: socket.socket) -> None:
        self._connection = connection
        self.out, self.answers = Outlet(connection.fileno(), self._bytes_per_s), connection.fileno()
        threading.Thread(target=self._end_with_link, daemon=True).start()
        self.said = "channel plain\n"

    def _end_with_link(self) -> None:
        """Whoever ends the move's ssh has to end what it stands for, however full its buffers are."""
        self._process.wait()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _line(self) -> bytes:
        """The receiver's first line, taken byte by byte: what comes after it is for others."""
        ends_s, line = time.monotonic() + OFFER_TIMEOUT_S, b""
        while not line.endswith(b"\n"):
            if not select.select([self.answers], [], [], max(0.0, ends_s - time.monotonic()))[0]:
                raise Damaged("the target's receiver does not answer")
            heard = os.read(self.answers, 1)
            if not heard or len(line) > OFFER_BYTES_MAX:
                raise Damaged("the target's receiver ended")
            line += heard
        return line

    def last_answer(self) -> bytes:
        """The line that is no request for more; empty when the other side has ended."""
        with os.fdopen(os.dup(self.answers), "rb", buffering=0) as lines:
            while (line := lines.readline()).startswith((b"more ", b"want ")):
                pass
            return line

    def in_words(self, error: Exception) -> str:
        """An error of this stream, and what the receiver has said if it ended first: its reason is the better one."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
        self._receiver.seek(max(0, self._receiver.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
        said = self._receiver.read().decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "")
        return f"{error}: {last}" if last else str(error)

    def end(self) -> None:
        self._process.kill()
        self._receiver.close()


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nobody answers within {CONNECT_TIMEOUT_S} s"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _number_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Within it sockets are made in the network of the node's ssh, where this program was put into another."""
    try:
        handed_over = str(Path(f"/proc/self/fd/{NETWORK_FD}").readlink()).startswith("net:")
    except OSError:
        handed_over = False
    if not handed_over:
        yield
        return
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(NETWORK_FD)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(network: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, f"its network cannot be entered: {os.strerror(error)}")
