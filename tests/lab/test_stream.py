"""Streamed memory on real nodes: what it carries, what a dead part of it costs, and what goes by images instead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

PYTHON = "/usr/bin/python3"

# Five processes that share pages by fork, change some of them, and hold shared memory; each tells a digest of it all.
FAMILY = """
import hashlib, mmap, os, socketserver
shared = mmap.mmap(-1, 4 << 20)
shared[:] = os.urandom(4 << 20)
held = bytearray(os.urandom(16 << 20))
ends = []
for number in range(5):
    ask, asked = os.pipe()
    tell, told = os.pipe()
    if not os.fork():
        for at in range(number, len(held), 40960):
            held[at] ^= number + 1
        while os.read(ask, 1):
            os.write(told, hashlib.sha256(bytes(held) + shared[:]).hexdigest().encode())
        os._exit(0)
    ends.append((asked, tell))
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            told = []
            for asked, tell in ends:
                os.write(asked, b"?")
                told.append(os.read(tell, 64))
            self.wfile.write(b" ".join(told) + b"\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("", 7000), Handler).serve_forever()
"""

# On a node: waits until the program stands in the middle of a move, stops it for as long as a restore needs to come to
# where it lacks pages, and kills it. Whatever a restore goes on with then, on pages that read as zeros, must never be
# taken for a copy.
KILL = """
tries=0
until [ -e "$1" ] && pid=$(pgrep -f "$2" | tail -n 1) && [ -n "$pid" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 3000 ] || exit 1
    sleep 0.005
done
kill -STOP "$pid"
sleep 0.3
kill -9 "$pid"
tries=0
while [ "$tries" -lt 150 ]; do
    tries=$((tries + 1))
    [ ! -e "${1%/*}/held" ] || exit 3
    sleep 0.01
done
"""


def checked(stage: Stage) -> dict[str, Any]:
    """What the latest run's check has written down."""
    events = stage.last_run()["migrations"][0]["events"]
    data: dict[str, Any] = next(e["data"] for e in events if (e["state"], e["phase"]) == ("checked", "end"))
    return data


async def digests(ip: str) -> bytes:
    reader, writer = await asyncio.open_connection(ip, 7000)
    try:
        writer.write(b"?\n")
        async with asyncio.timeout(20):
            return await reader.readline()
    finally:
        writer.close()


async def test_every_page_of_every_process_arrives_also_what_they_share(tidy: Stage) -> None:
    ip = tidy.ip(1)
    words = ("ct", "create", "kin", "--node", "n1", "--template", "debian", "--ip", ip, "--memory", "512M")
    tidy.ok(*words, "--", "python3", "-c", FAMILY)
    before = b""
    async with asyncio.timeout(30):
        while not before:
            try:
                before = await digests(ip)
            except OSError:
                await asyncio.sleep(0.05)
    assert len(set(before.split())) == 5
    for target in ("n2", "n1"):
        await asyncio.to_thread(tidy.ok, "migrate", "kin", "--to", target)
        assert await digests(ip) == before
    assert (checked(tidy)["findings"], checked(tidy)["memory"]) == (0, "stream")


# Writes to a file all the time, through a mapping, and tells which file that is.
OPENED = """
import mmap, os, socketserver, threading
held = open("/srv/held", "w+b")
held.truncate(1 << 20)
view = mmap.mmap(held.fileno(), 1 << 20)
def write():
    while True:
        view[:8] = (int.from_bytes(view[:8], "big") + 1).to_bytes(8, "big")
        os.utime("/srv/held")
threading.Thread(target=write, daemon=True).start()
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d\\n" % os.fstat(held.fileno()).st_ino)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("", 7000), Handler).serve_forever()
"""
RSYNC = "/usr/local/sbin/rsync"
SLOW_LAST_PASS = """#!/bin/sh
case " $* " in *' --fsync '*) sleep 2 ;; esac
exec /usr/bin/rsync "$@"
"""


@pytest.fixture
def slow_last_pass(tidy: Stage) -> Iterator[Stage]:
    tidy.on_node("n1", "sh", "-c", f"cat > {RSYNC} && chmod 755 {RSYNC}", stdin=SLOW_LAST_PASS)
    yield tidy
    tidy.on_node("n1", "rm", RSYNC)


async def test_a_restored_process_writes_to_the_file_that_the_last_pass_has_brought(slow_last_pass: Stage) -> None:
    stage = slow_last_pass
    ip = stage.ip(1)
    words = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", ip)
    stage.ok(*words, "--", "python3", "-c", OPENED)
    await asyncio.to_thread(stage.ok, "migrate", "web", "--to", "n2")
    assert checked(stage)["memory"] == "stream"
    there = stage.on_node("n2", "stat", "-c", "%i", "/var/lib/migrator/containers/web/upper/srv/held")
    assert (await digests(ip)).decode() == there.out


@pytest.fixture
def without_python(tidy: Stage) -> Iterator[Stage]:
    tidy.on_node("n2", "mv", PYTHON, f"{PYTHON}.away")
    yield tidy
    tidy.on_node("n2", "mv", f"{PYTHON}.away", PYTHON)


async def test_where_the_target_cannot_take_a_stream_memory_goes_by_images_and_the_journal_says_why(
    without_python: Stage,
) -> None:
    stage = without_python
    async with CountingClient(stage.counter("web", "n1", 1, mib=32)) as client:
        await asyncio.to_thread(stage.ok, "migrate", "web", "--to", "n2")
        await client.more(20)
    assert checked(stage)["memory"] == "images"
    assert checked(stage)["memory_why"] == "n2: Python 3.10 or newer is not there; install python3"


async def test_images_take_as_long_as_the_bandwidth_that_a_move_is_let_have(without_python: Stage) -> None:
    stage = without_python
    async with CountingClient(stage.counter("web", "n1", 1, mib=32)) as client:
        await asyncio.to_thread(stage.ok, "migrate", "web", "--to", "n2", "--bandwidth", "80Mbit")
        await client.more(20)
    events = stage.last_run()["migrations"][0]["events"]
    dumped = next(e["data"] for e in events if (e["state"], e["phase"]) == ("dumped", "end"))
    assert dumped["send_ms"] >= 2800  # 32 MiB at 10 MB/s, but for what goes at once


def test_images_of_several_processes_are_held_back_as_well(without_python: Stage) -> None:
    stage = without_python
    two = "import os, time; os.fork(); held = os.urandom(16 << 20); print(end='r', flush=True); time.sleep(1000)"
    words = ("--node", "n1", "--template", "debian", "--ip", stage.ip(1))
    stage.ok("ct", "create", "web", *words, "--", "python3", "-u", "-c", two)
    assert stage.says("web", "rr\n")
    stage.ok("migrate", "web", "--to", "n2", "--bandwidth", "80Mbit")
    events = stage.last_run()["migrations"][0]["events"]
    dumped = next(e["data"] for e in events if (e["state"], e["phase"]) == ("dumped", "end"))
    assert dumped["send_ms"] >= 2800  # twice 16 MiB at 10 MB/s, but for what goes at once


@pytest.mark.parametrize(
    ("node", "mark", "program"),
    [
        ("n2", "/run/migrator/move/web.2/came", "[s]tream_in.py"),
        ("n2", "/run/migrator/move/web.2/came", "[r]unc --root"),
        ("n1", "/run/migrator/move/web.2/fenced", "[s]tream_out.py"),
        ("n1", "/run/migrator/move/web.2/images/inventory.img", "[s]tream_out.py"),
    ],
)
async def test_a_part_of_the_stream_that_is_killed_costs_the_move_and_nothing_else(
    tidy: Stage, node: str, mark: str, program: str
) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, mib=256, more=("--memory", "512M"))) as client:
        killing = asyncio.create_task(asyncio.to_thread(tidy.on_node, node, "sh", "-c", KILL, "sh", mark, program))
        done = await asyncio.to_thread(tidy.migrator, "migrate", "web", "--to", "n2")
        assert (await killing).code == 0
        assert done.code == 4, (done.out, done.err)
        assert "runs on n1 as before" in done.err
        await client.more(20)
        await asyncio.to_thread(tidy.ok, "migrate", "web", "--to", "n2")  # and leaves nothing that would be in its way
        await client.more(20)
    assert tidy.places("web") == [("n2", "running")]
