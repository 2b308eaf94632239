"""What surrounds a container, changed; and what of it only a stopped one takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from migrator.model.container import Descriptor
from migrator.model.network import resolv_conf

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Around:
    """New values, each `None` where it stays; an empty one takes away what there was.

    `routes` are by network and `sysctls` by name: those that are not named stay, one of "" is taken away.
    """

    hostname: str | None = None
    nameservers: Words | None = None
    search: Words | None = None
    devices: Words | None = None
    firewall: str | None = None
    routes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    sysctls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def empty(self) -> bool:
        return self == Around()

    def of(self, ct: Descriptor) -> Descriptor:
        """The container with these surroundings."""
        return replace(
            ct,
            hostname=ct.hostname if self.hostname is None else self.hostname or None,
            nameservers=ct.nameservers if self.nameservers is None else self.nameservers,
            search=ct.search if self.search is None else self.search,
            devices=ct.devices if self.devices is None else self.devices,
            firewall=ct.firewall if self.firewall is None else self.firewall,
            routes=_merged(ct.routes, self.routes),
            sysctls=tuple(sorted(_merged(ct.sysctls, self.sysctls), key=wide_first)),
        )


def wide_first(pair: str) -> tuple[bool, bool, str]:
    """Sorts sysctls: forwarding as a whole sets others, and so comes first."""
    name = pair.partition("=")[0]
    return name != "net.ipv4.ip_forward", ".all." not in name, name


def _merged(pairs: Words, changes: Mapping[str, str]) -> Words:
    """Pairs "KEY=VALUE" with some of them changed, those that are new at the end."""
    values = {key: value for key, _, value in (pair.partition("=") for pair in pairs)} | dict(changes)
    return tuple(f"{key}={value}" for key, value in values.items() if value)


def only_stopped(before: Descriptor, after: Descriptor) -> Words:
    """What of the change a running container cannot take, each in a word for its node, which knows whether it runs."""
    found = []
    if before.devices != after.devices:
        found.append("devices")
    if bool(resolv_conf(before)) != bool(resolv_conf(after)):
        found.append("resolver")  # the file is bound in at the start, or not
    if {pair.partition("=")[0] for pair in before.sysctls} - {pair.partition("=")[0] for pair in after.sysctls}:
        found.append("sysctls")  # nobody knows what it was before it was set
    return tuple(found)
