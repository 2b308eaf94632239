"""The dump of a move whose memory is streamed:
stream_out.py MOVE -- LINK_COMMAND... -- CHECKPOINT_COMMAND...

Exit 3 says that CRIU's log has the reason. After any other end than a good one `stream_out.py hang-up MOVE` ends CRIU.

It is started before the freeze, with the connection and the receiver at its other end, and with the runtime and CRIU,
which stop before they look at the container: their hook waits for a lock on MOVE/begin, which this program holds until
the container is fenced. A file MOVE/fenced says so, and a byte in the fifo MOVE/fence wakes it. MOVE/at-dump, by the
hook, and MOVE/receiver-ready tell the fence that nothing has to be started any more.

CRIU keeps most pages out of its images and serves them. This program drives it: as soon as the images are written it
sends them, and then every page that CRIU serves, over one stream to the target (channel.py), and waits until the target
says that all are placed. With a file MOVE/follows that is post-copy: the target runs meanwhile, and
says what it wants first (follow_out.py). CRIU's page server speaks to anyone who reaches its port, so this program is
called in a network namespace of its own, which holds nothing but a loopback.

The way of a page: from the frozen process's memory by reference into CRIU's pipe, by splice(2) into the socket, and
from there into ssh, or over a trusted network into the connection itself: no image, and no copy of it on this node.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from channel import Channel, Outlet
from follow_out import follow
from frames import CAME, END, HEADER, IMAGE, PAGE, RECEIVER_READY, Damaged, Run, lazy_runs
from nearly import Nearly
from noted_groups import keep_tree
from page_server import PORT, PageServer

# How many runs are asked for ahead: enough that CRIU never waits for a question.
AHEAD = 4
# How often a fence that did not wait for CRIU asks whether it stands ready.
HOOK_PAUSE_S = 0.005


def main(move: Path, link: list[str], checkpoint: list[str]) -> None:
    channel = Channel(link, move)
    try:
        with (move / "begin").open("wb") as begin:
            fcntl.flock(begin, fcntl.LOCK_EX)
            criu, ready = start_dump(checkpoint, move)
            channel.agree()
            wait_for_fence(move, channel, ready)
        result = send(time.monotonic(), ready, move, channel)
        if criu.wait() != 0:
            raise DumpFailed
        put(move / "result", result)
        tell(move / "told")
    except (Damaged, OSError) as error:
        raise Damaged(channel.in_words(error)) from error
    finally:
        channel.end()


def hang_up(move: Path) -> None:
    """CRIU's page server waits for ever for one who asks. Nobody will any more: with that said it ends, and the
    container stays as it is, frozen and whole. Never killed: it would leave its own code in the processes.
    """
    with (move / "dumping").open("ab") as lock:
        while not is_free(lock):
            try:
                PageServer(timeout_s=1).close()
            except OSError:
                time.sleep(0.02)  # it is still dumping, or has heard it


def is_free(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_fence(move: Path, channel: Channel, ready: int) -> None:
    """Returns when the container is fenced, and the receiver and CRIU are ready. Damaged when the connection ends
    before, DumpFailed when CRIU does, or does not wait: what it dumps before the fence is old.
    """
    fifo = os.open(move / "fence", os.O_RDWR)  # first, so that no word is missed
    heard = b""
    while heard != RECEIVER_READY or not all((move / mark).exists() for mark in ("fenced", "at-dump")):
        pause_s = HOOK_PAUSE_S if (move / "fenced").exists() else None
        said, _, _ = select.select([fifo, channel.answers, ready], [], [], pause_s)
        if ready in said:
            raise DumpFailed
        if channel.answers in said:
            heard = os.read(channel.answers, len(RECEIVER_READY))
            if heard != RECEIVER_READY:
                raise Damaged("the target's receiver ended")
            (move / "receiver-ready").touch()
        if fifo in said:
            os.read(fifo, 64)
    os.close(fifo)


def send(began: float, ready: int, move: Path, channel: Channel) -> str:
    """Sends what CRIU has dumped, and returns when the target says that all of it is in its place: what it took."""
    if not os.read(ready, 1):
        raise DumpFailed
    keep_tree(move / "images")
    dumped = time.monotonic()
    image_bytes = send_images(move / "images", channel.out)
    dumped_said = f"dump_ms {round((dumped - began) * 1000)}\nimage_kib {image_bytes >> 10}\n{channel.said}"
    put(move / "dumped", dumped_said)
    if (move / "follows").exists():
        tell(move / "told")
    runs = lazy_runs(move / "images")
    with contextlib.closing(PageServer()) as server:
        if (move / "follows").exists():
            page_bytes = follow(server, runs, channel.out, channel.answers)
        else:
            all_bytes = sum(run.pages for run in runs) * PAGE
            channel.out.nearly = Nearly(all_bytes, time.monotonic(), lambda: tell_nearly(move))
            page_bytes = send_pages(server, runs, channel.out)
        if channel.last_answer() != b"placed %d\n" % (page_bytes // PAGE):
            raise Damaged("the target did not place all pages")
        server.say_close()
    sent = time.monotonic()
    return (
        f"dump_ms {round((dumped - began) * 1000)}\n"
        f"image_kib {(image_bytes + page_bytes) >> 10}\n"
        f"send_ms {round((sent - dumped) * 1000)}\n"
        f"{channel.said}"
    )


def tell_nearly(move: Path) -> None:
    """Only others gain by that, so where it cannot be told (a full disk) the stream goes on."""
    with contextlib.suppress(OSError):
        (move / "nearly").touch()
        tell(move / "near")


def put(path: Path, text: str) -> None:
    """Writes a file that is whole from its first moment."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def tell(fifo: Path) -> None:
    """Wakes whoever waits for a word in a fifo; nobody may."""
    fd = os.open(fifo, os.O_RDWR)
    os.write(fd, b"\n")
    os.close(fd)


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


def send_images(images: Path, out: Outlet) -> int:
    """Sends every image, and that all have come. Returns their bytes."""
    total = 0
    paths = sorted(path for path in images.iterdir() if path.suffix == ".img" and path.is_file())
    for path in paths:
        with path.open("rb") as image:
            size = os.fstat(image.fileno()).st_size
            name = path.name.encode()
            out.write(HEADER.pack(IMAGE, 0, size, len(name)) + name)
            out.pour(image.fileno(), size)
            total += size
    out.write(HEADER.pack(CAME, 0, 0, len(paths)))
    return total


def send_pages(server: PageServer, runs: list[Run], out: Outlet) -> int:
    """Sends every page that CRIU serves. Returns their bytes."""
    asked = 0
    for number, run in enumerate(runs):
        while asked < min(len(runs), number + AHEAD):
            server.ask(runs[asked])
            asked += 1
        server.pass_on(run, out)
    total = sum(run.pages for run in runs)
    out.write(HEADER.pack(END, 0, 0, total))
    return total * PAGE


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
