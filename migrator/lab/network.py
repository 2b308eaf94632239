"""The lab's wires: a switch in a network namespace of its own, one cable to this machine and one to each node."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from migrator.lab.paths import LabPaths
from migrator.lab.shell import run


@dataclass(frozen=True, slots=True)
class Subnet:
    """10.213.INDEX.0/24: this machine is .1, nodes follow from .11, containers from .100 by the lab's habit.

    Beside it is fd00:213:INDEX::/64, for this machine and for containers; nodes are reached by IPv4.
    """

    index: int

    @property
    def host_ip(self) -> str:
        return f"10.213.{self.index}.1"

    def node_ip(self, number: int) -> str:
        return f"10.213.{self.index}.{10 + number}"

    def container_ip(self, number: int) -> str:
        return f"10.213.{self.index}.{100 + number}"

    @property
    def host_ip6(self) -> str:
        return self.container_ip6(1)

    def container_ip6(self, number: int) -> str:
        return str(ipaddress.ip_address(f"fd00:213:{self.index}::{number}"))

    @property
    def prefix(self) -> str:
        return f"10.213.{self.index}.0/24"

    @property
    def host_link(self) -> str:
        return f"mlab{self.index}"


def taken_prefixes() -> set[str]:
    """Every destination this machine already routes to."""
    routes = json.loads(run(["ip", "-j", "route", "show", "table", "all"]).stdout or "[]")
    return {route.get("dst", "") for route in routes}


def netns_exists(name: str) -> bool:
    return (Path("/run/netns") / name).exists()


def make_switch(lab: LabPaths, subnet: Subnet) -> None:
    """Makes the switch and the cable to this machine, unless they are there."""
    if netns_exists(lab.switch_netns):
        return
    switch = lab.switch_netns
    run(["ip", "netns", "add", switch])
    for table in ("iptables", "ip6tables", "arptables"):
        knob = Path(f"/proc/sys/net/bridge/bridge-nf-call-{table}")
        if knob.exists():  # this namespace's own switch; the machine's stays as it is
            run(["ip", "netns", "exec", switch, "sh", "-c", f"echo 0 > {knob}"])
    _ip(switch, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
    _ip(switch, "link", "set", "br0", "up")
    run(["ip", "link", "add", subnet.host_link, "type", "veth", "peer", "name", "host", "netns", switch])
    _ip(switch, "link", "set", "host", "master", "br0", "up")
    run(["ip", "addr", "add", f"{subnet.host_ip}/24", "dev", subnet.host_link])
    run(["ip", "link", "set", subnet.host_link, "up"])
    # A machine without IPv6 has labs all the same.
    run(["ip", "address", "add", f"{subnet.host_ip6}/64", "dev", subnet.host_link, "nodad"], check=False)


def remove_switch(lab: LabPaths) -> None:
    """Removes the switch with all its cables, and does not leave it to the kernel's own time."""
    if netns_exists(lab.switch_netns):
        run(["ip", "-n", lab.switch_netns, "link", "del", "host"], check=False)
        remove_netns(lab.switch_netns)


def remove_netns(name: str) -> None:
    """Removes a namespace; its cables go with it."""
    if netns_exists(name):
        run(["ip", "netns", "del", name])


def plug_node(lab: LabPaths, node: str, ip: str, link_mbit: int | None) -> None:
    """Makes a node's namespace anew, with a bridge for its containers that carries the node's own address."""
    netns, switch = lab.node_netns(node), lab.switch_netns
    unplug_node(lab, node)
    run(["ip", "netns", "add", netns])
    mac = node_mac(ip)
    cable = ["link", "add", "eth0", "address", mac, "type", "veth", "peer", "name", node, "netns", switch]
    run(["ip", "-n", netns, *cable])
    # With an address of its own: else a bridge takes the lowest of its ports', and changes it as containers come.
    bridge = ["type", "bridge", "stp_state", "0", "forward_delay", "0"]
    _ip(netns, "link", "add", "br0", "address", mac.replace("02:6d", "02:6e", 1), *bridge)
    _ip(netns, "link", "set", "eth0", "master", "br0", "up")
    _ip(netns, "addr", "add", f"{ip}/24", "dev", "br0")
    _ip(netns, "link", "set", "br0", "up")
    _ip(switch, "link", "set", node, "master", "br0", "up")
    if link_mbit:
        for where, link in ((netns, "eth0"), (switch, node)):
            shape = ["rate", f"{link_mbit}mbit", "burst", "256kb", "latency", "50ms"]
            run(["tc", "-n", where, "qdisc", "replace", "dev", link, "root", "tbf", *shape])


def node_mac(ip: str) -> str:
    """A host keeps its MAC over reboots."""
    return "02:6d:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


def plug_vm(lab: LabPaths, node: str) -> None:
    """Makes the switch's end of a virtual machine's cable anew; QEMU is the other end."""
    unplug_node(lab, node)
    _ip(lab.switch_netns, "tuntap", "add", "name", node, "mode", "tap")
    _ip(lab.switch_netns, "link", "set", node, "master", "br0", "up")


def unplug_node(lab: LabPaths, node: str) -> None:
    """Removes a node's namespace and its cable at once; the kernel alone would take its time."""
    if netns_exists(lab.switch_netns):
        run(["ip", "-n", lab.switch_netns, "link", "del", node], check=False)
    remove_netns(lab.node_netns(node))


def set_link(lab: LabPaths, node: str, up: bool) -> None:
    """Parts a node from the network, or joins it again, as by pulling its cable."""
    _ip(lab.switch_netns, "link", "set", node, "up" if up else "down")


def _ip(netns: str, *words: str) -> None:
    run(["ip", "-n", netns, *words])
