"""Connections that are begun before the cluster file is checked: used where it says the same, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from migrator.errors import BadInput
from migrator.inventory import cluster_file
from migrator.inventory.ahead import Ahead
from migrator.inventory.cluster_text import Written, likely
from migrator.inventory.documents import read_yaml
from migrator.transport.ssh import SshAddress, SshNode
from tests.unit.test_cluster_file import GOOD, MISTAKES

SSH = """
defaults: {ssh: {user: ops, identity_file: ~/.ssh/id, port: 22}}
nodes:
- {name: n1, address: 192.0.2.1}
- {name: n2, ssh: {port: 2222, user: root, known_hosts: /etc/known, config: ~nobody-has-this/config}}
- {name: n3, address: host.example, ssh: {become: sudo, identity_file: null}}
"""


@pytest.mark.parametrize("text", [GOOD, SSH.replace(", identity_file: null", "")])
def test_nodes_are_reached_as_the_checked_file_has_them(text: str) -> None:
    checked = cluster_file.parse(text, "c.yaml")
    assert list(likely(read_yaml(text, "c")[0])) == [(node.name, checked.ssh_address(node)) for node in checked.nodes]


@pytest.mark.parametrize("text", [text for text, _ in MISTAKES])
def test_what_is_wrong_with_a_file_is_for_who_checks_it(text: str) -> None:
    try:
        raw, _ = read_yaml(text, "c")
    except BadInput:
        return
    assert all(isinstance(address, SshAddress) for _, address in likely(raw))


@pytest.mark.parametrize(
    "raw", [None, 3, {}, {"nodes": 3}, {"nodes": [3, None, {}, {"name": 3}, {"name": "a", "address": 3}]}]
)
def test_strange_values_are_passed_over(raw: Any) -> None:
    assert list(likely(raw)) == []


def test_a_strange_setting_is_left_out() -> None:
    raw = {"defaults": {"ssh": {"port": "x", "user": 3}}, "nodes": [{"name": "a", "ssh": {"become": [], "no": "such"}}]}
    assert list(likely(raw)) == [("a", SshAddress("a"))]


async def test_only_the_same_node_at_the_same_address_is_taken_and_the_others_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, closed = list[str](), list[str]()

    async def close(node: SshNode) -> None:
        closed.append(node.name)

    monkeypatch.setattr(SshNode, "begin", lambda node: begun.append(node.name))
    monkeypatch.setattr(SshNode, "close", close)
    at = SshAddress("192.0.2.1", 22)
    async with Ahead((name, at) for name in ("n1", "n2", "n3")) as ahead:
        taken = ahead.node("n1", at)
        others = [ahead.node("n2", SshAddress("192.0.2.1", 23)), ahead.node("n4", at), ahead.node("n1", at)]
    assert begun == ["n1", "n2", "n3"]
    assert (taken.name, taken.address) == ("n1", at)
    assert all(node is not taken for node in others)
    assert closed == ["n2", "n3"]


def test_a_file_is_written_as_it_is_read() -> None:
    assert cluster_file.checked(Written(*read_yaml(GOOD, "c"), "c")) == cluster_file.parse(GOOD, "c")
