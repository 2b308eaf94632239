"""Network cards of a container beside its first: each on a bridge of its own, by a name that all its nodes have.

The first, eth0, is on the bridge that the cluster file names for each node. A further one is on a bridge by name: that
two nodes mean the same network by it, the check before a move finds out, address by address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from migrator.model.address import bare, canonical, is_for_one, is_ipv6, is_written

NICS_MAX = 7  # beside eth0
FIRST = "eth0"
NAMES = tuple(f"eth{number}" for number in range(1, NICS_MAX + 1))
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")  # IFNAMSIZ is 16, with its zero byte
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Nic:
    """One card: its name inside, a bridge by name, addresses in CIDR; an empty `mac` is made of names and addresses."""

    name: str
    bridge: str
    addresses: tuple[str, ...]
    mac: str = ""

    def __str__(self) -> str:
        return ",".join((f"{self.name}={self.bridge}", *self.addresses, *([f"mac={self.mac}"] if self.mac else [])))


@dataclass(frozen=True, slots=True)
class Card:
    """A card as its nodes have it: `cable` is its host end; an empty `bridge` is the node's own for containers."""

    name: str
    cable: str
    bridge: str
    mac: str
    addresses: tuple[str, ...]


def parse(text: str) -> Nic:
    """A card as it is asked for, NAME=BRIDGE,IP[,IP...][,mac=MAC]; ValueError says what is wrong."""
    name, sign, rest = text.partition("=")
    bridge, *words = rest.split(",")
    if not sign or not words:
        raise ValueError("write NAME=BRIDGE,IP[,IP...][,mac=MAC], as eth1=br1,10.1.0.7/24")
    macs = [word.removeprefix("mac=").lower() for word in words if word.startswith("mac=")]
    addresses = tuple(canonical(word) for word in words if not word.startswith("mac="))
    if len(macs) > 1:
        raise ValueError("a card has one MAC address")
    nic = Nic(name, bridge, addresses, *macs)
    if wrong := _fault_of(nic) or (macs == [""] and "no MAC address behind mac="):
        raise ValueError(wrong)
    return nic


def fault(nics: tuple[Nic, ...]) -> str:
    """Why no container has these cards beside its first, or ""."""
    for nic in nics:
        if wrong := _fault_of(nic):
            return f"{nic.name[:15]!r}: {wrong}"
    for what in ([nic.name for nic in nics], [nic.mac for nic in nics if nic.mac]):
        if twice := next((word for word in what if what.count(word) > 1), ""):
            return f"{twice} is there twice"
    return ""


def _fault_of(nic: Nic) -> str:
    if nic.name not in NAMES:
        return f"cards are called {NAMES[0]} to {NAMES[-1]}; {FIRST} is made by --ip"
    if not _BRIDGE.fullmatch(nic.bridge):
        return f"{nic.bridge[:40]!r} is no name of a bridge"
    if not nic.addresses:
        return "it has no address"
    if wrong := next((ip for ip in nic.addresses if not is_written(ip) or not is_for_one(ip)), ""):
        return f"{wrong[:60]}: not an address for one container"
    if nic.mac and not _MAC.fullmatch(nic.mac):
        return f"{nic.mac[:40]!r} is no MAC address"
    if nic.mac and (int(nic.mac[:2], 16) & 1 or set(nic.mac) <= {"0", ":"}):
        return f"{nic.mac} is no MAC address of one card"
    return ""


def has_all(cards: Collection[Card], sysctls: Collection[str]) -> bool:
    """Whether each card is there that a sysctl names."""
    return not lost_sysctl({card.name for card in cards}, sysctls)


def lost_sysctl(names: Collection[str], sysctls: Collection[str]) -> str:
    """The first sysctl ("NAME=VALUE") of a card that is not there, or ""."""
    for pair in sysctls:
        parts = pair.partition("=")[0].split(".")
        if len(parts) > 3 and parts[2] == "conf" and parts[3] in NAMES and parts[3] not in names:
            return pair
    return ""


def lacking(nics: Collection[Nic], there: Collection[str]) -> Iterator[str]:
    """Which of a container's bridges a node does not have, with what to do."""
    for nic in nics:
        if nic.bridge not in there:
            yield f"bridge {nic.bridge}, which its card {nic.name} is on, is not there; make it, or choose another node"


def card_for(gateway: str, cards: Collection[Card]) -> str:
    """The name of the card by which a gateway is reached: the first that is in a network with it, else eth0."""
    via = ipaddress.ip_address(bare(gateway))
    for card in cards:
        near = (address for address in card.addresses if is_ipv6(address) == (via.version == 6))
        if any(via in ipaddress.ip_interface(address).network for address in near):
            return card.name
    return FIRST


def net_lines(cards: tuple[Card, ...], gateways: Collection[str]) -> Iterator[str]:
    """Lines for the kit, of all cards but the first, and of gateways that are not reached by that.

    `nic NAME,CABLE,BRIDGE,MAC`, `at NAME,ADDRESS`, `by GATEWAY=NAME`.
    """
    for card in cards[1:]:
        yield f"nic {card.name},{card.cable},{card.bridge},{card.mac}"
        for address in card.addresses:
            yield f"at {card.name},{address}"
    if len(cards) > 1:
        for gateway in sorted(set(gateways)):
            if (name := card_for(gateway, cards)) != FIRST:
                yield f"by {gateway}={name}"
