"""The demo's clients: each keeps one connection open, talks all the time, and remembers what it was promised.

A `Client` drives a talk, which knows one protocol: `open` once, `step` again and again, `settle` to collect the
evidence. `run` and `stop` may be repeated on the same connection; a second connection is never made, so whatever
ends the first one is in the result.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from migrator.demo.verdict import Evidence, Numbers, Result, Transfers, Writes

ANSWER_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 20.0
RETRY_S = 0.05
PACE_S = 0.002
# Small on both sides, so that a slow reader holds the sender up, and a pause is seen and not read from a buffer.
BUFFER_BYTES = 32 << 10
DOWNLOAD_BYTES_PER_S = 2 << 20
KEYS_PER_READ = 256


class Broken(Exception):
    """The server said something the protocol does not allow."""


class GapMeter:
    """The longest time between two answers, while it runs."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._last_s: float | None = None
        self.gap_ms = 0.0

    def start(self) -> None:
        self._last_s, self.gap_ms = self._clock_s(), 0.0

    def mark(self) -> None:
        if self._last_s is not None:
            now_s = self._clock_s()
            self.gap_ms = max(self.gap_ms, (now_s - self._last_s) * 1000)
            self._last_s = now_s

    def stop(self) -> None:
        self._last_s = None

    @property
    def gap_so_far_ms(self) -> float:
        """With the silence that has not ended yet: what someone watching wants to see."""
        return self.gap_ms if self._last_s is None else max(self.gap_ms, (self._clock_s() - self._last_s) * 1000)


class Wire:
    """One TCP connection: every wait is bounded, every arrival is a mark on the meter."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meter: GapMeter) -> None:
        self._reader, self._writer, self._meter = reader, writer, meter

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._writer.drain()

    async def line(self) -> bytes:
        """One line without its end."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            line = await self._reader.readuntil(b"\n")
        self._meter.mark()
        return line.rstrip(b"\r\n")

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            data = await self._reader.readexactly(size)
        self._meter.mark()
        return data

    async def some(self, size_max: int) -> bytes:
        """What is there, at least one byte."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            data = await self._reader.read(size_max)
        if not data:
            raise asyncio.IncompleteReadError(b"", 1)
        self._meter.mark()
        return data

    def close(self) -> None:
        self._writer.transport.abort()


class Talk(Protocol):
    """One protocol, from the client's side."""

    async def open(self, wire: Wire) -> None: ...

    async def step(self, wire: Wire) -> None: ...

    async def settle(self, wire: Wire) -> Evidence: ...

    @property
    def done(self) -> str: ...


class Client:
    """One connection to one container. `connect`, then `run` and `stop` as often as wanted, then `close`."""

    def __init__(self, container: str, kind: str, talk: Talk) -> None:
        self.container, self.kind, self.talk = container, kind, talk
        self.meter = GapMeter()
        self.error: str | None = None
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def connect(self, host: str, port: int) -> None:
        """Connects as soon as the service listens. TimeoutError when it does not."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while self._wire is None:
                try:
                    self._wire = Wire(*await _open_connection(host, port), self.meter)
                except OSError:
                    await asyncio.sleep(RETRY_S)  # nothing tells when a service begins to listen
        await self._guarded(self.talk.open(self._wire))

    def run(self) -> None:
        """Talks from now on, beside whatever else happens; a client that has lost its connection stays silent."""
        self._stopping.clear()
        if self.error is None:
            self._task = asyncio.create_task(self._guarded(self._steps()))

    async def stop(self) -> Result:
        """Ends the talking, settles what was promised, and says how it went since `run`."""
        self._stopping.set()
        evidence: list[Evidence] = []
        if self._task is not None:
            await self._task
            self._task = None
        self.meter.stop()
        if self.error is None:
            await self._guarded(self._settle(evidence))
        return Result(self.container, self.kind, self.meter.gap_ms, self.error, evidence[0] if evidence else None)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._wire is not None:
            self._wire.close()

    async def _steps(self) -> None:
        self.meter.start()
        while not self._stopping.is_set():
            await self.talk.step(self._connected)

    async def _settle(self, evidence: list[Evidence]) -> None:
        evidence.append(await self.talk.settle(self._connected))

    @property
    def _connected(self) -> Wire:
        if self._wire is None:
            raise Broken("not connected")
        return self._wire

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Whatever ends the connection is a finding about the server, not an error of the demo."""
        try:
            await work
        except TimeoutError:
            self.error = f"no answer for {ANSWER_TIMEOUT_S:.0f} s"
        except EOFError:
            self.error = "the connection was closed"
        except ConnectionResetError:
            self.error = "the connection was reset"
        except (OSError, Broken, ValueError) as error:
            self.error = f"the connection broke: {error}"


async def _open_connection(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    wire = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        wire.setblocking(False)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)  # before connecting, or TCP ignores it
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(wire, (host, port))
        return await asyncio.open_connection(sock=wire, limit=BUFFER_BYTES)
    except BaseException:
        wire.close()
        raise


class RedisTalk:
    """Writes one key after the other, waits for each +OK, and in the end reads every acknowledged key back."""

    def __init__(self) -> None:
        self._acknowledged: dict[str, str] = {}

    @property
    def done(self) -> str:
        return f"{len(self._acknowledged):,} writes"

    async def open(self, wire: Wire) -> None:
        await wire.send(_resp("PING"))
        await _expect(wire, b"+PONG")

    async def step(self, wire: Wire) -> None:
        key, value = f"write:{len(self._acknowledged) + 1}", secrets.token_hex(16)
        await wire.send(_resp("SET", key, value))
        await _expect(wire, b"+OK")
        self._acknowledged[key] = value
        await asyncio.sleep(PACE_S)

    async def settle(self, wire: Wire) -> Writes:
        keys = list(self._acknowledged)
        found: dict[str, str | None] = {}
        for begin in range(0, len(keys), KEYS_PER_READ):
            part = keys[begin : begin + KEYS_PER_READ]
            await wire.send(_resp("MGET", *part))
            await _expect(wire, b"*%d" % len(part))
            for key in part:
                found[key] = await _bulk(wire)
        return Writes(dict(self._acknowledged), found)


def _resp(*words: str) -> bytes:
    """A command in Redis's own protocol: an array of strings, each after its length in bytes."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


async def _expect(wire: Wire, wanted: bytes) -> None:
    line = await wire.line()
    if line != wanted:
        raise Broken(f"{line[:80].decode(errors='replace')!r} for {wanted.decode()!r}")


async def _bulk(wire: Wire) -> str | None:
    line = await wire.line()
    if line == b"$-1":
        return None
    if not line.startswith(b"$"):
        raise Broken(f"{line[:80].decode(errors='replace')!r} for a string")
    return (await wire.exactly(int(line[1:]) + 2))[:-2].decode(errors="replace")


class DownloadTalk:
    """Reads one large file slowly, again and again over one connection, and keeps the digest of every copy."""

    def __init__(self, path: str, ask_sha256: Callable[[], Awaitable[str]]) -> None:
        """`ask_sha256` finds the file's digest by another way than the one that is tested."""
        self._path, self._ask_sha256 = path, ask_sha256
        self._expected = ""
        self._left_bytes = 0
        self._hash = hashlib.sha256()
        self._sha256s: list[str] = []
        self._bytes = 0

    @property
    def done(self) -> str:
        return f"{self._bytes / 2**20:,.1f} MiB"

    async def open(self, wire: Wire) -> None:
        self._expected = await self._ask_sha256()

    async def step(self, wire: Wire) -> None:
        if self._left_bytes == 0:
            await self._ask(wire)
        size = await self._read(wire)
        await asyncio.sleep(size / DOWNLOAD_BYTES_PER_S)  # the slow reader

    async def settle(self, wire: Wire) -> Transfers:
        """Reads the copy under way to its end, no longer slowly."""
        while self._left_bytes:
            await self._read(wire)
        return Transfers(self._expected, tuple(self._sha256s), self._bytes)

    async def _ask(self, wire: Wire) -> None:
        await wire.send(f"GET {self._path} HTTP/1.1\r\nHost: demo\r\n\r\n".encode())
        status = await wire.line()
        if b" 200 " not in status + b" ":
            raise Broken(f"{status[:80].decode(errors='replace')!r} for the file")
        while header := await wire.line():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                self._left_bytes = int(value)
        if self._left_bytes <= 0:
            raise Broken("the server does not say how long the file is")
        self._hash = hashlib.sha256()

    async def _read(self, wire: Wire) -> int:
        data = await wire.some(min(self._left_bytes, BUFFER_BYTES))
        self._hash.update(data)
        self._left_bytes -= len(data)
        self._bytes += len(data)
        if self._left_bytes == 0:
            self._sha256s.append(self._hash.hexdigest())
        return len(data)


class CounterTalk:
    """Asks for the next number, and at both ends for the digest of the memory behind it."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._digest_before = ""

    @property
    def done(self) -> str:
        return f"{len(self._numbers):,} numbers"

    async def open(self, wire: Wire) -> None:
        self._digest_before = await self._digest(wire)

    async def step(self, wire: Wire) -> None:
        await wire.send(b"next\n")
        self._numbers.append(int(await wire.line()))
        await asyncio.sleep(PACE_S)

    async def settle(self, wire: Wire) -> Numbers:
        return Numbers(tuple(self._numbers), self._digest_before, await self._digest(wire))

    async def _digest(self, wire: Wire) -> str:
        await wire.send(b"digest\n")
        return (await wire.line()).decode(errors="replace")
