"""Memory over a network that is declared trusted: beside ssh, whole, for nobody else, and by ssh where that is shut."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migrator.lab import lab as labs
from tests.lab.client import CountingClient
from tests.lab.stage import Stage
from tests.lab.test_stream import FAMILY, KILL, digests
from tests.lab.test_wire import PROGRAM, listening

DECLARED = "trusted.yaml"
PORTS = "ss -Hltn | awk '{ print $4 }' | sort"
# Holds the sender back once it has asked for the receiver, before that can have opened its door, until the strangers
# have been there.
HOLD = """
tries=0
until pgrep -f '^ssh .*/links/web[^ ]* [p]eer stream$' > /dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 3000 ] || exit 1
    sleep 0.005
done
pkill -STOP -f '^python3 .*/[s]tream_out.py'
read -r _
pkill -CONT -f '^python3 .*/[s]tream_out.py'
"""
STRANGERS = """
import os, re, socket, subprocess, sys
address = sys.argv[1]
found = None
while found is None:
    said = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout
    found = re.search(rf" {re.escape(address)}:(\\d+) .*python3", said)
held = []
for number in range(100):
    stranger = socket.create_connection((address, int(found[1])))
    held.append(stranger)
    try:
        stranger.sendall(os.urandom(number))
    except OSError:
        pass  # shown out by now: there are too many
print(len(held), flush=True)
sys.stdin.readline()
"""
# The firewall of a node that lets nothing in but ssh.
SHUT = "table inet shut { chain input { type filter hook input priority 0; tcp dport != 22 tcp flags syn drop; }; }"


@pytest.fixture
def trusted(tidy: Stage) -> Iterator[Stage]:
    """The lab with its network declared trusted; afterwards every port is shut that was not open before."""
    declared = tidy.paths.cluster_file.with_name(DECLARED)
    strict = tidy.paths.cluster_file.read_text()
    declared.write_text(f"{strict}trusted_networks: [10.213.{tidy.spec.subnet_index}.0/24]\n")
    before = {node: tidy.on_node(node, "sh", "-c", PORTS).out for node in tidy.spec.nodes}
    yield Declaring(tidy.paths, tidy.spec, tidy.journal, tidy.begun)
    assert {node: tidy.on_node(node, "sh", "-c", PORTS).out for node in tidy.spec.nodes} == before


class Declaring(Stage):
    """A lab whose every command reads the file that declares its network trusted."""

    @property
    def cluster(self) -> str:
        return str(self.paths.cluster_file.with_name(DECLARED))


def dumped(stage: Stage) -> dict[str, Any]:
    """What the latest run's dump has written down."""
    events = stage.last_run()["migrations"][0]["events"]
    data: dict[str, Any] = next(e["data"] for e in events if (e["state"], e["phase"]) == ("dumped", "end"))
    return data


async def first_digests(ip: str) -> bytes:
    async with asyncio.timeout(30):
        while True:
            try:
                return await digests(ip)
            except OSError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy"])
async def test_every_page_arrives_over_a_network_that_is_declared_trusted(trusted: Stage, mode: str) -> None:
    ip = trusted.ip(1)
    words = ("ct", "create", "kin", "--node", "n1", "--template", "debian", "--ip", ip, "--memory", "512M")
    trusted.ok(*words, "--", "python3", "-c", FAMILY)
    before = await first_digests(ip)
    for target in ("n2", "n1"):
        await asyncio.to_thread(trusted.ok, "migrate", "kin", "--to", target, "--mode", mode)
        assert await digests(ip) == before
        assert dumped(trusted)["channel"] == "plain"
    run = trusted.last_run()["run"]
    assert "plain, the network is declared trusted" in trusted.ok("show", run, "--offline").out
    told = trusted.ok("migrate", "kin", "--to", "n2", "--mode", mode, "--dry-run").out
    assert "plain, the network is declared trusted" in told


def test_memory_is_heard_on_a_trusted_network_and_files_are_not(trusted: Stage) -> None:
    memory, told, file = (os.urandom(32) for _ in range(3))
    place = ("--node", "n1", "--template", "debian", "--ip", trusted.ip(1))
    write = "import sys; open('/root/other', 'wb').write(bytes.fromhex(sys.argv[1][::-1]) * 4096)"
    with listening(trusted, memory, file) as heard:
        trusted.ok("ct", "create", "web", *place, "--", "python3", "-c", PROGRAM, memory.hex()[::-1], told.hex())
        until = "until [ -e /root/ready ]; do sleep 0.02; done"
        trusted.ok("ct", "exec", "web", "--", "timeout", "20", "sh", "-c", until)
        trusted.ok("ct", "exec", "web", "--", "python3", "-c", write, file.hex()[::-1])
        trusted.ok("migrate", "web", "--to", "n2")
    assert heard["found"] == [memory.hex()]


async def test_strangers_at_the_door_before_the_source_hold_nobody_up(trusted: Stage) -> None:
    async with CountingClient(trusted.counter("web", "n1", 1, mib=32)) as client:
        with console(trusted, "n1", "sh", "-c", HOLD) as holding:
            address = trusted.spec.ip("n2")
            with console(trusted, "n2", "python3", "-c", STRANGERS, address) as strangers:
                moving = asyncio.create_task(asyncio.to_thread(trusted.migrator, "migrate", "web", "--to", "n2"))
                assert await asyncio.to_thread(strangers.stdout.readline) == "100\n"
                holding.stdin.write("go on\n")
                holding.stdin.flush()
                moved = await moving
        assert moved.code == 0, moved.err
        await client.more(20)
    assert dumped(trusted)["channel"] == "plain"


@contextmanager
def console(stage: Stage, node: str, *command: str) -> Iterator[Any]:
    """A command at a node's console that runs beside the block, and ends with it."""
    argv = labs.exec_argv(stage.paths, node, command)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.communicate("", timeout=30)


async def test_a_port_that_a_firewall_shuts_leaves_memory_to_ssh_before_the_freeze(trusted: Stage) -> None:
    assert trusted.on_node("n2", "nft", "-f", "-", stdin=SHUT).code == 0
    try:
        async with CountingClient(trusted.counter("web", "n1", 1, mib=32)) as client:
            await asyncio.to_thread(trusted.ok, "migrate", "web", "--to", "n2")
            await client.more(20)
    finally:
        trusted.on_node("n2", "nft", "delete", "table", "inet", "shut")
    found = dumped(trusted)
    assert found["channel"] == "encrypted"
    assert "nobody answers" in found["channel_why"]
    run = trusted.last_run()["run"]
    assert "encrypted, though the network is declared trusted: port" in trusted.ok("show", run, "--offline").out


@pytest.mark.parametrize(
    ("node", "mark", "program"),
    [
        ("n2", "/run/migrator/move/web.2/came", "[s]tream_in.py"),
        ("n1", "/run/migrator/move/web.2/fenced", "[s]tream_out.py"),
        ("n1", "/run/migrator/move/web.2/fenced", "^ssh.*[l]inks/web"),
    ],
)
async def test_a_part_of_the_stream_that_is_killed_costs_the_move_and_nothing_else(
    trusted: Stage, node: str, mark: str, program: str
) -> None:
    async with CountingClient(trusted.counter("web", "n1", 1, mib=256, more=("--memory", "512M"))) as client:
        killing = asyncio.create_task(asyncio.to_thread(trusted.on_node, node, "sh", "-c", KILL, "sh", mark, program))
        done = await asyncio.to_thread(trusted.migrator, "migrate", "web", "--to", "n2")
        assert (await killing).code == 0
        assert done.code == 4, (done.out, done.err)
        assert "runs on n1 as before" in done.err
        await client.more(20)
    assert trusted.places("web") == [("n1", "running")]
