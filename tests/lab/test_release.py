"""A release that fails: CRIU dies after it was told to let the copy go, or cannot. The source, which has all of it, is
kept.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

# On the target: stops CRIU when the copy is held, and acts when it was told to let go, and could not.
STOPPED = """
move=$1
tries=0
await() {
    until [ -e "$move/$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 6000 ] || exit 1
        sleep 0.005
    done
}
await held
kill -STOP $(cat "$move/criu")
await going
"""
CRIU_DIES = 'kill -KILL $(cat "$move/criu")'
# CRIU fails where nobody hears that its restore is over, and then waits for processes that it has killed.
NOBODY_HEARS = 'kill -KILL $(cat "$move/listener"); kill -CONT $(cat "$move/criu")'


async def move_and(stage: Stage, act: str, *mode: str) -> str:
    """What the move to n2 says, in whose release this is done."""
    script = STOPPED + act
    killing = asyncio.create_task(
        asyncio.to_thread(stage.on_node, "n2", "sh", "-c", script, "sh", "/run/migrator/move/web.2")
    )
    moved = await asyncio.to_thread(stage.migrator, "migrate", "web", "--to", "n2", *mode)
    assert (await killing).code == 0
    assert moved.code == 5, (moved.out, moved.err)
    return moved.err


async def keep_the_source(stage: Stage) -> None:
    assert sorted(stage.places("web")) == [("n1", "sealed"), ("n2", "released")]
    for again in ("resume", "rollback"):
        done = await asyncio.to_thread(stage.migrator, again, stage.last_run()["run"])
        assert (done.code, "died on the target in its release" in done.err) == (5, True), done.err
    word = ("--word", "web on n2 is given up")
    kept = await asyncio.to_thread(stage.migrator, "settle", "web", "--keep", "n1", *word)
    assert kept.code == 0, kept.err


@pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy"])
async def test_a_copy_that_could_not_be_let_go_leaves_all_of_it_on_its_source(tidy: Stage, mode: str) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, mib=32)) as client:
        told = await move_and(tidy, CRIU_DIES, "--mode", mode)
        assert "container web died on n2 in its release: CRIU: " in told
        assert "migrator settle web --keep n2 (it starts cold), or --keep n1 (it goes on from its pause)" in told
        await keep_the_source(tidy)
        await client.more(20)  # over the same connection: its memory, its sockets and its network are as they were
    assert tidy.places("web") == [("n1", "running")]


async def test_where_criu_fails_and_then_hangs_the_source_keeps_its_memory(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 3, mib=32)
    began = tidy.ok("ct", "exec", "web", "--", "cat", "/proc/1/stat").out.split()[21]
    told = await move_and(tidy, NOBODY_HEARS)
    assert "in its release: CRIU: " in told
    assert "Failed sending restore finished indication" in told, told
    await keep_the_source(tidy)
    assert tidy.ok("ct", "exec", "web", "--", "cat", "/proc/1/stat").out.split()[21] == began
    async with CountingClient(ip) as client:
        await client.more(10)


async def test_a_copy_that_could_not_be_let_go_starts_cold_from_its_files_if_that_is_wanted(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 2, mib=32)
    await move_and(tidy, CRIU_DIES)
    kept = tidy.migrator("settle", "web", "--keep", "n2", "--word", "web on n1 is given up")
    assert kept.code == 0, kept.err
    assert tidy.places("web") == [("n2", "running")]
    async with CountingClient(ip) as client:
        await client.more(10)
