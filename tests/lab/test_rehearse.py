"""Rehearsals on real nodes: everything of a move but its end."""

from __future__ import annotations

import asyncio

from tests.lab.client import CountingClient
from tests.lab.stage import Stage


async def test_a_rehearsal_shows_that_a_move_would_work_and_leaves_the_container_where_it_is(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, mib=32)) as client:
        done = await asyncio.to_thread(tidy.migrator, "rehearse", "web", "--to", "n2")
        assert done.code == 0, done.err
        assert "rehearsal: web stays on n1 and pauses there for up to about" in done.err
        assert "container web can be moved to n2; it runs on n1 as before" in done.out
        assert "shown by stop-and-copy, as a move would be" in done.out
        await client.more(20)
        assert tidy.places("web") == [("n1", "running")]
        migration = tidy.last_run()["migrations"][0]
        reached = [event["state"] for event in migration["events"] if event["phase"] == "end"]
        assert reached[-3:] == ["verified", "aborted", "rolled-back"]
        assert 0 < migration["blackout_ms"] < 15_000
        assert tidy.ok("runs", "--json").json()["runs"][0]["outcome"] == "rehearsed"
        await asyncio.to_thread(tidy.ok, "migrate", "web", "--to", "n2")
        await client.more(20)


async def test_a_rehearsed_copy_has_a_name_that_no_container_can_have_until_it_is_gone(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 4)):
        await asyncio.to_thread(tidy.kill_at, "web", "n2", "verified:end", mode="rehearsal")
        names = ("ls", "/run/migrator/runc")
        assert tidy.on_node("n2", *names).out.split() == ["web.rehearsal"]
        await asyncio.to_thread(tidy.ok, "resume", tidy.last_run()["run"])
        assert tidy.on_node("n2", *names).out.split() == []
        assert tidy.on_node("n1", *names).out.split() == ["web"]


def test_a_rehearsal_tells_what_a_move_would_fail_by(tidy: Stage) -> None:
    tidy.counter("web", "n1", 2)
    tidy.on_node("n2", "sh", "-c", "mv /usr/sbin/criu /usr/sbin/criu.away")
    try:
        done = tidy.migrator("rehearse", "web", "--to", "n2")
    finally:
        tidy.on_node("n2", "sh", "-c", "mv /usr/sbin/criu.away /usr/sbin/criu")
    assert done.code == 3, (done.code, done.err)
    assert tidy.places("web") == [("n1", "running")]


async def test_whoever_resumes_a_rehearsal_moves_nothing(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 3)) as client:
        killed = await asyncio.to_thread(tidy.kill_at, "web", "n2", "verified:end", mode="rehearsal")
        assert killed == -9
        run = tidy.last_run()["run"]
        resumed = await asyncio.to_thread(tidy.migrator, "resume", run)
        assert resumed.code == 0, resumed.err
        await client.more(10)
    assert tidy.places("web") == [("n1", "running")]


def test_a_plan_that_names_another_node_than_the_container_is_on_is_not_rehearsed_from_there(tidy: Stage) -> None:
    tidy.counter("web", "n1", 5)
    plan = tidy.journal.with_name("plan.json")
    tidy.ok("plan", "move", "web=n2", "-o", str(plan))
    tidy.ok("migrate", "web", "--to", "n3")
    done = tidy.migrator("rehearse", "--plan", str(plan))
    assert (done.code, "web is on n3, and not on n1 as planned" in done.err) == (3, True), done.err
