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
