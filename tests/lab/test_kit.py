"""The node's verbs when replies are lost, locks are busy, files are full: asked again, they are true."""

from __future__ import annotations

import asyncio

from migrator.transport import kit
from tests.lab.client import CountingClient
from tests.lab.stage import Outcome, Stage

NODE = f"{kit.directory()}/node"
FROZEN = "grep -q 'frozen 1' /sys/fs/cgroup/ct/web/cgroup.events"


def verb(stage: Stage, node: str, *words: str) -> Outcome:
    return stage.on_node(node, "sh", NODE, *words)


def seeded(stage: Stage, number: int, blackout_s: float = 15) -> str:
    """A container whose orchestrator was killed right before the fence; its token is 2."""
    ip = stage.counter("web", "n1", number)
    assert stage.kill_at("web", "n2", "seeded:end", blackout_s) == -9
    return ip


def test_a_fence_whose_reply_nobody_reads_is_whole(tidy: Stage) -> None:
    seeded(tidy, 1)
    tidy.on_node("n1", "sh", "-c", f"(sleep 0.3; sh {NODE} fence web 2 60) | true")
    tidy.on_node("n1", "sh", "-c", f"i=0; until {FROZEN} || [ $i -gt 200 ]; do i=$((i+1)); sleep 0.05; done")
    assert tidy.on_node("n1", "sh", "-c", FROZEN).code == 0
    again = verb(tidy, "n1", "fence", "web", "2", "60")
    assert (again.code, "fenced now" in again.out) == (0, True)


def test_a_fence_that_came_only_half_way_is_done_again_and_never_sealed_as_it_is(tidy: Stage) -> None:
    seeded(tidy, 2)
    assert verb(tidy, "n1", "fence", "web", "2", "60").code == 0
    tidy.on_node("n1", "sh", "-c", "echo 0 > /sys/fs/cgroup/ct/web/cgroup.freeze")
    refused = verb(tidy, "n1", "seal", "web", "2")
    assert (refused.code, "not frozen" in refused.err) == (12, True)
    assert verb(tidy, "n1", "fence", "web", "2", "60").code == 0
    assert tidy.on_node("n1", "sh", "-c", FROZEN).code == 0
    assert verb(tidy, "n1", "seal", "web", "2").code == 0


async def test_a_watchdog_waits_for_a_busy_lock_and_then_does_its_work(tidy: Stage) -> None:
    ip = await asyncio.to_thread(seeded, tidy, 3)
    async with CountingClient(ip) as client:
        # Longer than any verb waits for the lock; the fence's deadline falls into it.
        busy = f"sh {NODE} fence web 2 1; exec 9>/var/lib/migrator/lock; flock 9; sleep 23"
        await asyncio.to_thread(tidy.on_node, "n1", "sh", "-c", busy, timeout_s=60)
        await client.more(5)


def test_an_older_token_changes_nothing(tidy: Stage) -> None:
    seeded(tidy, 4)
    for words in (("fence", "web", "1", "60"), ("seal", "web", "1"), ("thaw", "web", "1"), ("retire", "web", "1")):
        refused = verb(tidy, "n1", *words)
        assert refused.code == 10, words
        assert "held by run" in refused.err
    for words in (("release", "web", "1"), ("discard-target", "web", "1"), ("settle", "web", "1", "2")):
        assert verb(tidy, "n2", *words).code == 10, words


def test_a_full_disk_never_costs_the_operator_his_keys(tidy: Stage) -> None:
    seeded(tidy, 5)
    full = (
        "cp -a /root/.ssh /tmp/keys && mount -t tmpfs -o size=16k tmpfs /root/.ssh && cp -a /tmp/keys/. /root/.ssh/ && "
        "head -c 65536 /dev/zero > /root/.ssh/fill; wc -l < /root/.ssh/authorized_keys"
    )
    before = tidy.on_node("n2", "sh", "-c", full).out.strip()
    failed = verb(tidy, "n2", "discard-target", "web", "2")
    after = tidy.on_node("n2", "sh", "-c", "wc -l < /root/.ssh/authorized_keys; umount /root/.ssh").out.strip()
    assert failed.code != 0
    assert after == before


def test_the_migrations_key_does_nothing_but_receive(tidy: Stage) -> None:
    seeded(tidy, 6)
    for asked in (
        "id",
        "rsync --server -s . files",
        "rsync --server --daemon . files",
        "rsync --server -vlogDtpre.iLsfxCIvu . /etc",
    ):
        refused = tidy.on_node("n2", "sh", f"{kit.directory()}/receive", "web", "2", asked)
        assert refused.code == 10, (asked, refused)


def test_names_that_begin_alike_are_kept_apart(tidy: Stage) -> None:
    tidy.counter("web", "n1", 7)
    tidy.counter("web-1", "n1", 8)
    assert tidy.kill_at("web-1", "n2", "restored:end") == -9
    tidy.ok("migrate", "web", "--to", "n2")
    run = next(r["run"] for r in tidy.ok("runs", "--json").json()["runs"] if r["outcome"] == "unfinished")
    tidy.ok("resume", run)
    assert tidy.places("web") == [("n2", "running")]
    assert tidy.places("web-1") == [("n2", "running")]
    dotted = tidy.migrator("migrate", "web.1", "--to", "n3")
    assert dotted.code == 2


def test_a_slow_criu_is_not_taken_for_a_dead_one(tidy: Stage) -> None:
    """The runtime asks one CRIU for its version and restores with another; on a busy node both take their time."""
    slow = '#!/bin/sh\ncase $1 in swrk) sleep 0.8 ;; esac\nexec /usr/sbin/criu "$@"\n'
    tidy.counter("web", "n1", 9)
    put = "cat > /usr/local/sbin/criu && chmod 755 /usr/local/sbin/criu"
    assert tidy.on_node("n2", "sh", "-c", put, stdin=slow).code == 0
    try:
        done = tidy.migrator("migrate", "web", "--to", "n2")
    finally:
        tidy.on_node("n2", "rm", "-f", "/usr/local/sbin/criu")
    assert done.code == 0, done.err
    assert tidy.places("web") == [("n2", "running")]
