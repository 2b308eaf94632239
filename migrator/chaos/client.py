"""The container's program; a client on one TCP connection that never reconnects; and one that calls again.

The program answers each line with the next number, so that a lost or repeated answer, or lost memory, shows as a wrong
number; and "look" with the number of now, which counts nothing. It writes the clock into its /dev/shm every few
milliseconds, which an observer reads from outside, and its count to a file now and then: started again cold it goes on
from there, which shows that its files are whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

PORT = 7000
COUNT_FILE = "srv/count"
COUNTS_PER_SAVE = 50
SERVER = f"""
import os, socketserver, sys, threading, time
held = bytearray(os.urandom(1 << 20) * int(sys.argv[1]))
count, lock = 0, threading.Lock()
if os.path.exists("/{COUNT_FILE}"):
    count = int(open("/{COUNT_FILE}").read())
def beat():
    file = os.open("/dev/shm/beat", os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        os.pwrite(file, time.time_ns().to_bytes(8, "big"), 0)
        time.sleep(0.01)
def save():
    try:
        with open("/{COUNT_FILE}.new", "w") as file:
            file.write(str(count))
        os.rename("/{COUNT_FILE}.new", "/{COUNT_FILE}")
    except OSError:
        pass  # its disk is full: it goes on counting
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        global count
        for line in self.rfile:
            with lock:
                if line != b"look\\n":
                    count += 1
                    if count % {COUNTS_PER_SAVE} == 0:
                        save()
            self.wfile.write(b"%d\\n" % count)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
threading.Thread(target=beat, daemon=True).start()
Server(("", {PORT}), Handler).serve_forever()
"""

CONNECT_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 2.0
PACE_S = 0.005
CALL_TIMEOUT_S = 0.5  # without an answer for that long, a client that calls again hangs up
CALL_EVERY_S = 0.02
# TCP_RTO_MAX_MS (Linux 6.15): else a connection that was silent for 20 s tries again only after 25 more. With it the
# kernel would also give up after a quarter of a minute, so how long it tries is said too.
TCP_RTO_MAX_MS = 44
RTO_MAX_MS = 1000
GIVE_UP_MS = 600_000


class Client:
    """Asks all the time. `error` says what ended the connection, `gap_ms` is the longest time between two answers."""

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.first = self.last = 0
        self.error = ""
        self.gap_ms = 0.0
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def connect(self) -> None:
        """Connects as soon as the program listens; TimeoutError when it does not."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while self._task is None:
                with contextlib.suppress(OSError):
                    wire = await _connected(self.ip)
                    self._task = asyncio.create_task(self._talk(wire))
                    break
                await asyncio.sleep(0.05)  # nothing tells when a program begins to listen

    async def more(self, count: int, timeout_s: float) -> bool:
        """Waits for that many more answers; False if they do not come."""
        wanted = self.last + count
        try:
            async with asyncio.timeout(timeout_s):
                while self.last < wanted and not self.error:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return False
        return not self.error

    async def close(self) -> None:
        """Ends after an answer: a question left behind would be counted while the next client is served."""
        self._closing = True
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=CLOSE_TIMEOUT_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _talk(self, wire: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=wire)
        answered_s = time.monotonic()
        try:
            while not self._closing:
                writer.write(b"next\n")
                answer = await reader.readline()
                if not answer:
                    raise ConnectionError("the connection was closed")
                number = int(answer)
                now_s = time.monotonic()
                self.gap_ms, answered_s = max(self.gap_ms, (now_s - answered_s) * 1000), now_s
                if self.last and number != self.last + 1:
                    raise ValueError(f"{number} after {self.last}")
                self.first, self.last = self.first or number, number
                self._more.set()
                await asyncio.sleep(PACE_S)
        except (OSError, ValueError) as error:
            self.error = str(error) or type(error).__name__
        finally:
            self._more.set()
            writer.transport.abort()


class Caller:
    """Looks all the time, and calls again when nobody answers. `gap_ms` is the longest time between two answers: how
    long the container was down for clients that reconnect, whatever became of their connections."""

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.gap_ms = 0.0
        self._served = asyncio.Event()
        self._task = asyncio.create_task(self._call())

    async def served(self, timeout_s: float) -> bool:
        """Waits for an answer that is yet to come; False if none does."""
        self._served.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._served.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _call(self) -> None:
        self._answered_s = 0.0
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    wire = await _connected(self.ip)
                await self._look(wire)
            await asyncio.sleep(CALL_EVERY_S)

    async def _look(self, wire: socket.socket) -> None:
        """Until there is no answer. The line is closed in order: the program hears of it once it is in reach again."""
        reader, writer = await asyncio.open_connection(sock=wire)
        try:
            while True:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    writer.write(b"look\n")
                    if not await reader.readline():
                        return
                now_s = time.monotonic()
                if self._answered_s:
                    self.gap_ms = max(self.gap_ms, (now_s - self._answered_s) * 1000)
                self._answered_s = now_s
                self._served.set()
                await asyncio.sleep(CALL_EVERY_S)
        finally:
            writer.close()


async def _connected(ip: str) -> socket.socket:
    wire = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        wire.setblocking(False)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # an older kernel: the client only comes back later
            wire.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GIVE_UP_MS)
        async with asyncio.timeout(2):
            await asyncio.get_running_loop().sock_connect(wire, (ip, PORT))
    except BaseException:
        wire.close()
        raise
    return wire
