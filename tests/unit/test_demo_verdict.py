"""The demo's verdict can be red: real clients against small servers that lie in one way each."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from migrator.demo.clients import Client, CounterTalk, DownloadTalk, GapMeter, RedisTalk, Talk
from migrator.demo.play import choose_victim
from migrator.demo.verdict import (
    Numbers,
    Result,
    Rollback,
    Transfers,
    Writes,
    client_reasons,
    drain_reasons,
    judge,
    rollback_reasons,
    rows,
    verdict_line,
)

ENOUGH = 5
TIMEOUT_S = 20
FILE = bytes(range(256)) * 400
FILE_SHA256 = hashlib.sha256(FILE).hexdigest()

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RedisServer:
    """PING, SET and MGET over RESP. It may forget one write after it said OK, or change it."""

    def __init__(self, drop: int = 0, change: int = 0) -> None:
        self.drop, self.change = drop, change
        self.keys: dict[bytes, bytes] = {}
        self.writes = 0
        self.enough = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await self._words(reader):
            writer.write(getattr(self, words[0].decode().lower())(*words[1:]))

    async def _words(self, reader: asyncio.StreamReader) -> list[bytes]:
        head = await reader.readline()
        words = []
        for _ in range(int(head[1:] or 0)):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        return words

    def ping(self) -> bytes:
        return b"+PONG\r\n"

    def set(self, key: bytes, value: bytes) -> bytes:
        self.writes += 1
        if self.writes != self.drop:
            self.keys[key] = value[::-1] if self.writes == self.change else value
        if self.writes > ENOUGH:
            self.enough.set()
        return b"+OK\r\n"

    def mget(self, *keys: bytes) -> bytes:
        found = [self.keys.get(key) for key in keys]
        bulks = [b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value) for value in found]
        return b"*%d\r\n" % len(keys) + b"".join(bulks)


class FileServer:
    """Sends one file for every GET. It may corrupt one byte of the second copy."""

    def __init__(self, corrupt: bool = False) -> None:
        self.corrupt = corrupt
        self.copies = 0
        self.enough = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.copies += 1
            body = bytearray(FILE)
            if self.corrupt and self.copies == 2:
                body[len(body) // 2] ^= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            if self.copies == 2:
                self.enough.set()


class CounterServer:
    """Counts lines. It may skip a number, answer with another memory's digest, or reset the connection."""

    def __init__(self, skip: int = 0, forget: bool = False, reset: int = 0, close: int = 0) -> None:
        self.skip, self.forget, self.reset, self.close = skip, forget, reset, close
        self.count = self.asked = self.digests = 0
        self.enough = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"digest\n":
                self.digests += 1
                writer.write(b"%d\n" % (self.digests if self.forget else 7))
                continue
            self.asked += 1
            self.count += 2 if self.asked == self.skip else 1
            if self.asked > ENOUGH:
                self.enough.set()
            if self.asked == self.reset:
                self.enough.set()
                linger = struct.pack("ii", 1, 0)  # closing now sends RST
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            if self.asked == self.close:
                self.enough.set()
                return
            writer.write(b"%d\n" % self.count)


@contextlib.asynccontextmanager
async def served(server: Serve) -> AsyncIterator[int]:
    """Serves on a port of the system's choice."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await server(reader, writer)
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def result_of(server: Any, talk: Talk) -> Result:
    """What a client says of a server, after enough talk for the server to do its worst."""
    client = Client("box", "a box", talk)
    async with served(server) as port:
        try:
            await client.connect("127.0.0.1", port)
            client.run()
            async with asyncio.timeout(TIMEOUT_S):
                await server.enough.wait()
                return await client.stop()
        finally:
            client.close()


async def file_sha256() -> str:
    return FILE_SHA256


def download() -> DownloadTalk:
    return DownloadTalk("/file", file_sha256)


async def test_honest_servers_make_the_verdict_green() -> None:
    results = [
        await result_of(RedisServer(), RedisTalk()),
        await result_of(FileServer(), download()),
        await result_of(CounterServer(), CounterTalk()),
    ]
    assert client_reasons(results) == []
    assert verdict_line(client_reasons(results)) == "VERDICT: green"


@pytest.mark.parametrize(
    ("make", "talk", "says"),
    [
        (lambda: RedisServer(drop=3), RedisTalk, "1 acknowledged writes lost or changed: write:3"),
        (lambda: RedisServer(change=2), RedisTalk, "1 acknowledged writes lost or changed: write:2"),
        (lambda: FileServer(corrupt=True), download, "sha256 differs"),
        (lambda: CounterServer(skip=4), CounterTalk, "the counter skipped: 5 after 3"),
        (lambda: CounterServer(forget=True), CounterTalk, "the memory has changed"),
        (lambda: CounterServer(reset=3), CounterTalk, "the connection was reset"),
        (lambda: CounterServer(close=3), CounterTalk, "the connection was closed"),
    ],
    ids=[
        "one acknowledged write dropped",
        "one acknowledged write changed",
        "one byte of a file corrupted",
        "one number skipped",
        "memory not the same",
        "one connection reset",
        "one connection closed",
    ],
)
async def test_one_lie_makes_the_verdict_red(make: Callable[[], Any], talk: Callable[[], Talk], says: str) -> None:
    result = await result_of(make(), talk())
    reasons = client_reasons([result])
    assert len(reasons) == 1
    assert says in reasons[0]
    assert verdict_line(reasons).startswith("VERDICT: red: box: ")


async def test_a_client_may_stop_and_go_on_over_the_same_connection() -> None:
    server = CounterServer()
    client = Client("box", "a box", CounterTalk())
    async with served(server) as port:
        await client.connect("127.0.0.1", port)
        for _ in range(2):
            server.enough.clear()
            client.run()
            async with asyncio.timeout(TIMEOUT_S):
                await server.enough.wait()
                result = await client.stop()
        client.close()
    assert judge(result).good
    assert isinstance(result.evidence, Numbers)
    assert result.evidence.numbers == tuple(range(1, server.count + 1))


async def test_a_lost_connection_stays_lost_in_the_next_result() -> None:
    server = CounterServer(reset=3)
    client = Client("box", "a box", CounterTalk())
    async with served(server) as port:
        await client.connect("127.0.0.1", port)
        client.run()
        async with asyncio.timeout(TIMEOUT_S):
            await server.enough.wait()
            first = await client.stop()
        client.run()
        again = await client.stop()
        client.close()
    assert (first.error, again.error) == ("the connection was reset", "the connection was reset")
    assert not judge(again).good


def test_the_longest_gap_is_between_two_answers_while_the_meter_runs() -> None:
    times = iter([10.0, 10.1, 10.6, 10.7])
    meter = GapMeter(lambda: next(times))
    meter.mark()  # before the start: does not count
    meter.start()
    for _ in range(3):
        meter.mark()
    meter.stop()
    meter.mark()  # after the stop: does not count
    assert meter.gap_ms == pytest.approx(500)


@pytest.mark.parametrize(
    "evidence",
    [None, Writes({}, {}), Transfers(FILE_SHA256, (), 0), Numbers((1,), "a", "a")],
)
def test_no_evidence_is_red(evidence: Any) -> None:
    assert not judge(Result("box", "a box", 0.0, None, evidence)).good


def move(container: str, state: str = "done", **more: Any) -> dict[str, Any]:
    about = {"source": "n1", "target": "n2", "blackout_ms": 300, "bytes": 1000}
    return {"container": container, "state": state, **about, **more}


def test_a_drain_that_left_something_behind_is_red() -> None:
    run = {"migrations": [move("a"), move("b", "rolled-back")], "error": "1 of 2 moves did not end well"}
    reasons = drain_reasons("n1", ["a", "b", "c"], run, ["b"])
    assert reasons == [
        "1 of 2 moves did not end well",
        "b: its move is rolled-back",
        "c: its move is missing",
        "b is still on n1",
    ]
    assert drain_reasons("n1", ["a"], {"migrations": [move("a")]}, []) == []


def test_a_refused_drain_is_red_and_has_no_moves() -> None:
    reasons = drain_reasons("n1", ["a"], {"error": "no room", "exit_code": 3}, ["a"])
    assert reasons == ["no room", "a: its move is missing", "a is still on n1"]


def test_the_table_joins_the_journal_with_the_clients() -> None:
    results = [Result(name, "counter", 12.5, None, Numbers((1, 2), "d", "d")) for name in ("a", "b", "c")]
    table = rows(results, [move("b", "rolled-back"), move("a")])
    assert [(row.container, row.move, row.blackout_ms) for row in table] == [
        ("a", "n1 -> n2", 300),
        ("b", "n1 -> n2 (rolled-back)", 300),
        ("c", "stays", None),
    ]


def rolled_back(**changed: Any) -> Rollback:
    ends = [{"state": state, "phase": "end"} for state in ("fenced", "aborted", "rolled-back")]
    as_it_should_be: dict[str, Any] = {
        "container": "a",
        "exit_code": 4,
        "sabotage": "killed CRIU, process 7 on n2",
        "run": {"migrations": [move("a", "rolled-back", events=ends)]},
        "node_before": "n1",
        "node_after": "n1",
        "processes_before": ("1 500 (python3)",),
        "processes_after": ("1 500 (python3)",),
    }
    return Rollback(**{**as_it_should_be, **changed})


def test_a_rollback_as_promised_is_green() -> None:
    assert rollback_reasons(rolled_back()) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sabotage": "the restore was complete before on n2"}, "CRIU was not killed"),
        ({"exit_code": 0}, "exit code 0, not 4"),
        ({"exit_code": 5}, "exit code 5, not 4"),
        ({"run": {"migrations": []}}, "the journal does not show rolled-back"),
        ({"node_after": "n2"}, "a is on n2, not on n1"),
        ({"node_after": ""}, "a is on no node"),
        ({"processes_after": ("1 900 (python3)",)}, "its processes are not the same"),
        ({"processes_before": (), "processes_after": ()}, "its processes are not the same"),
    ],
)
def test_a_rollback_that_is_not_as_promised_is_red(changed: dict[str, Any], says: str) -> None:
    reasons = rollback_reasons(rolled_back(**changed))
    assert any(says in reason for reason in reasons)


def test_the_second_drain_takes_the_fullest_node_and_the_largest_container_on_it() -> None:
    assert choose_victim({"redis": "n3", "files": "n2", "ballast": "n2", "counter": "n3"}) == ("n2", "ballast")
    assert choose_victim({"redis": "n3", "files": "n3", "ballast": "n2", "counter": "n3"}) == ("n3", "redis")
