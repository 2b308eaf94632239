"""Nodes that lose power while a container is on the move, and what resume makes of it."""

from __future__ import annotations

import asyncio

from migrator.lab import lab as labs
from migrator.lab import network
from tests.lab.client import CountingClient
from tests.lab.hand import NODE, shell
from tests.lab.stage import Stage


async def test_a_source_that_dies_sealed_is_replaced_by_the_held_copy(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 1)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "sealed:end") == -9
        labs.crash(tidy.paths, "n1")
        labs.boot(tidy.paths, "n1")
        resumed = await asyncio.to_thread(tidy.migrator, "resume", tidy.last_run()["run"])
        assert resumed.code == 0, resumed.err
        await client.more(10)  # the same connection, over the death of the host it was on
    assert tidy.places("web") == [("n2", "running")]


def test_a_source_that_dies_fenced_starts_cold_from_its_files(tidy: Stage) -> None:
    tidy.counter("web", "n1", 2)
    assert tidy.kill_at("web", "n2", "fenced:end") == -9
    labs.crash(tidy.paths, "n1")
    labs.boot(tidy.paths, "n1")
    refused = tidy.migrator("ct", "start", "--all", "--node", "n1")
    assert refused.code == 4
    assert "on the move" in refused.out
    run = tidy.last_run()["run"]
    done = tidy.migrator("rollback", run)
    assert done.code == 0, done.err
    assert tidy.places("web") == [("n1", "running")]


def test_a_cold_start_that_was_cut_short_is_made_by_the_next_resume(tidy: Stage) -> None:
    tidy.counter("web", "n1", 12)
    assert tidy.kill_at("web", "n2", "fenced:end") == -9
    labs.crash(tidy.paths, "n1")
    labs.boot(tidy.paths, "n1")
    run = tidy.last_run()["run"]
    assert tidy.kill_resume(run, "reclaim") == -9
    assert tidy.places("web") == [("n1", "stopped"), ("n2", "reserved")]
    tidy.ok("rollback", run)
    assert tidy.places("web") == [("n1", "running")]


async def test_a_target_that_dies_before_its_release_gives_the_container_back(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 3)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "committed:end") == -9
        labs.crash(tidy.paths, "n2")
        run = tidy.last_run()["run"]
        stuck = await asyncio.to_thread(tidy.migrator, "resume", run)
        assert stuck.code == 5
        assert "stuck" in stuck.err
        labs.boot(tidy.paths, "n2")
        done = await asyncio.to_thread(tidy.migrator, "rollback", run)
        assert done.code == 0, done.err
        await client.more(10)
    assert tidy.places("web") == [("n1", "running")]
    assert tidy.last_run()["migrations"][0]["decision"] == "revoked"


async def test_a_target_that_dies_while_the_source_is_fenced_costs_a_pause(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 4)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "synced:end") == -9
        labs.crash(tidy.paths, "n2")
        run = tidy.last_run()["run"]
        debt = await asyncio.to_thread(tidy.migrator, "rollback", run)
        assert debt.code == 4, debt.err
        assert "not cleaned yet" in debt.err
        await client.more(10)
        labs.boot(tidy.paths, "n2")
        done = await asyncio.to_thread(tidy.migrator, "rollback", run)
        assert done.code == 0, done.err
        await client.more(5)
    assert tidy.places("web") == [("n1", "running")]


async def test_a_link_that_parts_in_the_pause_ends_with_the_source_running(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 5)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "fenced:end", 3) == -9
        network.set_link(tidy.paths, "n2", up=False)
        await client.more(5)
        network.set_link(tidy.paths, "n2", up=True)
        done = await asyncio.to_thread(tidy.migrator, "rollback", tidy.last_run()["run"])
        assert done.code == 0, done.err
    assert tidy.places("web") == [("n1", "running")]


def test_after_a_power_loss_one_command_starts_what_the_records_say(tidy: Stage) -> None:
    tidy.counter("web", "n1", 6)
    tidy.counter("off", "n1", 7)
    tidy.ok("ct", "stop", "off", "--grace", "0")
    labs.crash(tidy.paths, "n1")
    silent = tidy.ok("ct", "list", "--json").json()
    assert list(silent["no_answer"]) == ["n1"]
    labs.boot(tidy.paths, "n1")
    assert tidy.places("web") == [("n1", "down")]
    started = tidy.ok("ct", "start", "--all", "--node", "n1", "--json").json()
    assert started["containers"] == {"web": "runs"}
    assert tidy.places("web") == [("n1", "running")]
    assert tidy.places("off") == [("n1", "stopped")]


async def test_a_held_copy_is_not_released_when_the_criu_that_holds_it_was_killed(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 13)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "committed:end") == -9
        token = "$(sed -n s/^token=//p /var/lib/migrator/records/web)"
        # The runtime must not see it before the release does: both happen, by a few milliseconds.
        kill = "pkill -STOP -x runc; pkill -KILL -o -x criu"
        released = shell(tidy, "n2", f"{kill}; sh {NODE} release web {token}; code=$?; pkill -CONT -x runc; exit $code")
        assert (released.code, "the held copy of web has died" in released.err) == (12, True), released
        assert shell(tidy, "n2", "sed -n s/^state=//p /var/lib/migrator/records/web").out == "held\n"
        resumed = await asyncio.to_thread(tidy.migrator, "resume", tidy.last_run()["run"])
        assert resumed.code == 0, resumed.err
        await client.more(10)
    assert tidy.places("web") == [("n2", "running")]


async def test_a_held_copy_is_not_released_when_nobody_would_hear_its_criu_out(tidy: Stage) -> None:
    async with CountingClient(tidy.counter("web", "n1", 14)) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "committed:end") == -9
        assert shell(tidy, "n2", "kill -9 $(cat /run/migrator/move/web.*/listener)").code == 0
        resumed = await asyncio.to_thread(tidy.migrator, "resume", tidy.last_run()["run"])
        assert resumed.code == 0, resumed.err
        await client.more(10)
    assert tidy.places("web") == [("n2", "running")]
