"""A second network for a lab: a switch of its own, on each node behind a bridge `br1`, and an end on this machine."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from ipaddress import IPv6Address

from tests.lab.stage import Stage

BRIDGE = ("type", "bridge", "stp_state", "0", "forward_delay", "0")


def back_ip(stage: Stage, number: int) -> str:
    """An address of the second network; this machine is .1."""
    return f"10.214.{stage.spec.subnet_index}.{number}"


def back_ip6(stage: Stage, number: int) -> str:
    return str(IPv6Address(f"fd00:214:{stage.spec.subnet_index}::{number:x}"))  # as a kernel writes it


@contextlib.contextmanager
def second_network(stage: Stage, *nodes: str) -> Iterator[None]:
    """These nodes have it, and this machine."""
    switch, end = stage.paths.switch_netns, f"mback{stage.spec.subnet_index}"
    try:
        _ip("-n", switch, "link", "add", "br1", *BRIDGE)
        _ip("-n", switch, "link", "set", "br1", "up")
        for node in nodes:
            _plug(stage.paths.node_netns(node), switch, f"{node}-back")
        _ip("link", "add", end, "type", "veth", "peer", "name", "host-back", "netns", switch)
        _ip("-n", switch, "link", "set", "host-back", "master", "br1", "up")
        _ip("address", "add", f"{back_ip(stage, 1)}/24", "dev", end)
        _ip("address", "add", f"{back_ip6(stage, 1)}/64", "dev", end, "nodad")
        _ip("link", "set", end, "up")
        yield
    finally:
        for link in ("br1", "host-back"):
            _ip("-n", switch, "link", "del", link, check=False)
        for node in nodes:
            for link in ("back", "br1"):
                _ip("-n", stage.paths.node_netns(node), "link", "del", link, check=False)


def _plug(node: str, switch: str, port: str) -> None:
    _ip("-n", node, "link", "add", "back", "type", "veth", "peer", "name", port, "netns", switch)
    _ip("-n", node, "link", "add", "br1", *BRIDGE)
    _ip("-n", node, "link", "set", "back", "master", "br1", "up")
    _ip("-n", node, "link", "set", "br1", "up")
    _ip("-n", switch, "link", "set", port, "master", "br1", "up")


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True, timeout=30)
