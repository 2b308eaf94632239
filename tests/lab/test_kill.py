"""The orchestrator killed with SIGKILL in every state, and what follows: resume, or the watchdog alone."""

from __future__ import annotations

import asyncio

import pytest

from migrator.protocol.states import FORWARD, State
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

MOMENTS = [
    f"{state}:{phase}"
    for state in FORWARD[1:]
    for phase in (("end",) if state is State.COMMITTED else ("begin", "end"))
]


# Every fourth in `make test`; `make test-full` and `make chaos` have them all.
@pytest.mark.parametrize(
    "moment",
    [moment if n % 4 == 0 else pytest.param(moment, marks=pytest.mark.full) for n, moment in enumerate(MOMENTS)],
)
async def test_resume_after_a_kill_leaves_one_running_copy_and_the_connection(tidy: Stage, moment: str) -> None:
    ip = tidy.counter("web", "n1", 1)
    async with CountingClient(ip) as client:
        code = await asyncio.to_thread(tidy.kill_at, "web", "n2", moment)
        assert code == -9
        run = tidy.last_run()["run"]
        resumed = await asyncio.to_thread(tidy.migrator, "resume", run)
        assert resumed.code == 0, resumed.err
        await client.more(10)
        assert tidy.places("web") == [("n2", "running")]
        again = await asyncio.to_thread(tidy.migrator, "resume", run)
        assert again.code == 0, again.err
        assert tidy.places("web") == [("n2", "running")]
        await client.more(5)


@pytest.mark.parametrize("moment", ["fenced:end", "dumped:end", "restored:end"])
async def test_without_an_orchestrator_the_watchdog_gives_the_container_back(tidy: Stage, moment: str) -> None:
    ip = tidy.counter("web", "n1", 2)
    async with CountingClient(ip) as client:
        code = await asyncio.to_thread(tidy.kill_at, "web", "n2", moment, 3)
        assert code == -9
        await client.more(5)  # nobody resumes; the connection goes on by itself
        assert ("n1", "running") in tidy.places("web")
        rolled_back = await asyncio.to_thread(tidy.migrator, "rollback", tidy.last_run()["run"])
        assert rolled_back.code == 0, rolled_back.err
        await client.more(5)
        assert tidy.places("web") == [("n1", "running")]
        assert tidy.last_run()["migrations"][0]["blackout_ms"] > 0  # by the word of the node: nobody else was there


async def test_rollback_before_the_commit_brings_a_sealed_source_back(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 3)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "sealed:end") == -9
        done = await asyncio.to_thread(tidy.migrator, "rollback", tidy.last_run()["run"])
        assert done.code == 0, done.err
        await client.more(10)
        assert tidy.places("web") == [("n1", "running")]
