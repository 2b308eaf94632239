"""A container that is like a system: an init, services, cron and an sshd of its own, moved with a user logged in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncssh
import pytest

from migrator.lab.machine import COMMAND, MACHINE
from tests.lab.stage import Stage

PATIENCE_S = 120
SERVICES = ["cron", "redis-server", "runsv", "runsvdir", "sshd"]


@pytest.fixture(scope="module")
def stocked(stage: Stage) -> Iterator[None]:
    """The template of machines on the first node; a move brings it to others."""
    MACHINE.build(print)
    MACHINE.offer(stage.paths, "n1")
    yield
    for node in stage.spec.nodes:
        stage.on_node(node, "sh", "-c", "umount /var/lib/migrator/containers/*/* 2>/dev/null; true")
        MACHINE.take_back(stage.paths, node)


class Login:
    """A user at a terminal, who connects once."""

    def __init__(self, process: asyncssh.SSHClientProcess[str]) -> None:
        self.process = process

    async def types(self, line: str) -> str:
        """What the shell answers to a line, up to a mark that the line itself does not show as typed."""
        self.process.stdin.write(f"{line}\necho EN''D\n")
        said = ""
        async with asyncio.timeout(PATIENCE_S):
            while "END" not in said:
                part = await self.process.stdout.read(4096)
                assert part, f"the session ended after {said!r}"
                said += part
        return said


@asynccontextmanager
async def logged_in(stage: Stage, ip: str) -> AsyncIterator[Login]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode().strip()
    put = f"mkdir -p -m 700 /root/.ssh && echo '{public}' > /root/.ssh/authorized_keys"
    await asyncio.to_thread(stage.ok, "ct", "exec", "box", "--", "sh", "-c", put)
    connection = None
    for _ in range(100):  # its sshd may still be starting
        try:
            connection = await asyncssh.connect(ip, username="root", client_keys=[key], known_hosts=None)
            break
        except OSError:
            await asyncio.sleep(0.1)
    assert connection is not None, "its sshd does not answer"
    async with connection:
        yield Login(await connection.create_process(term_type="xterm"))


def processes(stage: Stage) -> list[str]:
    told = stage.ok("ct", "exec", "box", "--", "ps", "-eo", "pid=,comm=").out.split("\n")
    rows = [line.split() for line in told if line]
    return sorted(f"{pid} {comm}" for pid, comm in rows if comm in ("runit", *SERVICES))


def make_box(stage: Stage, number: int) -> str:
    ip = stage.ip(number)
    words = ("ct", "create", "box", "--node", "n1", "--template", MACHINE.name, "--ip", ip, "--hostname", "box.example")
    stage.ok(*words, "--", *COMMAND)
    return ip


async def until(stage: Stage, what: str, *command: str) -> None:
    """Waits for a command inside to succeed."""
    for _ in range(PATIENCE_S * 2):
        done = await asyncio.to_thread(stage.migrator, "ct", "exec", "box", "--", *command)
        if done.code == 0:
            return
        await asyncio.sleep(0.5)
    raise AssertionError(what)


async def test_a_user_who_is_logged_in_notices_nothing_of_a_move(tidy: Stage, stocked: None) -> None:
    ip = await asyncio.to_thread(make_box, tidy, 1)
    async with logged_in(tidy, ip) as login:
        await login.types("stty -echo; kept=value-$((6 * 7)); cd /var/log; sleep 1000 &")
        before = await login.types('echo "<$kept $PWD $$ $(tty) $(jobs -p)>"')
        ran = await asyncio.to_thread(processes, tidy)
        assert {row.split()[1] for row in ran} == {"runit", *SERVICES}
        assert "1 runit" in ran
        await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2")
        after = await login.types('echo "<$kept $PWD $$ $(tty) $(jobs -p)>"')
        between = [text[text.index("<") : text.index(">")] for text in (before, after)]
        assert between[0] == between[1]
        assert between[0].startswith("<value-42 /var/log ")
        assert "box.example" in await login.types("hostname")
        rest = await asyncio.to_thread(processes, tidy)
        # runit knows its services by the inodes of their directories, which are others there: it begins those anew.
        assert {row for row in ran if row.split()[1] in ("runit", "runsvdir")} <= set(rest)
        assert tidy.places("box") == [("n2", "running")]
    redis = ("redis-cli", "ping")
    await until(tidy, "redis answers", *redis)


async def test_cron_and_the_init_go_on_after_a_move(tidy: Stage, stocked: None) -> None:
    await asyncio.to_thread(make_box, tidy, 2)
    await until(tidy, "its sshd runs", "pgrep", "-x", "sshd")
    await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2")
    await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "rm", "-f", "/var/log/cron-ran")
    await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "pkill", "-x", "redis-server")
    await until(tidy, "the init has started redis again", "redis-cli", "ping")
    await until(tidy, "cron has run its job after the move", "test", "-s", "/var/log/cron-ran")


async def test_a_cold_start_on_another_node_boots_it_with_all_services(tidy: Stage, stocked: None) -> None:
    ip = await asyncio.to_thread(make_box, tidy, 3)
    await until(tidy, "its sshd runs", "pgrep", "-x", "sshd")
    await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2", "--mode", "restart")
    async with logged_in(tidy, ip) as login:
        assert "box.example" in await login.types("hostname")
        await until(tidy, "redis answers", "redis-cli", "ping")
        assert {row.split()[1] for row in await asyncio.to_thread(processes, tidy)} == {"runit", *SERVICES}
