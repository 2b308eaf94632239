"""Containers that crun makes: drained with a connection open, by every way of memory, rolled back, and refused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

CRUN = ("--runtime", "crun", "--cpus", "0.3")


async def test_a_node_is_drained_of_containers_of_both_runtimes_and_their_clients_notice_nothing(tidy: Stage) -> None:
    ips = [tidy.counter("by-crun", "n1", 1, mib=16, more=CRUN), tidy.counter("by-runc", "n1", 2, more=CRUN[2:])]
    pid = tidy.ok("ct", "exec", "by-crun", "--", "cat", "/proc/1/cmdline").out
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(CountingClient(ip)) for ip in ips]
        done = await asyncio.to_thread(tidy.migrator, "drain", "n1", "--yes", "--json")
        assert done.code == 0, done.err
        for client in clients:
            await client.more(20)
        assert done.json()["empty"] == ["n1"]
        assert tidy.places("by-crun")[0][1] == "running"
        there = tidy.places("by-crun")[0][0]
        listed = tidy.on_node(there, "sh", "-c", "crun --root /run/migrator/runc list -f json").out
        assert '"id": "by-crun"' in listed
        assert tidy.ok("ct", "exec", "by-crun", "--", "cat", "/proc/1/cmdline").out == pid
        assert tidy.on_node("n1", "ls", "/run/migrator/runc").out == ""
        tidy.ok("uncordon", "n1")
        await asyncio.to_thread(tidy.ok, "migrate", "by-crun", "--to", "n1")  # and back, dumped from a restored one
        await clients[0].more(20)


@pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy"])
async def test_its_memory_goes_by_every_way_that_this_kernel_has(tidy: Stage, mode: str) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, mib=64, more=CRUN)) as client:
        await asyncio.to_thread(tidy.ok, "migrate", "web", "--to", "n2", "--mode", mode)
        await client.more(20)
    assert tidy.places("web") == [("n2", "running")]


async def test_its_memory_goes_by_images_where_the_target_cannot_stream(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, mib=16, more=CRUN)) as client:
        tidy.on_node("n2", "mv", "/usr/bin/python3", "/usr/bin/python3.away")
        try:
            await asyncio.to_thread(tidy.ok, "migrate", "web", "--to", "n2")
        finally:
            tidy.on_node("n2", "mv", "/usr/bin/python3.away", "/usr/bin/python3")
        await client.more(20)
    reached = [e for e in tidy.last_run()["migrations"][0]["events"] if (e["state"], e["phase"]) == ("checked", "end")]
    assert reached[0]["data"]["memory"] == "images"


async def test_one_that_is_rehearsed_or_killed_before_the_commit_goes_on_at_its_source(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, more=CRUN)) as client:
        await asyncio.to_thread(tidy.ok, "rehearse", "web", "--to", "n2")
        await client.more(10)
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "verified:end") == -9
        await asyncio.to_thread(tidy.ok, "rollback", tidy.last_run()["run"])
        await client.more(10)
    assert tidy.places("web") == [("n1", "running")]
    assert tidy.on_node("n2", "ls", "/run/migrator/runc").out == ""


# Waits with a file without a name, larger than CRIU takes by itself, and a watch that CRIU finds no path for.
HOLDS = """
import ctypes, os, time
held = open("/root/held", "w+b")
held.write(os.urandom(5 << 20))
held.flush()
os.unlink("/root/held")
os.makedirs("/root/watched")
libc = ctypes.CDLL(None)
assert libc.inotify_add_watch(libc.inotify_init(), b"/root/watched", 2) > 0
print("ready", flush=True)
time.sleep(1000)
"""


def test_what_criu_has_to_be_told_of_files_it_is_told_through_crun(tidy: Stage) -> None:
    words = ("ct", "create", "holds", "--node", "n1", "--template", "debian", "--ip", tidy.ip(1), *CRUN)
    tidy.ok(*words, "--", "python3", "-c", HOLDS)
    assert tidy.says("holds", "ready\n")
    tidy.ok("rehearse", "holds", "--to", "n2")


def test_it_begins_anew_by_a_restart_and_after_a_stop(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1, more=CRUN)
    tidy.ok("migrate", "web", "--to", "n2", "--mode", "restart")
    tidy.ok("ct", "stop", "web")
    tidy.ok("ct", "start", "web")
    assert tidy.places("web") == [("n2", "running")]
    tidy.ok("ct", "destroy", "web", "--force", "--yes")


def test_a_node_without_crun_takes_none_of_its_containers_and_takes_others(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1, more=CRUN)
    tidy.counter("other", "n1", 2, more=CRUN[2:])
    tidy.on_node("n2", "mv", "/usr/bin/crun", "/usr/bin/crun.away")
    try:
        for words in (("migrate", "web", "--to", "n2"), ("plan", "move", "web", "--to", "n2")):
            done = tidy.migrator(*words)
            assert (done.code, "crun, which the container is made by, is not there" in done.err) == (3, True), done.err
        made = tidy.migrator(
            "ct", "create", "x", "--node", "n2", "--template", "debian", "--ip", tidy.ip(3), *CRUN, "--", "true"
        )
        assert (made.code, "crun is not there" in made.err) == (3, True), made.err
        tidy.ok("migrate", "other", "--to", "n2")
    finally:
        tidy.on_node("n2", "mv", "/usr/bin/crun.away", "/usr/bin/crun")
