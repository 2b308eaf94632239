"""What surrounds a container, changed; and what of it only a stopped one takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from migrator.model.address import is_ipv6
from migrator.model.container import Descriptor
from migrator.model.network import resolv_conf
from migrator.model.ports import Port

Words = tuple[str, ...]
_NOTHING: Mapping[str, str | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Around:
    """New values, each `None` where it stays; an empty one takes away what there was.

    `routes` are by network, `sysctls`, `env` and `labels` by name: those that are not named stay, one of None is taken
    away. `addresses` are those of the first card, with their prefixes, `gateways` of both families.
    """

    hostname: str | None = None
    nameservers: Words | None = None
    search: Words | None = None
    devices: Words | None = None
    firewall: str | None = None
    addresses: Words | None = None
    gateways: Words | None = None
    published: tuple[Port, ...] | None = None
    restart: Literal["no", "always"] | None = None
    routes: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)
    sysctls: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)
    env: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)
    labels: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)

    @property
    def empty(self) -> bool:
        return self == Around()

    def of(self, ct: Descriptor) -> Descriptor:
        """The container with these surroundings."""
        addresses = self.addresses or (ct.address, *ct.more_addresses)
        gateways = ct.gateways if self.gateways is None else self.gateways
        return replace(
            ct,
            address=addresses[0],
            more_addresses=addresses[1:],
            gateway=next((gateway for gateway in gateways if not is_ipv6(gateway)), None),
            gateway6=next((gateway for gateway in gateways if is_ipv6(gateway)), None),
            published=ct.published if self.published is None else self.published,
            restart=self.restart or ct.restart,
            env=_merged(ct.env, self.env) if self.env else ct.env,  # an adopted one may have a name twice
            labels=_with(ct.labels, self.labels),
            hostname=ct.hostname if self.hostname is None else self.hostname or None,
            nameservers=ct.nameservers if self.nameservers is None else self.nameservers,
            search=ct.search if self.search is None else self.search,
            devices=ct.devices if self.devices is None else self.devices,
            firewall=ct.firewall if self.firewall is None else self.firewall,
            routes=_merged(ct.routes, self.routes),
            sysctls=tuple(sorted(_merged(ct.sysctls, self.sysctls), key=wide_first)),
        )

    def not_there(self, ct: Descriptor) -> Iterator[str]:
        """What is to be taken away and the container does not have, in words."""
        kinds = (
            ("route", self.routes, _keys(ct.routes)),
            ("sysctl", self.sysctls, _keys(ct.sysctls)),
            ("variable", self.env, _keys(ct.env)),
            ("label", self.labels, set(ct.labels)),
        )
        for kind, changes, there in kinds:
            yield from (f"{kind} {key}" for key, value in changes.items() if value is None and key not in there)
        if self.firewall == "" and not ct.firewall:
            yield "rules of --firewall"  # those that were made inside stay


def wide_first(pair: str) -> tuple[bool, bool, str]:
    """Sorts sysctls: forwarding as a whole sets others, and so comes first."""
    name = pair.partition("=")[0]
    return name != "net.ipv4.ip_forward", ".all." not in name, name


def _merged(pairs: Words, changes: Mapping[str, str | None]) -> Words:
    """Pairs "KEY=VALUE" with some of them changed, those that are new at the end."""
    values = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    return tuple(f"{key}={value}" for key, value in _with(values, changes).items())


def _with(values: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def _keys(pairs: Words) -> set[str]:
    return {pair.partition("=")[0] for pair in pairs}


def only_stopped(before: Descriptor, after: Descriptor) -> Words:
    """What of the change a running container cannot take, each in a word for its node, which knows whether it runs."""
    found = []
    if before.devices != after.devices:
        found.append("devices")
    if bool(resolv_conf(before)) != bool(resolv_conf(after)):
        found.append("resolver")  # the file is bound in at the start, or not
    if _keys(before.sysctls) - _keys(after.sysctls):
        found.append("sysctls")  # nobody knows what it was before it was set
    # Its connections, its MAC, and what its processes have read are of the old ones.
    if before.cards != after.cards:
        found.append("addresses")
    if before.gateways != after.gateways:
        found.append("gateways")
    if before.env != after.env:
        found.append("environment")
    if before.published != after.published:
        found.append("ports")
    return tuple(found)
