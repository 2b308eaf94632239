"""Published ports: a port of the node that leads to one of a container, by address translation on the node.

For containers on a bridge that only their node has, as of a laptop or a rented host. The state of a translated
connection is the node's, and stays there: what moves is the container, not who is connected to it through its node.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from migrator.model.address import bare, is_ipv6, is_written_bare

PORTS_MAX = 64
EVERY = ("0.0.0.0", "::")  # noqa: S104 - all addresses of a node of one family, IPv4 and IPv6
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_ASKED = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?([0-9]+):([0-9]+)(?:/(tcp|udp))?")


class Described(Protocol):
    """A container's description, as far as this is concerned."""

    @property
    def published(self) -> tuple[Port, ...]: ...


class Published(Protocol):
    """A container on a node, as far as this is concerned."""

    @property
    def name(self) -> str: ...
    @property
    def descriptor(self) -> Described | None: ...


@dataclass(frozen=True, slots=True)
class Port:
    """Port `port` of a node, at `host_ip` or (empty) at all its addresses, which leads to `inside` of the container."""

    port: int
    inside: int
    protocol: Literal["tcp", "udp"] = "tcp"
    host_ip: str = ""

    def __str__(self) -> str:
        host = f"[{self.host_ip}]:" if is_ipv6(self.host_ip) else f"{self.host_ip}:" if self.host_ip else ""
        return f"{host}{self.port}:{self.inside}{'' if self.protocol == 'tcp' else '/udp'}"

    @property
    def taken(self) -> str:
        """What of the node it takes, whatever the address: "8080/tcp"."""
        return f"{self.port}/{self.protocol}"

    @property
    def at(self) -> str:
        """The same with its address, where it is at one: "192.0.2.1:8080/tcp"."""
        host = f"[{self.host_ip}]" if is_ipv6(self.host_ip) else self.host_ip
        return f"{host}:{self.taken}" if host else self.taken

    @property
    def marks(self) -> frozenset[str]:
        """What it leaves to be found by: one of them is a sight of whoever it meets."""
        family = (f"{self.taken} {EVERY[is_ipv6(self.host_ip)]}",) if self.host_ip else self._families
        return frozenset({f"{self.taken} all", f"{self.taken} at {self.host_ip}", *family})

    @property
    def sights(self) -> frozenset[str]:
        """Marks of all that a node could not publish beside it."""
        if self.host_ip == "":
            return frozenset({f"{self.taken} all"})
        if self.host_ip in EVERY:
            return frozenset({f"{self.taken} {self.host_ip}"})
        wider = ("", EVERY[is_ipv6(self.host_ip)])
        return frozenset(f"{self.taken} at {host_ip}" for host_ip in (self.host_ip, *wider))

    @property
    def _families(self) -> tuple[str, ...]:
        return tuple(f"{self.taken} {every}" for every in EVERY)

    def meets(self, other: Port) -> bool:
        """Whether one node cannot publish both: one port, and addresses of which one is, or stands for, the other."""
        return not self.sights.isdisjoint(other.marks)


def parse(text: str) -> Port:
    """A port as it is asked for, [HOSTIP:]PORT:CTPORT[/udp]; ValueError says what is wrong."""
    match = _ASKED.fullmatch(text)
    if not match:
        raise ValueError("write [HOSTIP:]PORT:CTPORT[/udp], as 8080:80; an address of IPv6 in brackets")
    host_ip = match[1].strip("[]") if match[1] else ""
    if host_ip:
        host_ip = str(ipaddress.ip_address(host_ip))
    if not _NUMBER.fullmatch(match[2]) or not _NUMBER.fullmatch(match[3]):
        raise ValueError("a port is a number from 1 to 65535")
    port = Port(int(match[2]), int(match[3]), "udp" if match[4] == "udp" else "tcp", host_ip)
    if wrong := fault((port,), (host_ip,)):
        raise ValueError(wrong)
    return port


def fault(ports: tuple[Port, ...], ips: Collection[str]) -> str:
    """Why no container with these addresses of its first card publishes these, or ""."""
    if len(ports) > PORTS_MAX:
        return f"a container publishes at most {PORTS_MAX} ports"
    for number, port in enumerate(ports):
        if not (0 < port.port < 65_536 and 0 < port.inside < 65_536):
            return "a port is a number from 1 to 65535"
        if port.host_ip and not is_written_bare(port.host_ip):
            return f"{port.host_ip[:60]!r} is no address"
        if port.host_ip and not any(is_ipv6(ip) == is_ipv6(port.host_ip) for ip in ips):
            return f"{port}: the container has no address of that family on its first card"
        if any(port.meets(other) for other in ports[:number]):
            return f"{port.at} is there twice"
    return ""


def net_lines(ports: Collection[Port], addresses: Collection[str], others: Collection[str] = ()) -> Iterator[str]:
    """Lines for the kit, of a container whose first card has these addresses (CIDR): for each port one of each family.

    `port PROTOCOL,HOSTIP or -,PORT,ADDRESS,CTPORT,NETWORK[,NETWORK...]`: the networks, those of its `others` too, are
    those that it would answer past its node.
    """
    for port in ports:
        for six in (False, True):
            to = next((address for address in addresses if is_ipv6(address) == six), None)
            if to is None or (port.host_ip and is_ipv6(port.host_ip) != six):
                continue
            near = (ipaddress.ip_interface(address).network for address in (to, *others) if is_ipv6(address) == six)
            networks = ",".join(map(str, ipaddress.collapse_addresses(near)))  # type: ignore[type-var]
            yield f"port {port.protocol},{_word(port)},{port.port},{bare(to)},{port.inside},{networks}"


def words(ports: Collection[Port]) -> list[str]:
    """Each as a node is asked whether it is free: PROTOCOL,HOSTIP or -,PORT."""
    return [f"{port.protocol},{_word(port)},{port.port}" for port in ports]


def _word(port: Port) -> str:
    return "-" if port.host_ip in ("", *EVERY) else port.host_ip


def taken_by(ports: Collection[Port], others: Collection[Port]) -> str:
    """The first of these that others have on a node, as they have it, or ""."""
    return next((other.at for port in ports for other in others if port.meets(other)), "")


def lacking(name: str, ports: Collection[Port], there: Collection[Published]) -> Iterator[str]:
    """Which containers of a node have published a port that another one, `name`, is to publish there."""
    for other in there:
        if other.name != name and other.descriptor and (taken := taken_by(ports, other.descriptor.published)):
            yield f"container {other.name} has published port {taken}; free it, or choose another node"


def lost(ports: Collection[Port], target: str) -> str:
    """What of a container does not move with it, in words; empty where all does."""
    if not ports:
        return ""
    which = ", ".join(str(port.port) for port in ports)
    return (
        f"connections through its published ports ({which}) end: address translation is its node's, and stays there; "
        f"clients find it at {target}"
    )
