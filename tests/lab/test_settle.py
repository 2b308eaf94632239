"""When nobody can know: stuck containers, journals that are old or lost, and the operator who settles it in writing."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from migrator.lab import lab as labs
from tests.lab.client import CountingClient
from tests.lab.stage import Stage


def backup(stage: Stage, path: Path) -> Stage:
    """The stage with a copy of its journal as it is now."""
    with closing(sqlite3.connect(stage.journal)) as now, closing(sqlite3.connect(path)) as copy:
        now.backup(copy)
    return replace(stage, journal=path)


async def test_a_target_that_is_gone_for_good_is_settled_by_the_operators_word(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 11)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "committed:end") == -9
        labs.crash(tidy.paths, "n2")
        run = tidy.last_run()["run"]
        assert (await asyncio.to_thread(tidy.migrator, "resume", run)).code == 5
        shown = tidy.ok("show", run).out
        command = 'migrator settle web --keep n1 --word "n2 is off"'
        assert command in shown
        assert "record sealed" in shown
        unsaid = tidy.migrator("settle", "web", "--keep", "n1")
        assert (unsaid.code, command in unsaid.err) == (3, True)
        assert tidy.migrator("settle", "web", "--keep", "n2", "--fenced", "n1").code == 3  # it does not answer
        said = await asyncio.to_thread(tidy.migrator, "settle", "web", "--keep", "n1", "--word", "n2 is off")
        assert (said.code, "runs on n1 as settled; n2 does not answer" in said.err) == (4, True), said.err
        await client.more(10)
        assert ("n1", "running") in tidy.places("web")
        events = tidy.last_run()["migrations"][0]["events"]
        (decided,) = [e for e in events if e["state"] == "settled" and "kept" not in e["data"]]
        assert (decided["data"]["keep"], decided["data"]["word"]) == ("n1", "n2 is off")
        labs.boot(tidy.paths, "n2")
        assert "on the move" in tidy.migrator("ct", "start", "--all", "--node", "n2").out
        tidy.ok("resume", run)
        assert tidy.places("web") == [("n1", "running")]
        before = tidy.journal.read_bytes(), tidy.last_run()
        tidy.ok("resume", run)
        assert (tidy.journal.read_bytes(), tidy.last_run()) == before
        await client.more(5)
    tidy.ok("migrate", "web", "--to", "n2")


async def test_a_source_that_is_gone_for_good_gives_way_to_the_held_copy(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 12)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "sealed:end") == -9
        labs.crash(tidy.paths, "n1")
        run = tidy.last_run()["run"]
        stuck = await asyncio.to_thread(tidy.migrator, "resume", run)
        assert (stuck.code, "may be sealed" in stuck.err) == (5, True), stuck.err
        said = await asyncio.to_thread(tidy.migrator, "settle", "web", "--keep", "n2", "--fenced", "n1")
        assert said.code == 4, said.err
        await client.more(10)
        labs.boot(tidy.paths, "n1")
        tidy.ok("resume", run)
        await client.more(5)
    assert tidy.places("web") == [("n2", "running")]


def test_a_commit_that_cost_both_memories_starts_cold_where_the_operator_says(tidy: Stage) -> None:
    tidy.counter("web", "n1", 13)
    assert tidy.kill_at("web", "n2", "committed:end") == -9
    for node in ("n1", "n2"):
        labs.crash(tidy.paths, node)
        labs.boot(tidy.paths, node)
    run = tidy.last_run()["run"]
    assert tidy.migrator("resume", run).code == 5
    tidy.ok("settle", "web", "--keep", "n2")
    assert tidy.places("web") == [("n2", "running")]
    assert tidy.migrator("settle", "web", "--keep", "n1").code == 3  # it is at rest


async def test_a_journal_from_a_backup_is_noticed_and_settles_nothing(tidy: Stage, tmp_path: Path) -> None:
    ip = tidy.counter("web", "n1", 14)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "seeded:end") == -9
        run = tidy.last_run()["run"]
        old = backup(tidy, tmp_path / "old.db")
        tidy.ok("resume", run)
        shutil.copy(old.journal, tmp_path / "before.db")
        for command in ("resume", "rollback"):
            refused = await asyncio.to_thread(old.migrator, command, run)
            assert (refused.code, "older than the world" in refused.err) == (5, True), refused.err
        assert old.journal.read_bytes() == (tmp_path / "before.db").read_bytes()
        assert "verdict: stale" in old.ok("show", run).out
        assert tidy.places("web") == [("n2", "running")]
        old.ok("settle", "web", "--keep", "n2")  # if the newer one is lost
        await client.more(5)
    assert tidy.places("web") == [("n2", "running")]
    tidy.ok("migrate", "web", "--to", "n1")


async def test_with_its_journal_lost_a_container_is_settled_by_a_run_of_its_own(tidy: Stage, tmp_path: Path) -> None:
    ip = tidy.counter("web", "n1", 15)
    lost = replace(tidy, journal=tmp_path / "lost.db")
    new = replace(tidy, journal=tmp_path / "new.db")
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(lost.kill_at, "web", "n2", "sealed:end") == -9
        word = "web on n1 is given up"
        assert word in new.migrator("settle", "web", "--keep", "n2").err
        told = await asyncio.to_thread(new.migrator, "settle", "web", "--keep", "n2", "--word", word)
        assert told.code == 0, told.err
        await client.more(10)
    assert tidy.places("web") == [("n2", "running")]
    assert new.last_run()["intent"] == "settle web, keep n2"
    assert lost.migrator("resume", lost.last_run()["run"]).code == 5


def test_a_copy_that_runs_is_stopped_only_if_the_operator_gives_it_up(tidy: Stage, tmp_path: Path) -> None:
    tidy.counter("web", "n1", 16)
    lost = replace(tidy, journal=tmp_path / "lost.db")
    new = replace(tidy, journal=tmp_path / "new.db")
    assert lost.kill_at("web", "n2", "released:end") == -9
    assert new.migrator("settle", "web", "--keep", "n1").code == 3
    new.ok("settle", "web", "--keep", "n1", "--word", "web on n2 is given up")
    assert tidy.places("web") == [("n1", "running")]
    tidy.ok("migrate", "web", "--to", "n2")


async def test_cancel_stops_the_process_that_works_on_a_run(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 17)
    async with CountingClient(ip) as client:
        with tidy.start("migrate", "web", "--to", "n2") as worker:
            assert worker.stderr
            assert worker.stdout
            assert "leased" in await asyncio.to_thread(worker.stderr.readline)
            worker.send_signal(signal.SIGSTOP)  # so that it is not done before the order comes
            run = tidy.last_run()["run"]
            with tidy.start("cancel", run) as cancel:
                assert cancel.stderr
                assert cancel.stdout
                told = await asyncio.to_thread(cancel.stderr.readline)
                assert f"process {worker.pid} was asked to stop" in told
                worker.send_signal(signal.SIGCONT)
                cancel.communicate(timeout=60)
                assert cancel.returncode == 0
            worker.communicate(timeout=60)
            assert worker.returncode == 4
        await client.more(5)
    assert tidy.last_run()["outcome"] == "rolled back"
    assert tidy.places("web") == [("n1", "running")]
    assert tidy.migrator("cancel", run).code == 0  # and again


async def test_a_source_that_is_kept_after_its_target_was_released_tells_the_network_where_it_is(tidy: Stage) -> None:
    tidy.counter("web", "n1", 18)
    assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "released:end") == -9
    labs.crash(tidy.paths, "n2")
    assert tidy.migrator("settle", "web", "--keep", "n1", "--fenced", "n2").code == 4
    mac = "sed -n 's/^mac //p' /var/lib/migrator/containers/web/net"
    port = "sed -n 's/^veth //p' /var/lib/migrator/containers/web/net"
    learnt = f'bridge fdb show br br0 | grep -iq "^$({mac}) dev $({port}) "'
    loop = f"i=0; until {learnt}; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done"
    seen = tidy.on_node("n1", "sh", "-c", loop)
    assert seen.code == 0, tidy.on_node("n1", "bridge", "fdb", "show", "br", "br0").out
    labs.boot(tidy.paths, "n2")
    tidy.ok("resume", tidy.last_run()["run"])
