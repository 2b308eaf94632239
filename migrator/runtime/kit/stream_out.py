"""The dump of a move whose memory is streamed:
stream_out.py MOVE -- LINK_COMMAND... -- CHECKPOINT_COMMAND...

Exit 3 says that CRIU's log has the reason. After any other end than a good one `stream_out.py hang-up MOVE` ends CRIU.

It is started before the freeze, with the connection and the receiver at its other end, and waits until the container is
fenced: a file MOVE/fenced says so, and a byte in the fifo MOVE/fence wakes it.

CRIU keeps most pages out of its images and serves them. This program drives it: as soon as the images are written it
sends them, and then every page that CRIU serves, over one command of the standing connection to the target, and waits
until the target says that all are placed. CRIU's page server speaks to anyone who reaches its port, so this program is
called in a network namespace of its own, which holds nothing but a loopback.

The way of a page: from the frozen process's memory by reference into CRIU's pipe, by splice(2) into the socket, and
from there into ssh: no image, and no copy of it on this node.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from frames import CAME, END, HEADER, IMAGE, PAGE, PAGES, Damaged, Run, lazy_runs, read_exactly, write_all

PORT = 7
PIPE_BYTES = 1 << 20
SPLICE_BYTES = 1 << 20
# How many runs are asked for ahead: enough that CRIU never waits for a question.
AHEAD = 4

# CRIU's criu/page-xfer.c: command, count of pages, address, process.
REQUEST = struct.Struct("<IxxxxQQQ")
GET, GOT, CLOSE = 7, 6, 0x1023
COMMAND_MASK = 0xFFFF


class Channel:
    """One command of the connection to the target: `out` flows there, `answers` come back."""

    def __init__(self, command: list[str]) -> None:
        read, self.out = os.pipe()
        self.answers, write = os.pipe()
        self._process = subprocess.Popen(command, stdin=read, stdout=write)
        os.close(read)
        os.close(write)
        with contextlib.suppress(OSError):  # the node's limit for pipes is lower: slower, not wrong
            fcntl.fcntl(self.out, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def answer(self) -> bytes:
        """One line; empty when the other side has ended."""
        with os.fdopen(os.dup(self.answers), "rb", buffering=0) as lines:
            return lines.readline()

    def end(self) -> None:
        self._process.kill()


def main(move: Path, link: list[str], checkpoint: list[str]) -> None:
    channel = Channel(link)
    try:
        wait_for_fence(move, channel)
        dump(move, channel, checkpoint)
    finally:
        channel.end()


def hang_up(move: Path) -> None:
    """CRIU's page server waits for ever for one who asks. Nobody will any more: with that said it ends, and the
    container stays as it is, frozen and whole. Never killed: it would leave its own code in the processes.
    """
    with (move / "dumping").open("ab") as lock:
        while not is_free(lock):
            try:
                socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
            except OSError:
                time.sleep(0.02)  # it is still dumping, or has heard it


def is_free(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_fence(move: Path, channel: Channel) -> None:
    """Returns when the container is fenced. Damaged when the connection ends before."""
    fifo = os.open(move / "fence", os.O_RDWR)  # first, so that no word is missed
    while not (move / "fenced").exists():
        ready, _, _ = select.select([fifo, channel.answers], [], [])
        if channel.answers in ready:
            raise Damaged("the target's receiver ended")
        os.read(fifo, 64)
    os.close(fifo)


def dump(move: Path, channel: Channel, checkpoint: list[str]) -> None:
    began = time.monotonic()
    criu, ready = start_dump(checkpoint, move)
    send(began, ready, move, channel)
    if criu.wait() != 0:
        raise DumpFailed


def send(began: float, ready: int, move: Path, channel: Channel) -> None:
    """Sends what CRIU has dumped, and returns when the target says that all of it is in its place."""
    if not os.read(ready, 1):
        raise DumpFailed
    dumped = time.monotonic()
    image_bytes = send_images(move / "images", channel.out)
    with socket.create_connection(("127.0.0.1", PORT), timeout=10) as server:
        server.settimeout(None)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        page_bytes = send_pages(server, lazy_runs(move / "images"), channel.out)
        if channel.answer() != b"placed %d\n" % (page_bytes // PAGE):
            raise Damaged("the target did not place all pages")
        # CRIU's answer to that would come 200 ms late: it holds small packets back (TCP_CORK).
        server.sendall(REQUEST.pack(CLOSE, 0, 0, 0))
    sent = time.monotonic()
    (move / "result").write_text(
        f"dump_ms {round((dumped - began) * 1000)}\n"
        f"image_kib {(image_bytes + page_bytes) >> 10}\n"
        f"send_ms {round((sent - dumped) * 1000)}\n"
    )


class DumpFailed(Exception):
    """CRIU ended without a dump; its log says why."""


def start_dump(checkpoint: list[str], move: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the runtime's checkpoint. The descriptor gets one byte when the images are whole and pages are served.

    The lock on MOVE/dumping is the runtime's as well, so it is held as long as CRIU goes on.
    """
    ready, status = os.pipe()
    lock = (move / "dumping").open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    ready_fd = str(status)
    argv = [*checkpoint[:-1], "--lazy-pages", "--page-server", f"127.0.0.1:{PORT}", "--status-fd", ready_fd]
    with (move / "runc").open("wb") as said:
        criu = subprocess.Popen(
            [*argv, checkpoint[-1]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=[status, lock.fileno()],
        )
    os.close(status)
    return criu, ready


def send_images(images: Path, out: int) -> int:
    """Sends every image, and that all have come. Returns their bytes."""
    total = 0
    paths = sorted(path for path in images.iterdir() if path.suffix == ".img" and path.is_file())
    for path in paths:
        with path.open("rb") as image:
            size = os.fstat(image.fileno()).st_size
            name = path.name.encode()
            write_all(out, HEADER.pack(IMAGE, 0, size, len(name)) + name)
            sent = 0
            while sent < size:
                sent += os.splice(image.fileno(), out, min(SPLICE_BYTES, size - sent), offset_src=sent)
            total += size
    write_all(out, HEADER.pack(CAME, 0, 0, len(paths)))
    return total


def send_pages(server: socket.socket, runs: list[Run], out: int) -> int:
    """Sends every page that CRIU serves. Returns their bytes."""
    asked = 0
    for number, run in enumerate(runs):
        while asked < min(len(runs), number + AHEAD):
            ask(server, runs[asked])
            asked += 1
        pass_on(server, run, out)
    total = sum(run.pages for run in runs)
    write_all(out, HEADER.pack(END, 0, 0, total))
    return total * PAGE


def ask(server: socket.socket, run: Run) -> None:
    server.sendall(REQUEST.pack(GET, run.pages, run.address, run.pid))


def pass_on(server: socket.socket, run: Run, out: int) -> None:
    """Passes one answer of CRIU's on, from socket to pipe, by reference."""
    header = memoryview(bytearray(REQUEST.size))
    read_exactly(server.fileno(), header)
    command, pages, address, _ = REQUEST.unpack(header)
    if command & COMMAND_MASK != GOT or (pages, address) != (run.pages, run.address):
        raise Damaged(
            f"CRIU's page server answers {pages} pages at {address:#x}, asked for {run.pages} at {run.address:#x}"
        )
    write_all(out, HEADER.pack(PAGES, run.pid, run.address, run.pages))
    left = run.pages * PAGE
    while left:
        moved = os.splice(server.fileno(), out, min(SPLICE_BYTES, left))
        if not moved:
            raise Damaged("CRIU's page server ended before all pages had come")
        left -= moved


if __name__ == "__main__":
    words = sys.argv[1:]
    try:
        if words[0] == "hang-up":
            hang_up(Path(words[1]))
        else:
            first = words.index("--")
            second = words.index("--", first + 1)
            main(Path(words[0]), link=words[first + 1 : second], checkpoint=words[second + 1 :])
    except DumpFailed:
        sys.exit(3)  # the caller reads CRIU's log
    except (Damaged, OSError) as error:
        sys.stderr.write(f"the memory could not be sent: {error}\n")
        sys.exit(1)
