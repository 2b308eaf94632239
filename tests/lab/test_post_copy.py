"""Post-copy on real nodes: what a container may do while its memory follows, and what becomes of it when it cannot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.lab.client import CountingClient
from tests.lab.stage import Outcome, Stage

# Private memory in blocks, each with a digest of its own. Once it is told to, and until the next word, it does with it
# all that the kernel tells a userfaultfd of: forks children that look at blocks and write to them, moves blocks, gives
# some back, unmaps some, and asks for new memory. It says what was wrong, or how often all was well.
RESTLESS = """
import hashlib, mmap, os, select, socketserver, sys
BLOCK = 1 << 20
def fresh(data):
    block = mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block[:] = data
    return block, hashlib.sha256(data).digest()
blocks = [fresh(os.urandom(BLOCK)) for _ in range(int(sys.argv[1]))]
def whole(block, digest):
    return hashlib.sha256(block[:BLOCK]).digest() == digest
def act(number):
    at = number * 37 % len(blocks)
    block, digest = blocks[at]
    kind = number % 5
    if kind == 0:
        child = os.fork()
        if not child:
            good = whole(block, digest)
            block[:4096] = bytes(4096)
            os._exit(0 if good and block[:4096] == bytes(4096) else 1)
        if os.waitpid(child, 0)[1]:
            return f"a child saw block {at} wrong"
    elif kind == 1:
        block.resize(BLOCK * 3)
        if block[BLOCK:] != bytes(2 * BLOCK):
            return f"the new part of block {at} is not empty"
        block.resize(BLOCK)
    elif kind == 2:
        spare, kept = blocks[(at + 1) % len(blocks)]
        spare.madvise(mmap.MADV_DONTNEED)
        if spare[:] != bytes(BLOCK):
            return f"block {at + 1} was given back and is not empty"
        blocks[(at + 1) % len(blocks)] = fresh(os.urandom(BLOCK))
        spare.close()
    elif kind == 3:
        block.close()
        blocks[at] = fresh(os.urandom(BLOCK))
        return "" if whole(*blocks[at]) else f"new block {at} is wrong"
    names = ("fork", "move", "give back", "", "nothing")
    return "" if whole(block, digest) else f"block {at} is wrong after {names[kind]}"
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        number, wrong = 0, ""
        while not wrong:
            if select.select([self.rfile.fileno()], [], [], 0)[0]:
                if not self.rfile.readline():
                    return
                for block, digest in blocks:
                    wrong = wrong or ("" if whole(block, digest) else "a block is wrong at last")
                self.wfile.write((wrong or f"well {number}").encode() + b"\\n")
                continue
            wrong = act(number)
            number += 1
        self.wfile.write(wrong.encode() + b"\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(("", 7000), Handler).serve_forever()
"""


# On the target: stops who places the pages right after the release, and kills a program of this node or of none.
STOPPED = """
move=$1
tries=0
until [ -e "$move/going" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 6000 ] || exit 1
    sleep 0.002
done
pkill -STOP -f '[s]tream_in.py'
[ ! -e "$move/filled" ] || exit 3
"""
RECEIVER = "pkill -KILL -o -f '[s]tream_in.py'"
RECEIVER_AND_WATCHER = "pkill -KILL -f '[s]tream_in.py'"
SENDER = "pkill -KILL -f '[s]tream_out.py'"


def last(stage: Stage) -> dict[str, Any]:
    """The latest run's one migration."""
    migration: dict[str, Any] = stage.last_run()["migrations"][0]
    return migration


async def in_thread(stage: Stage, *words: str) -> Outcome:
    return await asyncio.to_thread(stage.migrator, *words)


async def connect(ip: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(30):
        while True:
            try:
                return await asyncio.open_connection(ip, 7000)
            except OSError:
                await asyncio.sleep(0.05)


async def test_memory_that_follows_is_right_whatever_the_program_does_with_it_meanwhile(tidy: Stage) -> None:
    words = ("ct", "create", "busy", "--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--memory", "512M")
    tidy.ok(*words, "--", "python3", "-c", RESTLESS, "192")
    reader, writer = await connect(tidy.ip(1))
    try:
        for target in ("n2", "n1"):
            moved = await in_thread(tidy, "migrate", "busy", "--to", target, "--mode", "post-copy")
            assert moved.code == 0, moved.err
            writer.write(b"?\n")
            async with asyncio.timeout(30):
                assert (await reader.readline()).startswith(b"well ")
    finally:
        writer.close()
    reached = [event["state"] for event in last(tidy)["events"] if event["phase"] == "end"]
    assert reached[-4:] == ["released", "filled", "source-removed", "done"]


async def test_a_connection_lives_through_post_copy_and_the_journal_says_which_mode_and_why(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 2, mib=64)) as client:
        moved = await in_thread(tidy, "migrate", "web", "--to", "n2", "--mode", "post-copy")
        assert moved.code == 0, moved.err
        await client.more(20)
    checked = next(e["data"] for e in last(tidy)["events"] if (e["state"], e["phase"]) == ("checked", "end"))
    assert (checked["mode"], checked["mode_why"]) == ("post-copy", "asked for")
    seeded = next(e["data"] for e in last(tidy)["events"] if (e["state"], e["phase"]) == ("seeded", "end"))
    assert seeded["huge_bytes"] > 48 << 20
    for node in ("n1", "n2"):
        assert tidy.on_node(
            node, "sh", "-c", "ls /run/migrator/move /run/migrator/jobs; pgrep -f [s]tream_"
        ).out.split() == [
            "/run/migrator/jobs:",
            "/run/migrator/move:",
        ]


async def killed_while_it_follows(stage: Stage, kill: str, node: str) -> Outcome:
    """Moves web by post-copy, and kills a part of it while all but a few pages are missing."""
    stopping = asyncio.create_task(
        asyncio.to_thread(stage.on_node, "n2", "sh", "-c", STOPPED, "sh", "/run/migrator/move/web.2")
    )
    moving = asyncio.create_task(in_thread(stage, "migrate", "web", "--to", "n2", "--mode", "post-copy"))
    assert (await stopping).code == 0
    assert stage.on_node(node, "sh", "-c", kill).code == 0
    stage.on_node("n2", "sh", "-c", "pkill -CONT -f '[s]tream_in.py'")
    return await moving


@pytest.mark.parametrize(("kill", "node"), [(RECEIVER, "n2"), (RECEIVER_AND_WATCHER, "n2"), (SENDER, "n1")])
async def test_a_container_whose_memory_cannot_come_is_killed_and_an_operator_chooses_what_lives_on(
    tidy: Stage, kill: str, node: str
) -> None:
    ip = tidy.counter("web", "n1", 1, mib=256, more=("--memory", "512M"))
    began = tidy.ok("ct", "exec", "web", "--", "cat", "/proc/1/stat").out.split()[21]
    moved = await killed_while_it_follows(tidy, kill, node)
    assert moved.code == 5, (moved.out, moved.err)
    assert "the rest of its memory could not follow from n1" in moved.err
    assert sorted(tidy.places("web")) == [("n1", "sealed"), ("n2", "released")]
    resumed = tidy.migrator("resume", tidy.last_run()["run"])
    assert (resumed.code, "an operator" in resumed.err or "choose" in resumed.err) == (5, True), resumed.err
    refused = tidy.migrator("settle", "web", "--keep", "n1")
    assert (refused.code, "say it in writing" in refused.err) == (3, True), refused.err
    kept = tidy.migrator("settle", "web", "--keep", "n1", "--word", "web on n2 is given up")
    assert kept.code == 0, kept.err
    # The memory of the time of the move is whole on its source: the same processes go on.
    assert tidy.ok("ct", "exec", "web", "--", "cat", "/proc/1/stat").out.split()[21] == began
    async with CountingClient(ip) as client:
        await client.more(10)
    assert tidy.places("web") == [("n1", "running")]


async def test_what_has_lost_its_memory_starts_cold_on_the_target_if_that_is_wanted(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 2, mib=256, more=("--memory", "512M"))
    assert (await killed_while_it_follows(tidy, RECEIVER, "n2")).code == 5
    kept = tidy.migrator("settle", "web", "--keep", "n2", "--word", "web on n1 is given up")
    assert kept.code == 0, kept.err
    assert tidy.places("web") == [("n2", "running")]
    async with CountingClient(ip) as client:
        await client.more(10)


async def test_memory_follows_also_without_the_orchestrator_and_a_resume_ends_the_move(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 3, mib=256, more=("--memory", "512M"))) as client:
        killed = await asyncio.to_thread(tidy.kill_at, "web", "n2", "released:end", mode="post-copy")
        assert killed == -9
        await client.more(20)
        resumed = await in_thread(tidy, "resume", tidy.last_run()["run"])
        assert resumed.code == 0, resumed.err
        await client.more(20)
    assert tidy.places("web") == [("n2", "running")]
