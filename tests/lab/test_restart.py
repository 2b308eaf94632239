"""Restarters: who may start a container again, and who never may."""

from __future__ import annotations

import asyncio

from migrator.lab import lab as labs
from migrator.transport import kit
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

NODE = f"{kit.directory()}/node"
BOOT = "/var/lib/migrator/boot"
RECORD = "/var/lib/migrator/records/web"
CONFIG = "/var/lib/migrator/containers/web/config.json"
SAID = "/run/migrator/keepers/web/said"
KEEPER_FDS = "for fd in /proc/$(cat /run/migrator/keepers/web/pid)/fd/*; do readlink $fd; done"


def always(stage: Stage, node: str, number: int) -> str:
    return stage.counter("web", node, number, more=("--restart", "always"))


def sh(stage: Stage, node: str, script: str) -> str:
    done = stage.on_node(node, "sh", "-c", script)
    assert done.code == 0, (script, done)
    return done.out


def crash_program(stage: Stage, node: str) -> None:
    """Ends the container's processes, as a crash of its program would."""
    sh(stage, node, "echo 1 > /sys/fs/cgroup/ct/web/cgroup.kill")


def until(stage: Stage, node: str, condition: str, timeout_s: int = 15) -> None:
    """Waits on the node until a shell condition holds."""
    loop = f"i=0; until {condition}; do i=$((i+1)); [ $i -lt {timeout_s * 20} ] || exit 1; sleep 0.05; done"
    assert stage.on_node(node, "sh", "-c", loop, timeout_s=timeout_s + 10).code == 0, condition


def until_started(stage: Stage, node: str, times: int) -> None:
    until(stage, node, f"grep -qx '{times} watching' {SAID}")


def row(stage: Stage) -> dict[str, object]:
    rows = stage.ok("ct", "list", "--json").json()["containers"]
    found: dict[str, object] = next(row for row in rows if row["name"] == "web")
    return found


def record(stage: Stage, node: str, key: str) -> str:
    return sh(stage, node, f"sed -n 's/^{key}=//p' {RECORD}").strip()


def keepers(stage: Stage, node: str) -> int:
    """How many there are. What one of them begins has its words too, for a moment, and is none."""
    told = stage.on_node(node, "sh", "-c", "ps -eo pid=,ppid=,args= | grep '[n]ode keep'").out
    found = [line.split(None, 2) for line in told.splitlines()]
    pids = {pid for pid, _, _ in found}
    return sum(parent not in pids for _, parent, _ in found)


def has_processes(stage: Stage, node: str) -> bool:
    return stage.on_node(node, "grep", "-q", ".", "/sys/fs/cgroup/ct/web/cgroup.procs").code == 0


async def test_a_program_that_ends_is_started_again_by_a_keeper_that_holds_nothing_of_others(tidy: Stage) -> None:
    ip = await asyncio.to_thread(always, tidy, "n1", 1)
    assert (row(tidy)["restart"], row(tidy)["keeper"]) == ("always", "watching")
    crash_program(tidy, "n1")
    await asyncio.to_thread(until_started, tidy, "n1", 1)
    async with CountingClient(ip) as client:
        await client.more(3)
    assert (row(tidy)["keeper_starts"], row(tidy)["state"], keepers(tidy, "n1")) == (1, "running", 1)
    held = set(sh(tidy, "n1", KEEPER_FDS).split())
    own = ("/dev/null", "/run/migrator/keepers/", "/var/lib/migrator/kit/")
    assert [path for path in held if not path.startswith(own)] == []


def test_without_the_policy_neither_keeper_nor_boot_starts_it(tidy: Stage) -> None:
    tidy.counter("web", "n1", 2)
    crash_program(tidy, "n1")
    until(tidy, "n1", "! grep -q . /sys/fs/cgroup/ct/web/cgroup.procs")
    assert sh(tidy, "n1", f"sh {NODE} boot") == ""
    assert (row(tidy)["state"], row(tidy)["restart"], row(tidy)["keeper"]) == ("down", "no", "")
    assert keepers(tidy, "n1") == 0


def test_a_container_that_has_moved_is_restarted_where_it_is_and_nowhere_else(tidy: Stage) -> None:
    always(tidy, "n1", 3)
    tidy.ok("migrate", "web", "--to", "n2")
    assert (keepers(tidy, "n1"), keepers(tidy, "n2")) == (0, 1)
    crash_program(tidy, "n2")
    until_started(tidy, "n2", 1)
    for node in ("n1", "n2"):
        labs.crash(tidy.paths, node)
        labs.boot(tidy.paths, node)
    until_started(tidy, "n2", 1)
    assert tidy.places("web") == [("n2", "running")]
    assert (keepers(tidy, "n1"), keepers(tidy, "n2")) == (0, 1)


def test_of_two_that_were_made_while_a_node_was_silent_the_second_does_not_start(tidy: Stage) -> None:
    ip = always(tidy, "n1", 10)
    labs.crash(tidy.paths, "n1")
    again = ("ct", "create", "web", "--node", "n2", "--template", "debian", "--ip", ip)
    refused = tidy.migrator(*again, "--", "sleep", "1d")
    assert (refused.code, "If it has not: --without n1\n" in refused.err) == (4, True), refused.err
    tidy.ok(*again, "--without", "n1", "--", "sleep", "1d")
    labs.boot(tidy.paths, "n1")
    until(tidy, "n1", f"grep -q 'does not start: its address {ip} is answered for by' {SAID}")
    assert not has_processes(tidy, "n1")
    started = tidy.migrator("ct", "start", "--all", "--node", "n1")
    assert (started.code, "n2 has a container of this name too: it is not started" in started.out) == (4, True)
    assert "there are two containers web: n1 (serving), n2 (serving)" in tidy.migrator("ct", "show", "web").err
    tidy.ok("ct", "destroy", "web", "--node", "n2", "--yes", "--force")
    tidy.ok("ct", "start", "web")
    assert tidy.places("web") == [("n1", "running")]


def test_a_source_that_dies_fenced_starts_nothing_at_boot_and_resume_settles_it(tidy: Stage) -> None:
    always(tidy, "n1", 4)
    assert tidy.kill_at("web", "n2", "fenced:end") == -9
    assert (record(tidy, "n1", "armed"), keepers(tidy, "n1")) == ("no", 0)
    labs.crash(tidy.paths, "n1")
    labs.boot(tidy.paths, "n1")
    assert (keepers(tidy, "n1"), has_processes(tidy, "n1")) == (0, False)
    tidy.ok("resume", tidy.last_run()["run"])  # it starts cold on the source, and then the move is made again
    assert tidy.places("web") == [("n2", "running")]
    assert (record(tidy, "n2", "armed"), keepers(tidy, "n1"), keepers(tidy, "n2")) == ("yes", 0, 1)


def test_a_held_copy_that_dies_is_started_by_nobody_and_the_rollback_arms_the_source(tidy: Stage) -> None:
    always(tidy, "n1", 5)
    assert tidy.kill_at("web", "n2", "restored:end", 60) == -9
    crash_program(tidy, "n2")
    until(tidy, "n2", "ls /run/migrator/move/web.2/ended 2> /dev/null")
    assert sh(tidy, "n2", f"sh {NODE} boot") == ""
    assert (keepers(tidy, "n1"), keepers(tidy, "n2"), has_processes(tidy, "n2")) == (0, 0, False)
    tidy.ok("rollback", tidy.last_run()["run"])
    assert (record(tidy, "n1", "armed"), keepers(tidy, "n1")) == ("yes", 1)
    crash_program(tidy, "n1")
    until_started(tidy, "n1", 1)
    assert tidy.places("web") == [("n1", "running")]


def test_a_program_that_ends_before_its_fence_waits_for_the_end_of_the_run(tidy: Stage) -> None:
    always(tidy, "n1", 6)
    assert tidy.kill_at("web", "n2", "leased:end") == -9
    crash_program(tidy, "n1")
    until(tidy, "n1", "! pgrep -f '[n]ode keep' > /dev/null")  # it asked the record, and ended
    assert sh(tidy, "n1", BOOT) == ""
    assert not has_processes(tidy, "n1")
    tidy.ok("rollback", tidy.last_run()["run"])
    until_started(tidy, "n1", 1)


def test_a_stopped_container_stays_stopped_over_a_boot(tidy: Stage) -> None:
    always(tidy, "n1", 7)
    tidy.ok("ct", "stop", "web", "--grace", "0")
    assert keepers(tidy, "n1") == 0
    labs.crash(tidy.paths, "n1")
    labs.boot(tidy.paths, "n1")
    assert tidy.places("web") == [("n1", "stopped")]
    assert keepers(tidy, "n1") == 0
    tidy.ok("ct", "start", "web")
    assert (keepers(tidy, "n1"), record(tidy, "n1", "armed")) == (1, "yes")


def test_a_start_that_fails_is_told_and_tried_again(tidy: Stage) -> None:
    always(tidy, "n1", 8)
    sh(tidy, "n1", f"mv {CONFIG} {CONFIG}.away && echo broken > {CONFIG}")
    crash_program(tidy, "n1")
    until(tidy, "n1", f"grep -q 'does not start' {SAID}")
    listed = tidy.ok("ct", "list")
    assert "container web on n1: it does not start: " in listed.err
    assert tidy.places("web") == [("n1", "down")]
    sh(tidy, "n1", f"mv {CONFIG}.away {CONFIG}")
    until(tidy, "n1", f"grep -q '[0-9]* watching' {SAID}")
    assert tidy.places("web") == [("n1", "running")]


def test_a_keeper_that_was_killed_is_said_to_be_gone_and_made_anew_once(tidy: Stage) -> None:
    always(tidy, "n1", 9)
    end = "kill -9 $(cat /run/migrator/keepers/web/pid) && flock -w 5 /run/migrator/keepers/web/lock true"
    for again in (BOOT, f"sh {NODE} ct-start web", f"sh {NODE} boot & sh {NODE} ct-start web & wait"):
        sh(tidy, "n1", end)
        assert "gone" in str(row(tidy)["keeper"])
        sh(tidy, "n1", again)
        sh(tidy, "n1", again)
        assert keepers(tidy, "n1") == 1
    crash_program(tidy, "n1")
    until_started(tidy, "n1", 1)


def test_boot_starts_what_a_record_says_is_serving_armed_and_owned_and_nothing_else(tidy: Stage) -> None:
    node = "n1"
    always(tidy, node, 10)
    end = f"sh {NODE} ct-stop web 0"
    mine = {"state": "serving", "role": "owner", "run": "-", "armed": "yes"}
    others = [
        *({"state": state} for state in ("stopped", "fenced", "sealed", "reserved", "held", "released")),
        {"run": "a-run"},
        {"role": "target"},
        {"armed": "no"},
    ]
    sh(tidy, node, end)
    for change in others:
        edit = ";".join(f"s/^{key}=.*/{key}={value}/" for key, value in (mine | change).items())
        assert sh(tidy, node, f"sed -i '{edit}' {RECORD} && {BOOT}") == "", change
        assert (keepers(tidy, node), has_processes(tidy, node)) == (0, False), change
    edit = ";".join(f"s/^{key}=.*/{key}={value}/" for key, value in mine.items())
    assert sh(tidy, node, f"sed -i '{edit}' {RECORD} && {BOOT}") == "keeper web\n"
    until_started(tidy, node, 1)


async def test_two_containers_that_are_kept_running_are_listed_and_drained_together(tidy: Stage) -> None:
    always(tidy, "n1", 9)
    tidy.counter("web2", "n1", 10, more=("--restart", "always"))
    rows = tidy.ok("ct", "list", "--json").json()["containers"]
    assert [(r["name"], r["keeper"]) for r in rows] == [("web", "watching"), ("web2", "watching")]
    tidy.ok("drain", "n1", "--yes")
    rows = tidy.ok("ct", "list", "--json").json()["containers"]
    assert [(r["name"], r["keeper"], r["node"] != "n1") for r in rows] == [
        ("web", "watching", True),
        ("web2", "watching", True),
    ]
    tidy.ok("uncordon", "n1")
