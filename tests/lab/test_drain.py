"""Draining a node: several at once, with rules, with failures, and with an orchestrator that dies in the middle."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

KILL_DRAIN = Path(__file__).parent / "kill_drain.py"


async def test_a_drain_empties_the_node_under_every_client(tidy: Stage) -> None:
    names = ["web-a", "web-b", "tick"]
    ips = []
    for number, name in enumerate(names):
        more = ("--label", "anti-affinity=web", "--cpus", "0.3") if name.startswith("web") else ("--cpus", "0.3")
        ips.append(tidy.counter(name, "n1", number + 1, more=more))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(CountingClient(ip)) for ip in ips]
        done = await asyncio.to_thread(tidy.migrator, "drain", "n1", "--yes", "--json")
        assert done.code == 0, done.err
        for client in clients:
            await client.more(10)
    document = done.json()
    assert document["empty"] == ["n1"]
    assert {m["state"] for m in document["migrations"]} == {"done"}
    nodes = {name: tidy.places(name)[0][0] for name in names}
    assert "n1" not in nodes.values()
    assert nodes["web-a"] != nodes["web-b"]
    listed = tidy.ok("nodes", "--json").json()["nodes"]
    assert next(n for n in listed if n["name"] == "n1")["cordon"] == document["run"]
    refused = tidy.migrator("migrate", "tick", "--to", "n1")
    assert (refused.code, "cordoned" in refused.err) == (3, True)
    tidy.ok("uncordon", "n1")
    tidy.ok("migrate", "tick", "--to", "n1")


def test_a_plan_is_written_checked_applied_and_refused_when_the_world_has_moved(tidy: Stage, tmp_path: Path) -> None:
    tidy.counter("web", "n1", 1)
    plan, facts = str(tmp_path / "plan.json"), str(tmp_path / "facts.json")
    tidy.ok("probe", "-o", facts)
    tidy.ok("plan", "drain", "n1", "-o", plan, "--snapshot", facts)
    tidy.ok("check", plan)
    tidy.ok("check", plan, "--snapshot", facts)
    tidy.ok("migrate", "web", "--to", "n2")
    stale = tidy.migrator("apply", plan)
    assert stale.code == 3
    assert "web" in stale.err
    assert tidy.places("web") == [("n2", "running")]
    nodes = tidy.ok("nodes", "--json").json()["nodes"]
    assert all(node["cordon"] is None for node in nodes)


def test_an_edited_plan_is_bad_input_and_changes_nothing(tidy: Stage, tmp_path: Path) -> None:
    tidy.counter("web", "n1", 1)
    plan = tmp_path / "plan.json"
    tidy.ok("plan", "drain", "n1", "-o", str(plan))
    document = json.loads(plan.read_text())
    document["moves"][0]["target"] = "n1"
    plan.write_text(json.dumps(document))
    edited = tidy.migrator("apply", str(plan))
    assert edited.code == 2
    assert str(plan) in edited.err
    assert len(edited.err.strip().splitlines()) == 1
    assert tidy.places("web") == [("n1", "running")]


def test_what_cannot_move_is_refused_with_what_each_node_lacks(tidy: Stage, tmp_path: Path) -> None:
    tidy.counter("big", "n1", 1, more=("--memory", "2G"))
    small = tmp_path / "small.yaml"
    text = tidy.paths.cluster_file.read_text()
    for node in ("n2", "n3"):
        text = text.replace(f"- name: {node}\n", f"- name: {node}\n  capacity: {{memory: 1G}}\n")
    small.write_text(text)
    done = tidy.migrator("drain", "n1", "--yes", cluster=str(small))
    assert done.code == 3
    said = done.out + done.err
    assert "big" in said
    assert "n2" in said
    assert "n3" in said
    assert "memory" in said
    assert tidy.places("big") == [("n1", "running")]


async def test_a_drain_whose_orchestrator_dies_is_finished_by_resume(tidy: Stage) -> None:
    names = ["a", "b", "c"]
    ips = [tidy.counter(name, "n1", number + 1, more=("--cpus", "0.3")) for number, name in enumerate(names)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(CountingClient(ip)) for ip in ips]
        argv = [sys.executable, str(KILL_DRAIN), tidy.cluster, str(tidy.journal), "n1", "b", "restored:end"]
        killed = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=90, check=False)
        assert killed.returncode == -9, killed.stderr.decode()
        run = tidy.last_run()["run"]
        resumed = await asyncio.to_thread(tidy.migrator, "resume", run)
        assert resumed.code == 0, resumed.err
        for client in clients:
            await client.more(10)
    assert all(tidy.places(name)[0][0] != "n1" and len(tidy.places(name)) == 1 for name in names)
    assert tidy.last_run()["outcome"] == "done"
