"""Published ports on real nodes, each with a bridge that only it has: what goes along, and what is said not to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.lab.stage import COUNTER, Outcome, Stage

BRIDGE = (
    "ip link add brl type bridge stp_state 0 forward_delay 0 && ip address add 10.215.0.1/24 dev brl && "
    "ip link set brl up && echo 1 > /proc/sys/net/ipv4/ip_forward"
)
LISTEN = "import socket, sys; s = socket.create_server(('', 8080)); print('there', flush=True); sys.stdin.read()"


@dataclass
class Apart:
    """Nodes whose containers are on bridges of their own."""

    stage: Stage
    cluster: str

    def migrator(self, *words: str) -> Outcome:
        return self.stage.migrator(*words, cluster=self.cluster)

    def ok(self, *words: str) -> Outcome:
        done = self.migrator(*words)
        assert done.code == 0, (words, done)
        return done

    def create(self, name: str, node: str, number: int, *words: str) -> Outcome:
        given = (
            "--node",
            node,
            "--template",
            "debian",
            "--ip",
            f"10.215.0.{number}",
            "--gateway",
            "10.215.0.1",
            *words,
        )
        return self.migrator("ct", "create", name, *given, "--", "python3", "-c", COUNTER, "1")

    def answers(self, node: str) -> bool:
        """Whether the container answers at the node's port, a new connection each."""
        for _ in range(100):  # its program may still be starting
            with contextlib.suppress(OSError), socket.create_connection((self.stage.spec.ip(node), 8080), 2) as peer:
                peer.sendall(b"next\n")
                if peer.recv(10):
                    return True
            if not self.tables(node):
                return False
        return False

    def tables(self, node: str) -> str:
        return self.stage.on_node(node, "nft", "list", "tables").out


@pytest.fixture
def apart(tidy: Stage, tmp_path: Path) -> Iterator[Apart]:
    document = yaml.safe_load(Path(tidy.cluster).read_text())
    document["defaults"]["bridge"] = "brl"
    path = tmp_path / "apart.yaml"
    path.write_text(yaml.safe_dump(document))
    for node in ("n1", "n2"):
        made = tidy.on_node(node, "sh", "-c", BRIDGE)
        assert made.code == 0, made
    yield Apart(tidy, str(path))
    tidy.remove_all()
    for node in ("n1", "n2"):
        tidy.on_node(node, "ip", "link", "del", "brl")


def test_a_port_leads_to_its_container_wherever_that_is_and_connections_are_said_to_end(apart: Apart) -> None:
    beside = f"eth1=br0,{apart.stage.ip(7)}/24"  # who asks is a neighbour there
    made = apart.create("web", "n1", 7, "--publish", "8080:7000", "--nic", beside)
    assert made.code == 0, made
    assert apart.answers("n1")
    said = "connections through its published ports (8080) end"
    dry = apart.ok("migrate", "web", "--to", "n2", "--dry-run")
    assert said in dry.out
    assert said in apart.ok("plan", "drain", "n1").out
    apart.ok("migrate", "web", "--to", "n2")
    assert apart.answers("n2")
    assert (apart.answers("n1"), apart.tables("n1")) == (False, "")
    apart.ok("ct", "stop", "web", "--grace", "0")
    assert apart.tables("n2") == ""
    assert "stay with web alone: 8080:7000" in apart.ok("ct", "clone", "web", "other", "--no-start").out
    apart.ok("ct", "start", "web")
    assert apart.answers("n2")


def test_a_port_that_is_taken_on_the_target_is_found_before_anything_is_touched(apart: Apart) -> None:
    assert apart.create("web", "n1", 7, "--publish", "8080:7000").code == 0
    taken = apart.create("more", "n1", 8, "--publish", "8080:7000")
    assert (taken.code, "container web has published port 8080/tcp" in taken.err) == (3, True), taken
    with apart.stage.console("n2", "python3", "-c", LISTEN) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "there\n"
        for words in (("migrate", "web", "--to", "n2"), ("migrate", "web", "--to", "n2", "--dry-run")):
            refused = apart.migrator(*words)
            assert (refused.code, "port 8080/tcp is in use" in refused.err) == (3, True), refused
    assert apart.answers("n1")
    assert apart.create("other", "n2", 9, "--publish", "8080:7000").code == 0
    refused = apart.migrator("migrate", "web", "--to", "n2")
    assert (refused.code, "container other has published port 8080/tcp" in refused.err) == (3, True), refused
    assert apart.answers("n1")
