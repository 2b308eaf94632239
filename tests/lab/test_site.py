"""A site's hooks around real migrations: one that refuses, one whose caller dies, and one that moves a route."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.client import CountingClient
from tests.lab.stage import COUNTER, Outcome, Stage

BRIDGE = "br9"


def with_hook(stage: Stage, script: str, more: str = "", bridge: str = "br0") -> Path:
    """A cluster file whose one hook is this script; what it is told is appended to a file first."""
    hook, told = stage.journal.with_name("hook"), stage.journal.with_name("told")
    hook.write_text(f"#!/bin/sh\ndocument=$(cat)\nprintf '%s\\n' \"$document\" >> {told}\n{script}\n")
    hook.chmod(0o755)
    told.unlink(missing_ok=True)
    text = stage.paths.cluster_file.read_text().replace("bridge: br0", f"bridge: {bridge}")
    moments = "[before_commit, after_release, after_rollback]"
    path = stage.journal.with_name("site.yaml")
    path.write_text(f"{text}{more}hooks:\n- {{argv: [{hook}], when: {moments}, timeout: 20}}\n")
    return path


def told(stage: Stage) -> list[tuple[str, str]]:
    lines = stage.journal.with_name("told").read_text().splitlines()
    documents: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [(document["phase"], document["node"]) for document in documents]


async def in_thread(stage: Stage, cluster: Path, *words: str) -> Outcome:
    return await asyncio.to_thread(stage.migrator, *words, cluster=str(cluster))


async def test_a_site_that_refuses_costs_a_pause_and_no_connection(tidy: Stage) -> None:
    cluster = with_hook(tidy, 'case $document in *before_commit*) echo "not now"; exit 1 ;; esac')
    ip = tidy.counter("web", "n1", 1)
    async with CountingClient(ip) as client:
        done = await in_thread(tidy, cluster, "migrate", "web", "--to", "n2")
        assert done.code == 4
        assert "ended with 1: not now; container web runs on n1 as before" in done.err
        await client.more(20)
    assert told(tidy) == [("before_commit", "n2"), ("after_rollback", "n1")]
    assert tidy.places("web") == [("n1", "running")]


async def test_a_site_that_does_not_hear_of_the_release_is_a_warning_and_the_move_is_done(tidy: Stage) -> None:
    cluster = with_hook(tidy, "case $document in *after_release*) exit 1 ;; esac")
    tidy.counter("web", "n1", 2)
    done = await in_thread(tidy, cluster, "migrate", "web", "--to", "n2", "--json")
    assert done.code == 0, done.err
    (warning,) = done.json()["migrations"][0]["warnings"]
    assert "container web: after_release: hook " in warning
    assert "nothing calls it again" in warning
    assert "warning: container web: after_release" in tidy.ok("show", done.json()["run"]).err
    assert tidy.places("web") == [("n2", "running")]


async def test_an_orchestrator_that_dies_in_a_hook_costs_nothing_and_the_site_is_told_by_who_comes_after(
    tidy: Stage,
) -> None:
    began = tidy.journal.with_name("began")
    began.unlink(missing_ok=True)
    os.mkfifo(began)
    cluster = with_hook(tidy, f"case $document in *before_commit*) echo $$ > {began}; exec sleep 600 ;; esac")
    ip = tidy.counter("web", "n1", 3)
    async with CountingClient(ip) as client:
        process = tidy.start("--cluster", str(cluster), "migrate", "web", "--to", "n2")
        hook = int(await asyncio.to_thread(began.read_text))
        process.kill()
        await asyncio.to_thread(process.communicate, timeout=60)
        os.kill(hook, signal.SIGKILL)
        ended = await in_thread(tidy, cluster, "rollback", tidy.last_run()["run"])
        assert ended.code == 0, ended.err
        await client.more(20)
    assert told(tidy) == [("before_commit", "n2"), ("after_rollback", "n1")]
    assert tidy.places("web") == [("n1", "running")]


@contextmanager
def routed(stage: Stage, address: str, gateway: str) -> Iterator[None]:
    """Nodes 1 and 2 with a bridge each that reaches its node alone, which routes; and this machine's way there."""
    link = stage.spec.subnet.host_link
    make = (
        f"ip link add {BRIDGE} type bridge && ip address add {gateway}/24 dev {BRIDGE} && ip link set {BRIDGE} up && "
        "echo 1 > /proc/sys/net/ipv4/ip_forward"
    )
    for node in ("n1", "n2"):
        assert stage.on_node(node, "sh", "-c", make).code == 0
    way = ["ip", "route", "replace", address, "via", stage.spec.ip("n1"), "dev", link]
    subprocess.run(way, check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", address, "dev", link], check=False, timeout=10)
        for node in ("n1", "n2"):
            stage.migrator("ct", "destroy", "web", "--force", "--yes")
            stage.on_node(node, "sh", "-c", f"ip link del {BRIDGE}; echo 0 > /proc/sys/net/ipv4/ip_forward")


async def test_a_connection_survives_where_nodes_share_no_network_and_a_hook_moves_the_route(tidy: Stage) -> None:
    address, gateway = (f"198.18.{tidy.spec.subnet_index}.{last}" for last in (5, 1))
    # sed takes the one word that the site needs out of the document, as it is written on one line.
    moves = (
        'to=$(printf %s "$document" | sed \'s/.*"node_address": "\\([0-9.]*\\)".*/\\1/\')\n'
        f"ip route replace {address} via $to dev {tidy.spec.subnet.host_link}"
    )
    cluster = with_hook(tidy, moves, "network: routed\n", BRIDGE)
    apart = cluster.with_name("apart.yaml")
    apart.write_text(cluster.read_text().replace("network: routed\n", ""))
    words = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", address, "--gateway", gateway)
    with routed(tidy, address, gateway):
        made = await in_thread(tidy, cluster, *words, "--", "python3", "-c", COUNTER, "8")
        assert made.code == 0, made.err
        async with CountingClient(address) as client:
            refused = await in_thread(tidy, apart, "migrate", "web", "--to", "n2")
            assert refused.code == 3
            assert "the nodes share no network for it" in refused.err
            done = await in_thread(tidy, cluster, "migrate", "web", "--to", "n2")
            assert done.code == 0, done.err
            await client.more(20)
    assert told(tidy) == [("before_commit", "n2"), ("after_release", "n2")]
