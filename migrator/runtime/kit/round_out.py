"""One round of pre-copy, on its source: round_out.py MOVE NUMBER -- LINK_COMMAND... -- CHECKPOINT_COMMAND...

CRIU freezes the container for a moment, takes hold of the pages that were written since the round before (of all, in
the first), lets it run on, and sends them to a page server. This program is that server: it passes them on to the
target as they come, over a stream of their own (channel.py), and answers CRIU when the target has them. So a
round's pages are never copied on this node. Which they were is written down (pagemaps.py), for CRIU's next round.

Exit 3 says that CRIU's log has the reason. CRIU is never killed: it would leave its own code in the processes. With its
connection gone it ends by itself, and the container runs.

CRIU says what it wants in criu/page-xfer.c; like the page server of a streamed dump this one has no password, so it is
called in a network namespace of its own, which holds nothing but a loopback.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from channel import Channel
from frames import END, HEADER, PAGE, PAGES, PARENT, PE_PARENT, PE_PRESENT, PROCESS, Damaged, number_at, read_exactly
from page_server import PORT, REQUEST
from pagemaps import Pagemap
from stream_out import DumpFailed

_OPEN, _HAS_PARENT, _ADD = 4, 5, 6
_CLOSE = (0x1023, 0x1024)
_COMMAND_BITS, _COMMAND_MASK = 16, 0xFFFF
_TYPE_BITS, _OF_A_PROCESS = 8, 1

# CRIU's images/stats.proto: the message of a dump, and its microseconds of freezing and of being frozen.
_STATS_DUMP, _STATS_FREEZING_US, _STATS_FROZEN_US = 1, 1, 2


class Round:
    """What CRIU says of its pages, and what becomes of it here and on the target."""

    def __init__(self, directory: Path, number: int, criu: socket.socket, channel: Channel) -> None:
        self._directory, self._number, self._criu, self._channel = directory, number, criu, channel
        self._pagemap: Pagemap | None = None
        self._processes = 0
        self.pages = 0
        self.thawed_s = 0.0

    def serve(self) -> None:
        """Passes on all that CRIU has to send. Damaged when either side ends before the end."""
        header = memoryview(bytearray(REQUEST.size))
        while True:
            read_exactly(self._criu.fileno(), header)
            command, pages, address, which = REQUEST.unpack(header)
            flags, command = command >> _COMMAND_BITS, command & _COMMAND_MASK
            if command in _CLOSE:
                return self._end()
            if which & ((1 << _TYPE_BITS) - 1) != _OF_A_PROCESS:
                raise Damaged(f"CRIU sends memory of an unknown kind ({which:#x})")
            pid = which >> _TYPE_BITS
            if command == _HAS_PARENT:
                self._criu.sendall(struct.pack("<i", self._had(pid)))
            elif command == _OPEN:
                self._open(pid)
            elif command == _ADD and self._pagemap is not None:
                self._add(self._pagemap, pid, address, pages, flags)
            else:
                raise Damaged(f"CRIU sends an unknown command ({command})")

    def _had(self, pid: int) -> bool:
        """Whether the round before had this process."""
        before = self._directory.with_name(f"pre-{self._number - 1}")
        return (before / f"pagemap-{pid}.img").exists()

    def _open(self, pid: int) -> None:
        self.thawed_s = self.thawed_s or time.monotonic()
        self._close()
        self._processes += 1
        self._pagemap = Pagemap(self._directory, pid, self._processes)
        self._channel.out.write(HEADER.pack(PROCESS, pid, 0, 0))
        self._criu.sendall(bytes([self._had(pid)]))

    def _add(self, pagemap: Pagemap, pid: int, address: int, pages: int, flags: int) -> None:
        if flags & PE_PARENT:
            pagemap.add(address, pages, PE_PARENT)
            self._channel.out.write(HEADER.pack(PARENT, pid, address, pages))
            return
        pagemap.add(address, pages, PE_PRESENT)
        self._channel.out.write(HEADER.pack(PAGES, pid, address, pages))
        self.pages += pages
        self._channel.out.pour(self._criu.fileno(), pages * PAGE)

    def _end(self) -> None:
        self._close()
        self._channel.out.write(HEADER.pack(END, 0, 0, self.pages))
        if self._channel.last_answer() != b"placed %d\n" % self.pages:
            raise Damaged("the target did not take all pages")
        self._criu.sendall(struct.pack("<i", 0))

    def _close(self) -> None:
        if self._pagemap is not None:
            self._pagemap.close()
            self._pagemap = None


def main(move: Path, number: int, link: list[str], checkpoint: list[str]) -> None:
    directory = move / "images" / f"pre-{number}"
    directory.mkdir(mode=0o700)
    channel = Channel(link, move)
    began_s = time.monotonic()
    try:
        channel.agree()
        with socket.create_server(("127.0.0.1", PORT)) as server:
            criu = start(checkpoint, directory, number, move)
            try:
                done = serve(server, criu, directory, number, channel)
            finally:
                server.close()
                failed = criu.wait() != 0
        if failed or done is None:
            raise DumpFailed
    except (Damaged, OSError) as error:
        raise Damaged(channel.in_words(error)) from error
    finally:
        channel.end()
    frozen_us = frozen_for_us(move / "round" / "stats-dump")
    sent_s = time.monotonic()
    is_last(directory)
    sys.stdout.write(
        f"began_ms {round(done.thawed_s * 1000 - frozen_us / 1000)}\n"
        f"frozen_ms {round(frozen_us / 1000)}\n"
        f"sent {done.pages * PAGE}\n"
        f"send_ms {round((sent_s - done.thawed_s) * 1000)}\n"
        f"ms {round((sent_s - began_s) * 1000)}\n"
        f"{channel.said}"
    )


def serve(
    server: socket.socket, criu: subprocess.Popen[bytes], directory: Path, number: int, channel: Channel
) -> Round | None:
    """Serves CRIU; None when it ended without asking."""
    ended = os.pidfd_open(criu.pid)
    try:
        ready, _, _ = select.select([server.fileno(), ended], [], [])
    finally:
        os.close(ended)
    if server.fileno() not in ready:
        return None
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        done = Round(directory, number, connection, channel)
        done.serve()
        return done


def start(checkpoint: list[str], directory: Path, number: int, move: Path) -> subprocess.Popen[bytes]:
    argv = [*checkpoint[:-1], "--pre-dump", "--page-server", f"127.0.0.1:{PORT}", "--image-path", str(directory)]
    if number > 1:
        argv += ["--parent-path", f"../pre-{number - 1}"]
    with (move / "runc").open("wb") as said:
        return subprocess.Popen(
            [*argv, checkpoint[-1]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )


def is_last(directory: Path) -> None:
    """From now on a dump builds on this round, also one whose CRIU stands ready: it follows the link when it begins."""
    new = directory.with_name("pre-last.new")
    new.unlink(missing_ok=True)
    new.symlink_to(directory.name)
    new.replace(directory.with_name("pre-last"))


def frozen_for_us(stats: Path) -> int:
    """How long the round held the container up, by CRIU's own clock; 0 if it does not say."""
    try:
        data = stats.read_bytes()
    except OSError:
        return 0
    return number_at(data, _STATS_DUMP, _STATS_FREEZING_US) + number_at(data, _STATS_DUMP, _STATS_FROZEN_US)


if __name__ == "__main__":
    words = sys.argv[1:]
    try:
        first = words.index("--")
        second = words.index("--", first + 1)
        main(Path(words[0]), int(words[1]), link=words[first + 1 : second], checkpoint=words[second + 1 :])
    except DumpFailed:
        sys.exit(3)  # the caller reads CRIU's log
    except (Damaged, OSError) as error:
        sys.stderr.write(f"the memory could not be sent: {error}\n")
        sys.exit(1)
