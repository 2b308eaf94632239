"""Memory beside ssh: who is let in at the door, who is believed to be behind it, and what is done where it is shut."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from migrator.transport.kit import SCRIPTS
from tests.unit.kit_modules import load

HERE = "127.0.0.1"
SECRET, OTHER = b"s" * 32, b"o" * 32
# A receiver as a target runs it: takes what comes by whatever way it comes, and answers with it.
RECEIVER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from plain import way_in
stream, answers = way_in(Path(sys.argv[2]))
os.write(answers, b"ready\\n")
while heard := os.read(stream, 4096):
    os.write(answers, heard)
"""


@contextmanager
def door(secret: bytes = SECRET) -> Iterator[tuple[int, list[Any], int]]:
    """A door and who has been let in, when the block is over; a descriptor stands for what ssh says to it."""
    words, say = os.pipe()
    admitted: list[Any] = []
    with closing(load("plain").Door(HERE, secret)) as opened:
        waiting = threading.Thread(target=lambda: admitted.append(opened.admit(words)))
        waiting.start()
        try:
            yield opened.port, admitted, say
        finally:
            waiting.join(20)
            if waiting.is_alive():
                os.write(say, b"\n")
                waiting.join(20)


def test_who_knows_the_secret_is_let_in_and_what_they_say_arrives() -> None:
    with door() as (port, admitted, _):
        mine = load("plain").connect(HERE, port, SECRET)
    with mine, admitted[0] as theirs:
        mine.sendall(b"pages")
        theirs.sendall(b"ready")
        assert (theirs.recv(5), mine.recv(5)) == (b"pages", b"ready")


def test_a_wrong_secret_is_believed_on_neither_side() -> None:
    plain = load("plain")
    with door() as (port, admitted, _):
        with pytest.raises(plain.Impostor):
            plain.connect(HERE, port, OTHER)
        # The other way round: one who does not even listen to what the door proves.
        with socket.create_connection((HERE, port)) as stranger:
            stranger.sendall(bytes(32))
            theirs = stranger.recv(64)[:32]
            stranger.sendall(plain.proof(OTHER, plain.SOURCE, bytes(32), theirs))
            assert stranger.recv(1) == b""
        plain.connect(HERE, port, SECRET).close()
    assert admitted[0] is not None


def test_what_was_overheard_lets_nobody_in_a_second_time() -> None:
    plain = load("plain")
    said: list[bytes] = []
    with door() as (port, _, _), socket.create_connection((HERE, port)) as honest:
        said.append(os.urandom(32))
        honest.sendall(said[0])
        said.append(plain.proof(SECRET, plain.SOURCE, said[0], honest.recv(64)[:32]))
        honest.sendall(said[1])
    with door() as (port, admitted, _):
        with socket.create_connection((HERE, port)) as stranger:
            stranger.sendall(b"".join(said))
            assert len(stranger.recv(64)) == 64
            assert stranger.recv(1) == b""
        plain.connect(HERE, port, SECRET).close()
    assert admitted[0] is not None


def test_the_doors_own_proof_sent_back_to_it_lets_nobody_in() -> None:
    with door() as (port, admitted, _):
        with socket.create_connection((HERE, port)) as stranger:
            stranger.sendall(bytes(32))
            stranger.sendall(stranger.recv(64)[32:])
            assert stranger.recv(1) == b""
        load("plain").connect(HERE, port, SECRET).close()
    assert admitted[0] is not None


def test_strangers_who_say_nothing_or_nonsense_hold_nobody_up() -> None:
    plain = load("plain")
    with door() as (port, admitted, _):
        strangers = [socket.create_connection((HERE, port)) for _ in range(plain.GUESTS_MAX + 10)]
        for number, stranger in enumerate(strangers[-20:]):
            try:
                stranger.sendall(os.urandom(number * 7))
            except OSError:
                continue  # shown out by now: there are too many
        plain.connect(HERE, port, SECRET, timeout_s=20).close()
    assert admitted[0] is not None
    for stranger in strangers:
        stranger.close()


def test_a_stranger_who_says_nothing_is_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load("plain"), "GUEST_TIMEOUT_S", 0.05)
    with door() as (port, admitted, say):
        with socket.create_connection((HERE, port)) as stranger:
            assert stranger.recv(1) == b""
        os.write(say, b"encrypted\n")
    assert admitted == [None]


def test_an_impostor_who_says_too_little_is_not_waited_for() -> None:
    with socket.create_server((HERE, 0)) as impostor, pytest.raises(TimeoutError):
        load("plain").connect(HERE, impostor.getsockname()[1], SECRET, timeout_s=0.1)


@pytest.fixture
def move(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def channel(move: Path) -> Iterator[Any]:
    """A channel to a receiver that looks at the same directory as its sender: both see what was declared.

    The command that stands for ssh may be killed, and its receiver does not end by that.
    """
    ssh = ["sh", "-c", 'exec 3<&0; "$@" <&3 & wait', "ssh"]
    command = [*ssh, sys.executable, "-c", RECEIVER, str(SCRIPTS), str(move)]
    opened = load("channel").Channel(command, move)
    try:
        opened.agree()
        yield opened
    finally:
        opened.end()
        opened._process.wait()


def exchange(through: Any, data: bytes) -> bytes:
    through.out.write(data)
    heard = b""
    while len(heard) < len(b"ready\n" + data):
        heard += os.read(through.answers, 4096)
    return heard


def test_where_nothing_is_declared_all_goes_through_ssh(move: Path) -> None:
    with channel(move) as through:
        assert exchange(through, b"memory") == b"ready\nmemory"
        assert through.said == ""
        assert through.answers != through.out._fd


def test_where_it_is_declared_memory_goes_over_a_connection_of_its_own(move: Path) -> None:
    (move / "plain").write_text(f"{HERE}\n")
    with channel(move) as through:
        assert exchange(through, b"memory") == b"ready\nmemory"
        assert through.said == "channel plain\n"
        assert through.answers == through.out._fd
        assert sorted(path.name for path in move.iterdir()) == ["plain"]  # no secret lies there


def test_the_end_of_the_moves_ssh_ends_the_connection_beside_it(move: Path) -> None:
    (move / "plain").write_text(HERE)
    with channel(move) as through:
        through.end()
        while os.read(through.answers, 4096):
            pass
        with pytest.raises(BrokenPipeError):
            through.out.write(b"memory")


def test_pages_pass_by_reference_to_either_kind_of_way(move: Path) -> None:
    data = os.urandom(3 << 20)
    source = move / "pages"
    source.write_bytes(data)
    for declared in (False, True):
        if declared:
            (move / "plain").write_text(HERE)
        with channel(move) as through, source.open("rb") as pages:
            sending = threading.Thread(target=through.out.pour, args=(pages.fileno(), len(data)))
            sending.start()
            heard = b""
            while len(heard) < len(data) + 6:
                heard += os.read(through.answers, 1 << 16)
            sending.join(10)
            assert heard == b"ready\n" + data


def test_an_address_that_is_not_the_targets_leaves_it_to_ssh_and_says_so(move: Path) -> None:
    (move / "plain").write_text("192.0.2.7")
    with channel(move) as through:
        assert exchange(through, b"memory") == b"ready\nmemory"
        assert "192.0.2.7 cannot be listened at" in through.said
        assert through.said.startswith("channel encrypted\nchannel_why ")


def test_a_port_that_cannot_be_reached_leaves_it_to_ssh_and_is_not_tried_again(
    move: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (move / "plain").write_text(HERE)
    tried: list[int] = []

    def refused(address: str, port: int, secret: bytes) -> None:
        tried.append(port)
        raise TimeoutError

    monkeypatch.setattr(load("channel"), "connect", refused)
    for _ in range(2):
        with channel(move) as through:
            assert exchange(through, b"memory") == b"ready\nmemory"
            assert "nobody answers" in through.said
    assert len(tried) == 1


def test_once_the_container_is_fenced_no_port_is_tried(move: Path) -> None:
    (move / "plain").write_text(HERE)
    (move / "fenced").touch()
    with channel(move) as through:
        assert exchange(through, b"memory") == b"ready\nmemory"
        assert "fenced" in through.said
