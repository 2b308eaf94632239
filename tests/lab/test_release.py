"""A release that fails: CRIU dies after it was told to let the copy go. The source, which has all of it, is kept."""

from __future__ import annotations

import asyncio

import pytest

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

# On the target: stops CRIU when the copy is held, and kills it when it was told to let go, and could not.
KILL = """
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
kill -KILL $(cat "$move/criu")
"""


async def move_and_kill(stage: Stage, *mode: str) -> str:
    """What the move to n2 says, of which CRIU is killed in its release."""
    killing = asyncio.create_task(
        asyncio.to_thread(stage.on_node, "n2", "sh", "-c", KILL, "sh", "/run/migrator/move/web.2")
    )
    moved = await asyncio.to_thread(stage.migrator, "migrate", "web", "--to", "n2", *mode)
    assert (await killing).code == 0
    assert moved.code == 5, (moved.out, moved.err)
    return moved.err


@pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy"])
async def test_a_copy_that_could_not_be_let_go_leaves_all_of_it_on_its_source(tidy: Stage, mode: str) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, mib=32)) as client:
        told = await move_and_kill(tidy, "--mode", mode)
        assert "container web died on n2 in its release: CRIU: " in told
        assert "migrator settle web --keep n2 (it starts cold), or --keep n1 (it goes on from its pause)" in told
        assert sorted(tidy.places("web")) == [("n1", "sealed"), ("n2", "released")]
        for again in ("resume", "rollback"):
            done = await asyncio.to_thread(tidy.migrator, again, tidy.last_run()["run"])
            assert (done.code, "died on the target in its release" in done.err) == (5, True), done.err
        kept = await asyncio.to_thread(
            tidy.migrator, "settle", "web", "--keep", "n1", "--word", "web on n2 is given up"
        )
        assert kept.code == 0, kept.err
        await client.more(20)  # over the same connection: its memory, its sockets and its network are as they were
    assert tidy.places("web") == [("n1", "running")]


async def test_a_copy_that_could_not_be_let_go_starts_cold_from_its_files_if_that_is_wanted(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 2, mib=32)
    await move_and_kill(tidy)
    kept = tidy.migrator("settle", "web", "--keep", "n2", "--word", "web on n1 is given up")
    assert kept.code == 0, kept.err
    assert tidy.places("web") == [("n2", "running")]
    async with CountingClient(ip) as client:
        await client.more(10)
