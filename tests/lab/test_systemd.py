"""A container whose first process is systemd: it boots, is seen and bounded as others are, ends cleanly, and moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from migrator.lab import booted
from tests.lab.stage import Stage
from tests.lab.test_init import logged_in, until

GROUP = "/sys/fs/cgroup/ct/box"


@pytest.fixture(scope="module")
def stocked(stage: Stage) -> Iterator[None]:
    """The template with systemd on the first node."""
    booted.build(print)
    booted.offer(stage.paths, "n1")
    yield
    for node in stage.spec.nodes:
        stage.on_node(node, "sh", "-c", "umount /var/lib/migrator/containers/*/* 2>/dev/null; true")
        booted.take_back(stage.paths, node)


def make_box(stage: Stage, number: int) -> str:
    ip = stage.ip(number)
    words = ("ct", "create", "box", "--node", "n1", "--template", booted.NAME, "--ip", ip, "--hostname", "box.example")
    stage.ok(*words, "--init", "systemd")
    return ip


def groups(stage: Stage, node: str) -> list[str]:
    return sorted(stage.on_node(node, "find", GROUP, "-type", "d", "-printf", "%P %U %m\\n").out.splitlines())


def services(stage: Stage) -> list[str]:
    """What runs, each with its process as it is called inside, and its control group."""
    told = stage.ok("ct", "exec", "box", "--", "ps", "-eo", "pid=,comm=,cgroup=").out.splitlines()
    wanted = ("systemd", "systemd-journal", "systemd-logind", "cron", "dbus-daemon", "sshd", "bash")
    return sorted(" ".join(row.split()) for row in told if row.split()[1] in wanted)


async def test_a_user_who_is_logged_in_and_all_services_go_on_after_a_move(tidy: Stage, stocked: None) -> None:
    ip = await asyncio.to_thread(make_box, tidy, 1)
    await until(tidy, "it has booted", "systemctl", "is-active", "multi-user.target")
    owners = tidy.on_node(
        "n1", "stat", "-c", "%u", GROUP, f"{GROUP}/cgroup.procs", f"{GROUP}/cgroup.freeze"
    ).out.split()
    assert owners[0] == owners[1] != "0" == owners[2]
    async with logged_in(tidy, ip) as login:
        await login.types("stty -echo; kept=value-$((6 * 7)); cd /var/log; sleep 1000 &")
        before = await login.types('echo "<$kept $PWD $$ $(tty) $(jobs -p)>"')
        ran = await asyncio.to_thread(services, tidy)
        assert any("sshd" in row for row in ran)
        assert any("session" in row for row in ran)
        divided = groups(tidy, "n1")
        await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2")
        after = await login.types('echo "<$kept $PWD $$ $(tty) $(jobs -p)>"')
        between = [text[text.index("<") : text.index(">")] for text in (before, after)]
        assert between[0] == between[1]
        assert await asyncio.to_thread(services, tidy) == ran
        assert tidy.places("box") == [("n2", "running")]
        assert groups(tidy, "n2") == divided
    for unit in ("cron", "ssh"):
        await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "systemctl", "restart", unit)
    await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "pkill", "-KILL", "-x", "cron")
    await until(tidy, "who has ended is started anew", "pgrep", "-x", "cron")


async def test_it_ends_cleanly_and_a_restart_elsewhere_boots_it(tidy: Stage, stocked: None) -> None:
    await asyncio.to_thread(make_box, tidy, 2)
    await until(tidy, "it has booted", "systemctl", "is-active", "multi-user.target")
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=touch /var/log/ended-well\n"
    put = f"printf '{unit}' > /etc/systemd/system/last.service && systemctl start last"
    await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "sh", "-c", put.replace("\n", "\\n"))
    await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2", "--mode", "restart")
    await until(tidy, "it was ended by its own init", "test", "-e", "/var/log/ended-well")
    await until(tidy, "its sshd runs", "pgrep", "-x", "sshd")
    await asyncio.to_thread(tidy.ok, "ct", "stop", "box", "--grace", "30")
    assert tidy.places("box") == [("n2", "stopped")]
    assert tidy.on_node("n2", "test", "-e", GROUP).code == 1
