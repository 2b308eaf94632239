"""What a container is: everything from which it can be built again on another node."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal

from migrator.model import confinement, disk, init, network, ports, volume
from migrator.model import nics as cards
from migrator.model.address import bare, is_for_one, is_ipv6, is_written, is_written_bare
from migrator.model.io_limits import IoLimits, io_fault
from migrator.model.nics import Card, Nic

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # no dot: it ends a name in what nodes call jobs and keys
ID_RANGE = 65_536
ID_INDEX_MIN = 16  # ids below 2**20 stay free for the host's own users and their subordinate ranges
ID_INDEX_MAX = 65_000
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}|[0-9]{1,5}(:[0-9]{1,5})?")
AMOUNT_MAX = 2**53  # of bytes, or of thousandths of a CPU: no node has so much, and every program can count it
ADDRESSES_MAX = 16  # each is asked for before a move, and announced after it
PIDS_MIN, PIDS_MAX = 32, 4_194_304  # a restore needs some beside the container's own; the kernel's largest pid
IO_WEIGHTS = (10, 1000)
_DIGEST = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One container, independent of the node it is on. Kept beside its bundle as one line of JSON.

    `address` is CIDR ("10.0.0.7/24"), `more_addresses` are what it has beside it, IPv4 or IPv6; `gateway` and
    `gateway6` are its default routes of either family. `id_index` numbers the container's range of user ids:
    container id 0 is host id `id_index * 65536`. `command` runs as `user`, a name that the template knows, "UID" or
    "UID:GID", or as the container's root. `restart` says whether its node starts it again when it ends, and at
    boot. `volumes` are directories on storage that nodes share, each at a path inside. `swap_bytes`, `pids`,
    `io_weight` and `io` are as in `model.limits`. `runtime` is the program that makes, dumps and restores it.

    `cap_add` and `cap_drop` change the capabilities that containers have, `devices` are those by request, `seccomp`
    whether it runs under our filter of system calls, `new_privileges` whether its programs may gain what they were not
    started with, as by sudo. `routes` are "NETWORK=GATEWAY", `sysctls` "NAME=VALUE", `firewall` rules for nft. `nics`
    are network cards beside the first, which has `address` and `more_addresses`. `disks` are volumes of its own, whose
    sizes are a part of `disk_bytes`. `published` are ports of its node that lead to ones of it.

    `init` says what its first process needs beside what all have: systemd a control group of its own to divide.
    `stop_signal` is what asks it to end, as in `model.init`; "" is the usual one of its init.
    """

    name: str
    template: str
    template_digest: str
    command: tuple[str, ...]
    address: str
    id_index: int
    memory_bytes: int
    cpu_milli: int
    disk_bytes: int
    gateway: str | None = None
    user: str | None = None
    env: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    restart: Literal["no", "always"] = "no"
    version: int = 1
    more_addresses: tuple[str, ...] = ()
    gateway6: str | None = None
    volumes: tuple[volume.Volume, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    seccomp: Literal["default", "off"] = "default"
    new_privileges: bool = False
    hostname: str | None = None
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    firewall: str = ""
    swap_bytes: int | None = None
    pids: int = 0
    io_weight: int = 0
    runtime: Literal["runc", "crun"] = "runc"
    nics: tuple[Nic, ...] = ()
    disks: tuple[disk.Disk, ...] = ()
    published: tuple[ports.Port, ...] = ()
    io: IoLimits = field(default_factory=IoLimits)
    init: Literal["plain", "systemd"] = "plain"
    stop_signal: str = ""

    @property
    def id_base(self) -> int:
        """Host id of the container's root."""
        return self.id_index * ID_RANGE

    @property
    def mount_points(self) -> tuple[str, ...]:
        """Paths inside at which something that is not its own layer is bound."""
        return (*(volume.path for volume in self.volumes), *(own.path for own in self.disks))

    @property
    def veth(self) -> str:
        """Name of the host end of the container's cable: at most 15 characters, so by number, not by name."""
        return f"ct{self.id_index}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those of all its cards, each with its prefix."""
        return tuple(address for card in self.cards for address in card.addresses)

    @property
    def cards(self) -> tuple[Card, ...]:
        """All its network cards, eth0 first."""
        first = Card(cards.FIRST, self.veth, "", self.mac, (self.address, *self.more_addresses))
        return (first, *(self._card(nic) for nic in self.nics))

    def _card(self, nic: Nic) -> Card:
        mac = nic.mac or _mac_of(" ".join((self.name, nic.name, *nic.addresses[:1])))
        return Card(nic.name, f"{self.veth}-{nic.name[3:]}", nic.bridge, mac, nic.addresses)

    def card_of(self, ip: str) -> Card:
        """The card that has this address; StopIteration where none has."""
        return next(card for card in self.cards if ip in map(bare, card.addresses))

    @property
    def ips(self) -> tuple[str, ...]:
        """All of them without their prefixes."""
        return tuple(bare(address) for address in self.addresses)

    @property
    def gateways(self) -> tuple[str, ...]:
        return tuple(gateway for gateway in (self.gateway, self.gateway6) if gateway)

    @property
    def mac(self) -> str:
        """A locally administered address that follows from name and first address, so it is the same on every node."""
        return _mac_of(f"{self.name} {self.address}")


def _mac_of(words: str) -> str:
    digest = hashlib.sha256(words.encode()).digest()
    return "02:" + ":".join(f"{byte:02x}" for byte in digest[:5])


BOUNDS = {
    "id_index": (ID_INDEX_MIN, ID_INDEX_MAX - 1),  # below are the node's own users, and its root
    "memory_bytes": (0, AMOUNT_MAX),
    "cpu_milli": (0, AMOUNT_MAX),
    "disk_bytes": (0, AMOUNT_MAX),
}


def fault(ct: Descriptor) -> str:
    """The field that no container of ours has like this, or "": a description that came from elsewhere is asked.

    Most of it becomes files, ids and words on a node that has never seen who wrote it.
    """
    checks = {
        "version": ct.version == 1,
        "name": bool(NAME.fullmatch(ct.name)),
        "template": bool(NAME.fullmatch(ct.template)),
        "template_digest": bool(_DIGEST.fullmatch(ct.template_digest)),
        "nics": not cards.fault(ct.nics) and cards.has_all(ct.cards, ct.sysctls),
        "address": _is_an_address(ct.address),
        "more_addresses": all(_is_an_address(address) for address in ct.more_addresses)
        and len(set(ct.ips)) == len(ct.ips) <= ADDRESSES_MAX,
        "gateway": ct.gateway is None or (is_written_bare(ct.gateway) and not is_ipv6(ct.gateway)),
        "gateway6": ct.gateway6 is None or (is_written_bare(ct.gateway6) and is_ipv6(ct.gateway6)),
        **{name: least <= getattr(ct, name) <= most for name, (least, most) in BOUNDS.items()},
        "user": ct.user is None or bool(USER.fullmatch(ct.user)),
        "command": bool(ct.command) and bool(ct.command[0]) and not any("\0" in word for word in ct.command),
        "published": not ports.fault(ct.published, ct.cards[0].addresses),
        "volumes": not volume.fault(ct.volumes),
        "disks": not disk.fault(ct.disks, ct.volumes),
        "stop_signal": ct.stop_signal == "" or init.number_of(ct.stop_signal) > 0,
        "env": all(pair.find("=") > 0 and "\0" not in pair for pair in ct.env),
        **_limits(ct),
    }
    return next((name for name, holds in checks.items() if not holds), "") or _of_modules(ct)


def _of_modules(ct: Descriptor) -> str:
    return confinement.fault(ct) or network.fault(ct)


def _limits(ct: Descriptor) -> dict[str, bool]:
    return {
        "swap_bytes": ct.swap_bytes is None or 0 <= ct.swap_bytes <= AMOUNT_MAX,
        "pids": ct.pids == 0 or PIDS_MIN <= ct.pids <= PIDS_MAX,
        "io_weight": ct.io_weight == 0 or IO_WEIGHTS[0] <= ct.io_weight <= IO_WEIGHTS[1],
        "io": not io_fault(ct.io),
    }


def _is_an_address(address: str) -> bool:
    return is_written(address) and (not is_ipv6(address) or is_for_one(address))
