"""What a person asks of a container that is to be made, checked: each fault names its option."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from migrator.errors import QUOTED_CHARS_MAX, BadInput, quoted
from migrator.executor.asked_nics import asked_nics
from migrator.executor.asked_ports import asked_ports
from migrator.executor.limit_words import parse_change, parse_size
from migrator.executor.surroundings import Surroundings
from migrator.model import confinement, next_hops
from migrator.model.address import bare, canonical, is_for_one, is_ipv6
from migrator.model.container import ADDRESSES_MAX, NAME, USER
from migrator.model.disk import Disk
from migrator.model.disk import fault as disks_fault
from migrator.model.disk import is_asked_for as is_disk
from migrator.model.disk import parse as parse_disk
from migrator.model.init import DEFAULT_COMMAND, signal, signal_fault
from migrator.model.io_limits import IoLimits
from migrator.model.nics import Nic
from migrator.model.ports import Port
from migrator.model.volume import Volume
from migrator.model.volume import fault as volumes_fault
from migrator.model.volume import parse as parse_volume

DESCRIPTION_BYTES_MAX = 90_000  # of one container; nodes tell theirs all at once
IDS = 65536  # that a container has, of users and of groups


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for, checked."""

    name: str
    template: str
    address: str
    more_addresses: tuple[str, ...]
    gateway: str | None
    gateway6: str | None
    command: tuple[str, ...]
    memory_bytes: int
    cpu_milli: int
    disk_bytes: int
    user: str | None
    env: tuple[str, ...]
    labels: dict[str, str]
    restart: Literal["no", "always"] = "no"
    volumes: tuple[Volume, ...] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)
    swap_bytes: int | None = None
    pids: int = 0
    io_weight: int = 0
    io: IoLimits = field(default_factory=IoLimits)
    runtime: Literal["runc", "crun"] = "runc"
    nics: tuple[Nic, ...] = ()
    disks: tuple[Disk, ...] = ()
    published: tuple[Port, ...] = ()
    init: Literal["plain", "systemd"] = "plain"
    stop_signal: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those of all its cards."""
        return (self.address, *self.more_addresses, *(address for nic in self.nics for address in nic.addresses))

    @classmethod
    def parse(
        cls,
        *,
        name: str,
        template: str,
        ips: tuple[str, ...],
        gateways: tuple[str, ...],
        memory: str,
        cpus: float,
        disk: str,
        user: str | None,
        labels: tuple[str, ...],
        env: tuple[str, ...],
        command: tuple[str, ...],
        restart: Literal["no", "always"] = "no",
        volumes: tuple[str, ...] = (),
        swap: str | None = None,
        pids: str | None = None,
        io_weight: str | None = None,
        io: tuple[str, ...] = (),
        runtime: Literal["runc", "crun"] = "runc",
        nics: tuple[str, ...] = (),
        published: tuple[str, ...] = (),
        init: Literal["plain", "systemd"] = "plain",
        stop_signal: str | None = None,
        **surroundings: Any,
    ) -> Wanted:
        """Checks the words of a command line; BadInput names the argument. `surroundings` are those of its module."""
        check_container_name(name)
        if init == "systemd":
            command = command or DEFAULT_COMMAND
        if not command or not command[0]:
            raise BadInput("COMMAND: it is empty; write what the container runs after --")
        check_text("COMMAND", command)
        shared, disks = _volumes(volumes)
        limits = parse_change(memory=memory, cpus=cpus, swap=swap, pids=pids, io_weight=io_weight, io=io)
        if not NAME.fullmatch(template):
            raise BadInput(f"--template {quoted(template)}: not a template's name")
        if user is not None and not USER.fullmatch(user):
            raise BadInput(f"--user {quoted(user)}: not a user: a name of the container's own, UID or UID:GID")
        if user is not None and any(part.isdigit() and int(part) >= IDS for part in user.split(":")):
            raise BadInput(f"--user {quoted(user)}: a container's ids end at {IDS - 1}")
        address, *more_addresses = parse_addresses(ips)
        gateway, gateway6 = parse_gateways(gateways)
        around = Surroundings.parse(**surroundings)
        wanted = cls(
            name=name,
            template=template,
            address=address,
            more_addresses=tuple(more_addresses),
            gateway=gateway,
            gateway6=gateway6,
            command=command,
            memory_bytes=limits.memory_bytes or 0,
            cpu_milli=limits.cpu_milli or 0,
            disk_bytes=parse_size("--disk", disk, 1) + sum(of.size_bytes for of in disks),
            user=user,
            env=tuple(f"{key}={value}" for key, value in parse_pairs("--env", env).items()),
            labels=parse_pairs("--label", labels),
            restart=restart,
            volumes=shared,
            disks=disks,
            surroundings=around,
            swap_bytes=None if limits.swap_bytes is None or limits.swap_bytes < 0 else limits.swap_bytes,
            pids=limits.pids or 0,
            io_weight=limits.io_weight or 0,
            io=IoLimits(**limits.io),
            runtime=runtime,
            nics=asked_nics(nics, (address, *more_addresses), around.sysctls),
            published=asked_ports(published, (address, *more_addresses)),
            init=init,
            stop_signal=_signal(stop_signal),
        )
        wanted.refuse_at_odds()
        return wanted

    def refuse_at_odds(self) -> None:
        """BadInput for options that cannot be had together."""
        gateways = tuple(gateway for gateway in (self.gateway, self.gateway6) if gateway)
        others = tuple(address for nic in self.nics for address in nic.addresses)
        first = (self.address, *self.more_addresses)
        option, why = next_hops.fault(first, others, gateways, self.surroundings.routes)
        if option:
            raise BadInput(f"{option}: {why}")
        if self.init == "systemd" and self.runtime == "crun":  # which restores no groups below a container's own
            raise BadInput("--init systemd: a container that crun makes could not be moved; leave out --runtime crun")
        if self.user is not None and self.init == "systemd":
            raise BadInput(f"--user {self.user}: systemd is started as the container's root; leave out one of the two")
        if wrong := confinement.user_fault(self):
            raise BadInput(f"--cap-drop: {wrong}")
        if self.devices and self.runtime == "crun":  # it binds them from the node, and CRIU knows no such mount
            what = "a container that crun makes could not be moved with it; leave out --runtime crun"
            raise BadInput(f"--device {self.devices[0]}: {what}")

    @property
    def cap_add(self) -> tuple[str, ...]:
        return self.surroundings.cap_add

    @property
    def cap_drop(self) -> tuple[str, ...]:
        return self.surroundings.cap_drop

    @property
    def devices(self) -> tuple[str, ...]:
        return self.surroundings.devices


def _signal(text: str | None) -> str:
    if text is None:
        return ""
    if wrong := signal_fault(signal(text)):
        raise BadInput(f"--stop-signal {quoted(text)}: {wrong}")
    return signal(text)


def check_text(what: str, words: tuple[str, ...]) -> None:
    """Refuses what could not be told to a node and back: bytes that are no text, and a NUL."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{what} {quoted(word)}: not UTF-8") from None
        if "\0" in word:
            raise BadInput(f"{what} {quoted(word)}: holds a NUL")


def check_container_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise BadInput(
            f"container name {quoted(name)}: write 1 to 63 of a-z, 0-9, '_' and '-', a letter or digit first"
        )


def check_length(wanted: Wanted) -> None:
    words = [*wanted.command, *wanted.env, *wanted.labels, *wanted.labels.values()]
    size = len(json.dumps(words)) + len(json.dumps(wanted.surroundings.fields()))
    if size > DESCRIPTION_BYTES_MAX:
        raise BadInput(
            "COMMAND, --env, --label and --firewall: together too long; put long text into a file of the container"
        )


def _volumes(given: tuple[str, ...]) -> tuple[tuple[Volume, ...], tuple[Disk, ...]]:
    """Those on storage that nodes share, and those of the container's own."""
    shared, own = [], []
    for text in given:
        try:
            if is_disk(text):
                own.append(parse_disk(text))
            else:
                shared.append(parse_volume(text))
        except ValueError as error:
            raise BadInput(f"--volume {quoted(text)}: {error}") from error
    if wrong := volumes_fault(tuple(shared)) or disks_fault(tuple(own), tuple(shared)):
        raise BadInput(f"--volume: {wrong}")
    return tuple(shared), tuple(own)


def parse_addresses(ips: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(ips) <= ADDRESSES_MAX:
        raise BadInput(f"--ip: a container has 1 to {ADDRESSES_MAX} addresses")
    addresses = tuple(_address("--ip", text) for text in ips)
    for text, address in zip(ips, addresses, strict=True):
        if not is_for_one(address):
            raise BadInput(f"--ip {quoted(text)}: not an address for one container")
    found = [bare(address) for address in addresses]
    if twice := next((ip for ip in found if found.count(ip) > 1), ""):
        raise BadInput(f"--ip {twice}: is there twice")
    return addresses


def parse_gateways(given: tuple[str, ...]) -> tuple[str | None, str | None]:
    """The one for IPv4 and the one for IPv6."""
    found = {is_ipv6(gateway): gateway for gateway in (bare(_address("--gateway", text)) for text in given)}
    if len(found) < len(given):
        raise BadInput("--gateway: a container has one for IPv4 and one for IPv6 at most")
    return found.get(False), found.get(True)


def _address(option: str, text: str) -> str:
    try:
        return canonical(text)
    except ValueError as error:
        raise BadInput(f"{option} {quoted(text)}: {str(error)[:QUOTED_CHARS_MAX]}") from error


def parse_pairs(option: str, words: tuple[str, ...]) -> dict[str, str]:
    check_text(option, words)
    pairs = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or not key.isprintable():
            raise BadInput(f"{option} {quoted(word)}: write KEY=VALUE")
        pairs[key] = value
    return pairs
