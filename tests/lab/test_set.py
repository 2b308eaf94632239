"""Limits changed while a container runs: at once and kept, over a stop, over a move, and in the middle of one."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from migrator.transport import kit
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

MIB = 1 << 20


T = TypeVar("T")


async def served(ip: str, act: Callable[[], T]) -> T:
    """What an act returns, while a client is answered over one connection that outlives it."""
    async with CountingClient(ip) as client:
        done = await asyncio.to_thread(act)
        await client.more(3)
    return done


def row(stage: Stage, name: str = "web") -> dict[str, Any]:
    (found,) = [r for r in stage.ok("ct", "list", "--json").json()["containers"] if r["name"] == name]
    return dict(found)


def limits(stage: Stage, name: str = "web") -> dict[str, Any]:
    found = row(stage, name)
    return {key: found[key] for key in ("memory_bytes", "swap_bytes", "cpu_milli", "pids", "io_weight")}


def described(stage: Stage, node: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        stage.on_node(node, "cat", "/var/lib/migrator/containers/web/descriptor.json").out
    )
    return told


CHANGE = ("--memory", "300M", "--swap", "0", "--cpus", "1.5", "--pids", "300", "--io-weight", "200")
CHANGED = {"memory_bytes": 300 * MIB, "swap_bytes": 0, "cpu_milli": 1500, "pids": 300, "io_weight": 200}


def test_limits_are_changed_while_it_runs_and_kept_over_a_stop_and_a_move(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 1)

    def change_and_move() -> None:
        done = tidy.ok("ct", "set", "web", *CHANGE, "--json").json()
        assert (done["node"], done["running"], done["moved_from"]) == ("n1", True, None)
        assert {key: done["limits"][key] for key in CHANGED} == CHANGED
        assert done["before"]["swap_bytes"] is None
        assert limits(tidy) == CHANGED
        assert set(row(tidy)["not_enforced"]) <= {"memory", "swap", "cpu", "pids", "io_weight"}
        tidy.ok("migrate", "web", "--to", "n2")

    asyncio.run(served(ip, change_and_move))
    assert limits(tidy) == CHANGED
    assert {key: described(tidy, "n2")[key] for key in CHANGED} == CHANGED
    tidy.ok("ct", "stop", "web", "--grace", "0")
    tidy.ok("ct", "set", "web", "--memory", "200M", "--swap", "none", "--pids", "none")
    tidy.ok("ct", "start", "web")
    assert limits(tidy) == CHANGED | {"memory_bytes": 200 * MIB, "swap_bytes": None, "pids": 0}


def test_the_same_twice_changes_nothing_the_second_time(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1)
    tidy.ok("ct", "set", "web", *CHANGE)
    look = ("sh", "-c", "cd /var/lib/migrator && cat records/web containers/web/*.json; ls -i containers/web/*.json")
    before = tidy.on_node("n1", *look).out
    tidy.ok("ct", "set", "web", *CHANGE)
    assert tidy.on_node("n1", *look).out == before


def test_a_container_is_made_with_all_of_its_limits(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1, more=CHANGE)
    assert limits(tidy) == CHANGED


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which limit?"),
        (("--memory", "much"), "--memory: not a size"),
        (("--memory", "1k"), "--memory '1k': at least"),
        (("--memory", "-1"), "--memory: not a size"),
        (("--swap", "some"), "--swap: not a size"),
        (("--cpus", "nan"), "nan is not a number to count with"),
        (("--pids", "2"), "--pids '2': a number from 32"),
        (("--pids", "1e3"), "--pids '1e3': a number"),
        (("--io-weight", "5000"), "--io-weight '5000': a number from 10 to 1000"),
    ],
)
def test_a_bad_limit_is_one_line_and_no_node_is_asked(tidy: Stage, words: tuple[str, ...], said: str) -> None:
    done = tidy.migrator("ct", "set", "web", *words)
    assert (done.code, said in done.err, len(done.err.strip().splitlines())) == (2, True, 1), done.err


def test_a_container_that_nobody_has_is_told(tidy: Stage) -> None:
    done = tidy.migrator("ct", "set", "nobody", "--pids", "99")
    assert (done.code, "there is no container 'nobody'" in done.err) == (2, True)


def test_memory_under_what_it_uses_is_refused_with_the_numbers(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1, mib=40)
    before = limits(tidy)
    refused = tidy.migrator("ct", "set", "web", "--memory", "30M", "--pids", "100")
    assert (refused.code, "MiB of memory now, and was to have 30 MiB" in refused.err) == (3, True), refused.err
    assert limits(tidy) == before


@pytest.fixture
def small(tidy: Stage, tmp_path: Path) -> str:
    """A cluster file of the same nodes, of which each declares 1 GiB."""
    cluster = yaml.safe_load(tidy.paths.cluster_file.read_text())
    for node in cluster["nodes"]:
        node["capacity"] = {"cpus": 4, "memory": "1G", "disk": "40G"}
    made = tmp_path / "small.yaml"
    made.write_text(yaml.safe_dump(cluster))
    return str(made)


def test_a_raise_past_the_nodes_room_is_refused_and_with_move_made_where_there_is_room(tidy: Stage, small: str) -> None:
    ip = tidy.counter("web", "n1", 1)
    tidy.counter("other", "n1", 2, more=("--memory", "500M"))
    tidy.counter("third", "n3", 3, more=("--memory", "500M"))
    refused = tidy.migrator("ct", "set", "web", "--memory", "600M", cluster=small)
    said = "container web would need 600.0 MiB of memory, and 524.0 MiB are free for it on n1"
    assert (refused.code, said in refused.err) == (3, True), refused.err
    assert limits(tidy)["memory_bytes"] == 256 * MIB
    nowhere = tidy.migrator("ct", "set", "web", "--memory", "2G", "--move", cluster=small)
    assert (nowhere.code, tidy.places("web")) == (3, [("n1", "running")])
    words = ("ct", "set", "web", "--memory", "600M", "--move", "--waive", "lsm", "--json")
    moved = asyncio.run(served(ip, lambda: tidy.migrator(*words, cluster=small)))
    assert moved.code == 0, moved.err
    assert (moved.json()["node"], moved.json()["moved_from"]) == ("n2", "n1")
    assert tidy.places("web") == [("n2", "running")]
    assert limits(tidy)["memory_bytes"] == 600 * MIB
    run = tidy.ok("show", tidy.ok("runs", "--json").json()["runs"][0]["run"], "--json").json()
    assert [each["words"] for each in run["waived"]] == ["check lsm"]


def test_a_move_in_flight_is_waited_for_and_the_change_made_where_it_ends(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1)
    before = limits(tidy)
    assert tidy.kill_at("web", "n2", "committed:end") == -9
    run = tidy.ok("runs", "--json").json()["runs"][0]["run"]
    for words in (("--no-wait",), ("--wait", "0.5")):
        refused = tidy.migrator("ct", "set", "web", "--memory", "300M", *words)
        assert (refused.code, f"held by run {run}" in refused.err) == (3, True), refused.err
    assert limits_described(tidy, "n1") == before
    waiting = tidy.start("ct", "set", "web", "--memory", "300M")
    assert waiting.stderr is not None
    assert "waiting for its end, at most 10 min 00 s" in waiting.stderr.readline()
    tidy.ok("resume", run)
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out.startswith("container web on n2: 300.0 MiB of memory")) == (0, True), (out, err)
    assert tidy.places("web") == [("n2", "running")]
    assert limits(tidy) == before | {"memory_bytes": 300 * MIB}


def limits_described(stage: Stage, node: str) -> dict[str, Any]:
    told = described(stage, node)
    return {key: told[key] for key in ("memory_bytes", "swap_bytes", "cpu_milli", "pids", "io_weight")}


def test_a_wait_that_is_interrupted_leaves_nothing(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1)
    assert tidy.kill_at("web", "n2", "seeded:end") == -9
    waiting = tidy.start("ct", "set", "web", "--memory", "300M")
    assert waiting.stderr is not None
    assert "waiting for its end" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=30)
    assert waiting.returncode not in (0, None)
    run = tidy.ok("runs", "--json").json()["runs"][0]["run"]
    tidy.ok("rollback", run)
    assert limits(tidy)["memory_bytes"] == 256 * MIB


def test_a_container_is_placed_where_the_planner_finds_room_under_the_rules(tidy: Stage, small: str) -> None:
    tidy.counter("first", "n1", 1, more=("--memory", "400M"))
    tidy.counter("second", "n2", 2, more=("--memory", "300M"))
    made = place(tidy, small, "web", "500M", 3)
    assert made.json()["node"] == "n3", made.err
    assert made.json()["placed"].startswith("least loaded of 3 that fit")
    nowhere = place(tidy, small, "late", "900M", 4)
    assert (nowhere.code, nowhere.json()["refusals"][0]["container"]) == (3, "late")
    many = (
        "ct",
        "create",
        "many",
        "--place",
        "--count",
        "4",
        "--template",
        "debian",
        "--memory",
        "200M",
        "--cpus",
        "0.1",
    )
    words = ("--ip", tidy.ip(4), "--json", "--", "sleep", "1000")
    nowhere = tidy.migrator(*many, "--memory", "500M", *words, cluster=small)
    assert (nowhere.code, tidy.places("many-1")) == (3, [])
    rows = tidy.migrator(*many, *words, cluster=small).json()["containers"]
    assert [(row["name"], tidy.places(row["name"])) for row in rows] == [
        (f"many-{n}", [(row["node"], "running")]) for n, row in enumerate(rows, 1)
    ]
    assert len({row["node"] for row in rows}) > 1
    both = tidy.migrator(
        "ct", "create", "late", "--place", "--node", "n1", "--template", "debian", "--ip", tidy.ip(4), "--", "true"
    )
    assert (both.code, "--node, or let one be found with --place" in both.err) == (2, True)
    assert tidy.places("late") == []


def place(stage: Stage, cluster: str, name: str, memory: str, number: int) -> Any:
    words = ("ct", "create", name, "--place", "--template", "debian", "--ip", stage.ip(number), "--memory", memory)
    return stage.migrator(*words, "--json", "--", "sleep", "1000", cluster=cluster)


def test_a_change_and_a_move_that_begin_at_once_do_not_lose_one_another(tidy: Stage) -> None:
    """The change raises the token: a lease by what was seen before it is refused, and none carries the old limits."""
    tidy.counter("web", "n1", 1)
    tidy.ok("ct", "set", "web", "--memory", "300M")
    late = tidy.on_node("n1", "sh", f"{kit.directory()}/node", "lease", "web", "1", "2", "a-run")
    assert (late.code, "was changed since it was looked at (token 2, not 1)" in late.err) == (10, True), late
    assert limits(tidy)["memory_bytes"] == 300 * MIB
