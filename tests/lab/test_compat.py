"""Nodes that really differ: what is asked of them, what is refused for it, and what a waiver lets go all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

HIDE_A_FLAG = "sed 's/ sse4_2 / /' /proc/cpuinfo > /run/cpuinfo && mount --bind /run/cpuinfo /proc/cpuinfo"
OLDER_RUNC = (
    "mv /usr/sbin/runc /usr/sbin/runc.away && printf '%s\\n' '#!/bin/sh' "
    '\'[ "$1" != --version ] || { echo "runc version 1.0.0"; exit 0; }\' \'exec runc.away "$@"\' > /usr/sbin/runc && '
    "chmod 755 /usr/sbin/runc"
)


@pytest.fixture
def apart(tidy: Stage) -> Iterator[Stage]:
    """n2's CPU shows a feature less than n1's, and its runc is an older one, by what they tell."""
    tidy.on_node("n2", "sh", "-c", HIDE_A_FLAG)
    tidy.on_node("n2", "sh", "-c", OLDER_RUNC)
    try:
        yield tidy
    finally:
        tidy.on_node("n2", "umount", "/proc/cpuinfo")
        tidy.on_node("n2", "mv", "/usr/sbin/runc.away", "/usr/sbin/runc")


def test_nodes_of_one_machine_are_alike_and_tell_what_is_asked_of_them(tidy: Stage) -> None:
    document = tidy.ok("compat", "n1", "n2", "--json").json()
    (pair,) = document["pairs"]
    assert pair["fits"]
    checks = {check["check"]: check for check in pair["checks"]}
    assert {check["verdict"] for check in checks.values()} == {"same"}
    assert checks["criu-check"]["target"] == "works"
    for name in ("cpu-features", "cpu-state", "lsm", "filesystem-features", "kernel-features", "criu-version"):
        assert checks[name]["source"], name
    assert {"overlay", "idmap", "xattr"} <= set(checks["filesystem-features"]["source"].split(", "))
    left = tidy.on_node("n1", "sh", "-c", "ls -d /var/lib/migrator/.try.* /run/migrator/cpuinfo.* || :").out
    assert left.split() == []


async def test_what_differs_is_refused_by_name_and_moves_alive_once_it_is_waived(apart: Stage) -> None:
    async with CountingClient(apart.counter("web", "n1", 1, mib=16)) as client:
        refused = apart.migrator("compat", "n2", "--container", "web")
        assert refused.code == 3
        assert "its CPU lacks sse4_2" in refused.err
        waive = ("--waive", "cpu-features", "--waive", "runtime-version")
        apart.ok("compat", "n2", "--container", "web", *waive)
        for words in (("migrate", "web", "--to", "n2"), ("migrate", "web", "--to", "n2", *waive[:2])):
            done = await asyncio.to_thread(apart.migrator, *words)
            assert done.code == 3, done.err
            assert "or --waive runtime-version" in done.err
        await asyncio.to_thread(apart.ok, "rehearse", "web", "--to", "n2", *waive)
        done = await asyncio.to_thread(apart.ok, "migrate", "web", "--to", "n2", *waive)
        told = "waived: check cpu-features, check runtime-version"
        assert told in done.out
        await client.more(20)
    assert apart.places("web") == [("n2", "running")]
    run = apart.last_run()
    assert [waived["words"] for waived in run["waived"]] == ["check cpu-features", "check runtime-version"]
    assert told in apart.ok("show", run["run"]).out


async def test_a_plan_keeps_what_was_waived_and_one_without_it_can_be_given_it_when_it_is_applied(
    tidy: Stage, tmp_path
) -> None:
    plan = tmp_path / "plan.json"
    async with CountingClient(tidy.counter("web", "n1", 2)) as client:
        tidy.ok("plan", "move", "web", "--to", "n2", "-o", str(plan))
        tidy.on_node("n2", "sh", "-c", HIDE_A_FLAG)
        try:
            stale = tidy.migrator("apply", str(plan))
            assert (stale.code, "its CPU has no sse4_2" in stale.err) == (3, True), stale.err
            done = await asyncio.to_thread(tidy.ok, "apply", str(plan), "--waive", "cpu-features")
            assert "waived: check cpu-features" in done.out
        finally:
            tidy.on_node("n2", "umount", "/proc/cpuinfo")
        await client.more(10)
    assert tidy.places("web") == [("n2", "running")]
