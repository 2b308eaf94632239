"""What a container is: everything from which it can be built again on another node."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # no dot: it ends a name in what nodes call jobs and keys
ID_RANGE = 65_536
ID_INDEX_MIN = 16  # ids below 2**20 stay free for the host's own users and their subordinate ranges
ID_INDEX_MAX = 65_000
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
AMOUNT_MAX = 2**53  # of bytes, or of thousandths of a CPU: no node has so much, and every program can count it
_DIGEST = re.compile(r"[!-~]{1,200}")
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"  # addresses in the one way that they are written here
_ADDRESS = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_INTERFACE = re.compile(rf"{_ADDRESS.pattern}/(?:3[0-2]|[12]?[0-9])")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One container, independent of the node it is on. Kept beside its bundle as one line of JSON.

    `address` is CIDR ("10.0.0.7/24"). `id_index` numbers the container's range of user ids: container id 0 is host
    id `id_index * 65536`. `command` runs as `user`, a name that the template knows, or as the container's root.
    `restart` says whether its node starts it again when it ends, and at boot.
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

    @property
    def id_base(self) -> int:
        """Host id of the container's root."""
        return self.id_index * ID_RANGE

    @property
    def veth(self) -> str:
        """Name of the host end of the container's cable: at most 15 characters, so by number, not by name."""
        return f"ct{self.id_index}"

    @property
    def ip(self) -> str:
        return str(ipaddress.ip_interface(self.address).ip)

    @property
    def mac(self) -> str:
        """A locally administered address that follows from name and address, so it is the same on every node."""
        digest = hashlib.sha256(f"{self.name} {self.address}".encode()).digest()
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
        "address": bool(_INTERFACE.fullmatch(ct.address)),
        "gateway": ct.gateway is None or bool(_ADDRESS.fullmatch(ct.gateway)),
        **{name: least <= getattr(ct, name) <= most for name, (least, most) in BOUNDS.items()},
        "user": ct.user is None or bool(USER.fullmatch(ct.user)),
        "command": bool(ct.command) and bool(ct.command[0]) and not any("\0" in word for word in ct.command),
        "env": all(pair.find("=") > 0 and "\0" not in pair for pair in ct.env),
    }
    return next((name for name, holds in checks.items() if not holds), "")
