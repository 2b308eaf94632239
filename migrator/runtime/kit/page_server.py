"""CRIU's page server, by its criu/page-xfer.c: it listens on a loopback that nobody else is in, serves one connection,
and answers one question after the other.
"""

from __future__ import annotations

import socket
import struct

from channel import Outlet
from frames import HEADER, PAGE, PAGES, Damaged, Run, read_exactly

PORT = 7
CONNECT_TIMEOUT_S = 10

# Command, count of pages, address, process.
REQUEST = struct.Struct("<IxxxxQQQ")
_GET, _GOT, _CLOSE = 7, 6, 0x1023
_COMMAND_MASK = 0xFFFF


class PageServer:
    """A connection to it. OSError when nobody listens."""

    def __init__(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._socket = socket.create_connection(("127.0.0.1", PORT), timeout=timeout_s)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, run: Run) -> None:
        """Asks for a run, which comes after all that were asked for before."""
        self._socket.sendall(REQUEST.pack(_GET, run.pages, run.address, run.pid))

    def pass_on(self, run: Run, out: Outlet, *, at_once: bool = False) -> None:
        """Passes the answer for a run on, as a frame of the stream, by reference."""
        header = memoryview(bytearray(REQUEST.size))
        read_exactly(self._socket.fileno(), header)
        command, pages, address, _ = REQUEST.unpack(header)
        if command & _COMMAND_MASK != _GOT or (pages, address) != (run.pages, run.address):
            asked = f"{run.pages} at {run.address:#x}"
            raise Damaged(f"CRIU's page server answers {pages} pages at {address:#x}, asked for {asked}")
        out.write(HEADER.pack(PAGES, run.pid, run.address, run.pages))
        out.pour(self._socket.fileno(), run.pages * PAGE, at_once=at_once)

    def say_close(self) -> None:
        """Says that nothing more is asked for. The answer would come 200 ms late: small packets are held back there
        (TCP_CORK).
        """
        self._socket.sendall(REQUEST.pack(_CLOSE, 0, 0, 0))

    def close(self) -> None:
        self._socket.close()
