"""What a person asks of a container's confinement and network, checked: each fault names its option.

Each option has a function of its own, for making a container and for changing one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from migrator.errors import BadInput, quoted
from migrator.model import confinement, network
from migrator.model.address import bare, canonical, is_written_bare
from migrator.model.around import Around, wide_first

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Fields of a descriptor, by the same names."""

    cap_add: Words = ()
    cap_drop: Words = ()
    devices: Words = ()
    seccomp: Literal["default", "off"] = "default"
    new_privileges: bool = False
    hostname: str | None = None
    nameservers: Words = ()
    search: Words = ()
    routes: Words = ()
    sysctls: Words = ()
    firewall: str = ""

    @classmethod
    def parse(
        cls,
        *,
        cap_add: Words = (),
        cap_drop: Words = (),
        devices: Words = (),
        seccomp: Literal["default", "off"] = "default",
        new_privileges: bool = False,
        hostname: str | None = None,
        nameservers: Words = (),
        search: Words = (),
        routes: Words = (),
        sysctls: Words = (),
        firewall: str | None = None,
    ) -> Surroundings:
        """Checks the words of a command line; `firewall` is a file's path. BadInput names the option."""
        if both := sorted(set(map(confinement.capability, cap_add)) & set(map(confinement.capability, cap_drop))):
            raise BadInput(f"--cap-add {both[0]}: --cap-drop takes it away again; leave one of them out")
        return cls(
            cap_add=capabilities("--cap-add", cap_add, confinement.add_fault),
            cap_drop=capabilities("--cap-drop", cap_drop, confinement.drop_fault),
            devices=_held("--device", devices, confinement.devices_fault),
            seccomp=seccomp,
            new_privileges=new_privileges,
            hostname=named(hostname),
            nameservers=asked_nameservers(nameservers),
            search=_held("--search", search, network.search_fault),
            routes=asked_routes(routes),
            sysctls=asked_sysctls(sysctls),
            firewall="" if firewall is None else rules_in(firewall),
        )

    def fields(self) -> dict[str, Any]:
        return asdict(self)


def capabilities(option: str, words: Words, fault: Callable[[Words], str]) -> Words:
    return _held(option, tuple(confinement.capability(word) for word in words), fault)


def named(hostname: str | None) -> str | None:
    if hostname is not None and (wrong := network.hostname_fault(hostname)):
        raise BadInput(f"--hostname {quoted(hostname)}: {wrong}")
    return hostname


def asked_nameservers(words: Words) -> Words:
    return _held("--nameserver", tuple(map(_plain, words)), network.nameservers_fault)


def asked_routes(words: Words) -> Words:
    """Routes as NETWORK=GATEWAY, both written canonically."""
    written = []
    for word in words:
        to, _, via = word.partition("=")
        written.append(f"{_network(to)}={_plain(via)}")
    return _held("--route", tuple(written), network.routes_fault)


def asked_sysctls(words: Words) -> Words:
    """Sorted, but for forwarding as a whole, which sets others, and so comes first."""
    return _held("--sysctl", tuple(sorted(words, key=wide_first)), network.sysctls_fault)


def rules_in(path: str) -> str:
    """The text of a file of rules."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123   (of "" a Path makes the directory that one is in)
            data = file.read(network.FIREWALL_BYTES_MAX + 1)
    except OSError as error:
        raise BadInput(f"--firewall {quoted(path)}: cannot be read: {error.strerror}") from error
    if len(data) > network.FIREWALL_BYTES_MAX:
        raise BadInput(f"--firewall {quoted(path)}: over {network.FIREWALL_BYTES_MAX} bytes of rules")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadInput(f"--firewall {quoted(path)}: not UTF-8") from None
    if wrong := network.firewall_fault(text) or network.owner_fault(text):
        raise BadInput(f"--firewall {quoted(path)}: {wrong}")
    return text


NONE = ("none",)  # takes away what there was


def parse_around(
    *,
    hostname: str | None = None,
    nameservers: Words = (),
    search: Words = (),
    routes: Words = (),
    sysctls: Words = (),
    devices: Words = (),
    firewall: str | None = None,
) -> Around:
    """What of these is to change, from the words of `ct set`; BadInput names the option.

    "none" takes all of an option away, and for its rules and its name what it was made with; KEY=none one route or
    sysctl.
    """
    return Around(
        hostname=None if hostname is None else "" if (hostname,) == NONE else named(hostname),
        nameservers=_listed(nameservers, asked_nameservers),
        search=_listed(search, lambda words: _held("--search", words, network.search_fault)),
        devices=_listed(devices, lambda words: _held("--device", words, confinement.devices_fault)),
        firewall=None if firewall is None else "" if (firewall,) == NONE else rules_in(firewall),
        routes=_changes(routes, asked_routes, lambda word: _network(word.partition("=")[0])),
        sysctls=_changes(sysctls, asked_sysctls, lambda word: word.partition("=")[0]),
    )


def _listed(words: Words, parse: Callable[[Words], Words]) -> Words | None:
    if not words:
        return None
    return () if words == NONE else parse(words)


def _changes(words: Words, parse: Callable[[Words], Words], key: Callable[[str], str]) -> dict[str, str | None]:
    """Pairs by their keys, with None for those that are taken away."""
    gone = tuple(word for word in words if word.endswith("=none"))
    pairs = (pair.partition("=") for pair in parse(tuple(word for word in words if word not in gone)))
    return {**{name: value for name, _, value in pairs}, **{key(word): None for word in gone}}


def _held(option: str, words: Words, fault: Callable[[Words], str]) -> Words:
    if wrong := fault(words):
        raise BadInput(f"{option} {wrong}")
    return words


def _plain(text: str) -> str:
    """An address as it is written canonically; what is none stays as it is, to be refused."""
    if is_written_bare(text):
        return text
    try:
        return bare(canonical(text)) if "/" not in text else text
    except ValueError:
        return text


def _network(text: str) -> str:
    import ipaddress  # noqa: PLC0415   (few containers have routes)

    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        return text
