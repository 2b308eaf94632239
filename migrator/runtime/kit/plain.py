"""A TCP connection between the two nodes of a move, over a network that the cluster file declares trusted.

The target's receiver opens a door: a port on one address, for one stream. It tells port and secret over the move's ssh;
the secret is in the memory of these two programs, and nowhere else. Each then proves to the other that it knows it,
over numbers that both have just made up, so nothing that was overheard is of use a second time:

    source -> target    32 random bytes
    target -> source    32 random bytes, and HMAC-SHA256 of "target" and both
    source -> target    HMAC-SHA256 of "source" and both

So no impostor gets memory, and nobody else can send pages. That is all: what follows is neither encrypted nor signed.
Whoever comes to the door and does not know the secret is shown out, and holds nobody up.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import select
import socket
import time
from pathlib import Path

# A receiver's first line is `plain PORT SECRET` or `encrypted WHY`; `encrypted` is what declines the first as well.
OFFER, ENCRYPTED = b"plain", b"encrypted"
RANDOM_BYTES = PROOF_BYTES = 32
TARGET, SOURCE = b"target", b"source"
# With the receiver's start well within what a fence waits for all that has to stand ready (5 s).
CONNECT_TIMEOUT_S = 2.0
GUEST_TIMEOUT_S = 2.0
GUESTS_MAX = 64
# A peer that is gone without a word is noticed by who receives; who sends has the move's ssh for that.
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, SILENCE_MS_MAX = 15, 5, 30_000


class Impostor(Exception):
    """Who answers at the port does not know the secret."""


def proof(secret: bytes, who: bytes, of_source: bytes, of_target: bytes) -> bytes:
    return hmac.digest(secret, who + of_source + of_target, "sha256")


# --- the source's side ------------------------------------------------------------------------------------------


def connect(address: str, port: int, secret: bytes, timeout_s: float = CONNECT_TIMEOUT_S) -> socket.socket:
    """Goes to the door. OSError (TimeoutError) when it cannot be reached, Impostor when it is not the one."""
    ends_s = time.monotonic() + timeout_s
    connection = socket.create_connection((address, port), timeout=timeout_s)
    try:
        mine = os.urandom(RANDOM_BYTES)
        connection.sendall(mine)
        heard = b""
        while len(heard) < RANDOM_BYTES + PROOF_BYTES:
            if (left_s := ends_s - time.monotonic()) <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            more = connection.recv(RANDOM_BYTES + PROOF_BYTES - len(heard))
            if not more:
                raise ConnectionError("it hangs up")
            heard += more
        theirs, proven = heard[:RANDOM_BYTES], heard[RANDOM_BYTES:]
        if not hmac.compare_digest(proven, proof(secret, TARGET, mine, theirs)):
            raise Impostor("somebody else answers there")
        connection.sendall(proof(secret, SOURCE, mine, theirs))
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


# --- the target's side ------------------------------------------------------------------------------------------


def way_in(move: Path, words: int = 0, answers: int = 1) -> tuple[int, int]:
    """Where this stream comes from and where answers go: `words` and `answers`, which are ssh's, or a connection.

    Asked once by each receiver, before all else. OSError when the source ends without a word.
    """
    try:
        address = (move / "plain").read_text().strip()
    except FileNotFoundError:
        return words, answers
    secret = os.urandom(RANDOM_BYTES)
    try:
        door = Door(address, secret)
    except OSError as error:
        os.write(answers, b"%s %s cannot be listened at: %s\n" % (ENCRYPTED, address.encode(), _reason(error)))
        _declined(words)
        return words, answers
    with contextlib.closing(door):
        os.write(answers, b"%s %d %s\n" % (OFFER, door.port, secret.hex().encode()))
        connection = door.admit(words)
    if connection is None:
        _declined(words)
        return words, answers
    fd = connection.detach()
    return fd, fd


def _reason(error: OSError) -> bytes:
    return (error.strerror or "no reason given").encode("ascii", "replace")


def _declined(words: int) -> None:
    """Takes the source's word that it comes through ssh. What follows it is the stream."""
    line = b""
    while not line.endswith(b"\n") and len(line) <= len(ENCRYPTED):
        if not (heard := os.read(words, 1)):
            break
        line += heard
    if line != ENCRYPTED + b"\n":
        raise OSError("the source ended before it said how it comes")


class Guest:
    """Somebody at the door, who has not proven anything yet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.until_s = time.monotonic() + GUEST_TIMEOUT_S
        self._mine = os.urandom(RANDOM_BYTES)
        self._heard = b""

    def hear(self, secret: bytes) -> bool | None:
        """What came: True for the peer, False for anyone else, None while not all has come."""
        try:
            more = self.connection.recv(RANDOM_BYTES + PROOF_BYTES - len(self._heard))
            before, self._heard = self._heard, self._heard + more
            if not more:
                return False
            if len(before) < RANDOM_BYTES <= len(self._heard):
                answer = self._mine + proof(secret, TARGET, self._heard[:RANDOM_BYTES], self._mine)
                if self.connection.send(answer) < len(answer):
                    return False
        except BlockingIOError:
            return None
        except OSError:
            return False
        if len(self._heard) < RANDOM_BYTES + PROOF_BYTES:
            return None
        theirs, proven = self._heard[:RANDOM_BYTES], self._heard[RANDOM_BYTES:]
        return hmac.compare_digest(proven, proof(secret, SOURCE, theirs, self._mine))


class Door:
    """One port that is open until one peer has come who knows the secret."""

    def __init__(self, address: str, secret: bytes) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family, backlog=GUESTS_MAX)
        self._listener.setblocking(False)
        self._secret = secret
        self._guests: dict[int, Guest] = {}

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def admit(self, words: int) -> socket.socket | None:
        """The peer's connection; None when the source has something to say by ssh first."""
        while True:
            now_s = time.monotonic()
            for fd in [fd for fd, guest in self._guests.items() if guest.until_s <= now_s]:
                self._show_out(fd)
            pause_s = min((guest.until_s - now_s for guest in self._guests.values()), default=None)
            ready, _, _ = select.select([words, self._listener.fileno(), *self._guests], [], [], pause_s)
            for fd in [fd for fd in ready if fd in self._guests]:
                known = self._guests[fd].hear(self._secret)
                if known:
                    return _settled(self._guests.pop(fd).connection)
                if known is False:
                    self._show_out(fd)
            if self._listener.fileno() in ready:
                self._let_come()
            if words in ready:
                return None

    def _let_come(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it is gone again
        if len(self._guests) == GUESTS_MAX:
            self._show_out(next(iter(self._guests)))
        self._guests[connection.fileno()] = Guest(connection)

    def _show_out(self, fd: int) -> None:
        self._guests.pop(fd).connection.close()

    def close(self) -> None:
        self._listener.close()
        for fd in list(self._guests):
            self._show_out(fd)


def _settled(connection: socket.socket) -> socket.socket:
    connection.setblocking(True)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_NODELAY, 1),
        (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
        (socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S),
        (socket.TCP_USER_TIMEOUT, SILENCE_MS_MAX),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection
