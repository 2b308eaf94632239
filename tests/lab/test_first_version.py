"""Nodes whose cgroup controllers are of version 1: limits that the kernel keeps, moves there and back and to version 2.

n1 has the second version's tree beside the first's hierarchies, n2 the first version alone, n3 the second alone (on
this machine without controllers, for the first has them).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from migrator.lab import cgroup
from migrator.lab import lab as labs
from migrator.lab.guard import start_guard
from migrator.lab.paths import LabPaths
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

CGROUPS = ("hybrid", "legacy", "v2")
SMALL = ("--memory", "64M", "--swap", "0", "--pids", "40", "--cpus", "0.3")
TREES = {"n1": "/sys/fs/cgroup/unified", "n2": "/run/migrator/tree", "n3": "/sys/fs/cgroup"}
TAKES = "import os; print(len(os.urandom({} << 20)))"
# Begins processes until it may not, and tells how many.
FORKS = """
import os, signal
begun = []
try:
    while len(begun) < 200:
        if not (pid := os.fork()):
            signal.pause()
        begun.append(pid)
except OSError:
    pass
for pid in begun:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
print(len(begun))
"""
BREAK_RESTORE = (
    'printf \'#!/bin/sh\\n[ "$*" != "-batch -" ] || exit 1\\nexec /sbin/ip "$@"\\n\' > /usr/local/sbin/ip; '
    "chmod 755 /usr/local/sbin/ip"
)

pytestmark = pytest.mark.skipif(
    not any(each.controllers == "memory" for each in cgroup.hierarchies()),
    reason="this machine mounts no cgroup v1 hierarchies, so no node can have some",
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    paths = LabPaths.of(f"g{os.getpid()}")
    guard = start_guard(paths.name)
    try:
        spec = labs.up(paths, len(CGROUPS), cgroups=CGROUPS)
        yield Stage(paths, spec, tmp_path_factory.mktemp("journal") / "journal.db")
    finally:
        labs.down(paths)
        guard.dismiss()
        left = [str(group) for each in cgroup.hierarchies() if (group := paths.cgroup(each.mount)).exists()]
        assert left == []


@pytest.fixture
def old(mixed: Stage) -> Iterator[Stage]:
    mixed.begin()
    yield mixed
    mixed.boot_all()
    mixed.remove_all()
    assert mixed.leftovers() == []


def memory_is_taken(stage: Stage, name: str, mib: int) -> bool:
    """Whether a program in it gets that much: who takes more than the limit is killed."""
    done = stage.migrator("ct", "exec", name, "--", "python3", "-c", TAKES.format(mib))
    assert done.code in (0, 137), done.err
    return done.code == 0


def assert_limited(stage: Stage, name: str) -> None:
    assert not memory_is_taken(stage, name, 100)
    assert 10 < int(stage.ok("ct", "exec", name, "--", "python3", "-c", FORKS).out) < 40


def groups_of(stage: Stage, node: str, name: str) -> dict[str, bool]:
    """Each of the container's groups on a node, and whether its first process is in it."""
    look = f"""first=$(head -n 1 {TREES[node]}/ct/{name}/cgroup.procs)
        for group in /sys/fs/cgroup/*/ct/{name} {TREES[node]}/ct/{name}; do
            [ -d $group ] || continue
            grep -qx "$first" $group/cgroup.procs && echo $group yes || echo $group no
        done"""
    return {line.split()[0]: line.endswith("yes") for line in stage.on_node(node, "sh", "-c", look).out.splitlines()}


@pytest.mark.parametrize("runtime", ["runc", "crun"])
async def test_it_is_limited_and_keeps_its_connection_there_and_back(old: Stage, runtime: str) -> None:
    async with CountingClient(old.counter("web", "n1", 1, more=(*SMALL, "--runtime", runtime))) as client:
        inside = old.ok("ct", "exec", "web", "--", "cat", "/proc/1/cgroup").out
        assert inside.endswith("0::/\n") and "/ct" not in inside
        assert_limited(old, "web")
        for target in ("n2", "n1"):
            await asyncio.to_thread(old.ok, "migrate", "web", "--to", target)
            await client.more(10)
            assert_limited(old, "web")
            groups = groups_of(old, target, "web")
            assert len(groups) > 5 and all(groups.values()), groups
            assert old.ok("ct", "exec", "web", "--", "cat", "/proc/1/cgroup").out == inside


def test_limits_are_changed_while_it_runs_and_their_kills_are_told(old: Stage) -> None:
    old.counter("web", "n2", 1, more=SMALL)
    assert not memory_is_taken(old, "web", 100)
    (row,) = old.ok("ct", "list", "--json").json()["containers"]
    assert row["pressure"]["oom_kills"] >= 1
    old.ok("ct", "set", "web", "--memory", "200M", "--pids", "80")
    assert memory_is_taken(old, "web", 100)
    assert 40 < int(old.ok("ct", "exec", "web", "--", "python3", "-c", FORKS).out) < 80
    old.ok("migrate", "web", "--to", "n1")
    assert memory_is_taken(old, "web", 100)
    assert not memory_is_taken(old, "web", 300)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
async def test_its_memory_goes_by_every_way_that_this_kernel_has(old: Stage, runtime: str) -> None:
    async with CountingClient(old.counter("web", "n1", 1, mib=16, more=("--runtime", runtime))) as client:
        await asyncio.to_thread(old.ok, "rehearse", "web", "--to", "n2")
        await asyncio.to_thread(old.ok, "migrate", "web", "--to", "n2", "--mode", "post-copy")
        await client.more(10)
        old.on_node("n1", "mv", "/usr/bin/python3", "/usr/bin/python3.away")
        try:
            await asyncio.to_thread(old.ok, "migrate", "web", "--to", "n1")
        finally:
            old.on_node("n1", "mv", "/usr/bin/python3.away", "/usr/bin/python3")
        await client.more(10)
        old.ok("migrate", "web", "--to", "n2", "--mode", "restart")
    assert all(groups_of(old, "n2", "web").values())


@pytest.mark.parametrize("runtime", ["runc", "crun"])
async def test_a_restore_that_fails_leaves_it_running_and_no_group_on_the_target(old: Stage, runtime: str) -> None:
    async with CountingClient(old.counter("web", "n1", 1, more=(*SMALL, "--runtime", runtime))) as client:
        old.on_node("n2", "sh", "-c", BREAK_RESTORE)
        try:
            done = await asyncio.to_thread(old.migrator, "migrate", "web", "--to", "n2")
        finally:
            old.on_node("n2", "rm", "/usr/local/sbin/ip")
        assert (done.code, "container web runs on n1 as before" in done.err) == (4, True), done.err
        await client.more(10)
        assert old.on_node("n2", "sh", "-c", "ls -d /sys/fs/cgroup/*/ct/web /run/migrator/tree/ct/web").out == ""
        assert await asyncio.to_thread(old.kill_at, "web", "n2", "verified:end") == -9
        await asyncio.to_thread(old.ok, "rollback", old.last_run()["run"])
        await client.more(10)
    assert_limited(old, "web")


async def test_a_node_is_drained_of_a_container_and_its_twin(old: Stage) -> None:
    ip = old.counter("web", "n2", 1, more=SMALL)
    async with CountingClient(ip) as client:
        await asyncio.to_thread(old.ok, "ct", "clone", "web", "twin", "--live", "--ip", old.ip(2))
        async with CountingClient(old.ip(2)) as other:
            await client.more(10)
            assert all(groups_of(old, "n2", "twin").values())
            assert not memory_is_taken(old, "twin", 100)
            done = await asyncio.to_thread(
                old.migrator, "drain", "n2", "--yes", "--json", "--waive", "cgroup-controllers"
            )
            assert (done.code, done.json()["empty"]) == (0, ["n2"]), done.err
            await client.more(10)
            await other.more(10)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
async def test_it_goes_to_a_node_with_version_2_and_back_into_its_limits(old: Stage, runtime: str) -> None:
    async with CountingClient(old.counter("web", "n1", 1, more=(*SMALL, "--runtime", runtime))) as client:
        waive = ("--waive", "cgroup-controllers")  # which the first version has, here
        for target in ("n3", "n2"):
            await asyncio.to_thread(old.ok, "migrate", "web", "--to", target, *waive)
            await client.more(10)
    assert_limited(old, "web")
    assert all(groups_of(old, "n2", "web").values())


def test_it_is_stopped_and_started_and_what_needs_version_2_is_refused(old: Stage) -> None:
    old.counter("web", "n1", 1, more=SMALL)
    old.ok("ct", "stop", "web")
    assert groups_of(old, "n1", "web") == {}
    old.ok("ct", "start", "web")
    assert_limited(old, "web")
    init = old.migrator(
        "ct", "create", "x", "--node", "n1", "--template", "debian", "--ip", old.ip(2), "--init", "systemd"
    )
    assert (init.code, "--init systemd: node n1: " in init.err) == (3, True), init.err
    taken = old.migrator("ct", "adopt", "n1", "plain")
    assert (taken.code, "containers are adopted on version 2 alone" in taken.err) == (3, True), taken.err


def test_what_it_may_take_of_a_disk_is_held_where_it_comes_to(old: Stage) -> None:
    old.counter("web", "n1", 1)
    old.ok("ct", "set", "web", "--io-weight", "200")
    limited = old.migrator("ct", "set", "web", "--io", "write=4M")
    old.ok("migrate", "web", "--to", "n2")
    look = "cd /sys/fs/cgroup/blkio/ct/web && cat blkio.bfq.weight blkio.weight; cat blkio.throttle.write_bps_device"
    held = old.on_node("n2", "sh", "-c", look)
    assert held.out.startswith("200\n") or held.err.count("weight") == 2, held  # a kernel may know no weights
    if limited.code == 3:
        assert "--io: node n1 cannot limit it" in limited.err  # its files are on no disk
        return
    assert limited.code == 0, limited.err
    assert held.out.endswith(" 4194304\n")
