"""A container's life outside a migration: create, list, start after a power loss, run a command inside."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import IO, Any, Literal

from migrator.errors import QUOTED_CHARS_MAX, BadInput, FailedSafe, MigratorError, Refused, quoted
from migrator.executor.fleet import Fleet, find_container
from migrator.model.address import bare, canonical, is_for_one, is_ipv6
from migrator.model.container import ADDRESSES_MAX, ID_INDEX_MAX, ID_INDEX_MIN, NAME, USER, Descriptor
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.units import parse_bytes
from migrator.model.volume import Volume
from migrator.model.volume import fault as volumes_fault
from migrator.model.volume import parse as parse_volume
from migrator.runtime import bundle
from migrator.transport import kit
from migrator.transport.base import Node, NodeRefused

MEMORY_BYTES_MIN = 4 << 20
CPUS_MAX = 10_000
DESCRIPTION_BYTES_MAX = 90_000  # of one container; nodes tell theirs all at once


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

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.address, *self.more_addresses)

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
    ) -> Wanted:
        """Checks the words of a command line; BadInput names the argument."""
        check_container_name(name)
        if not command or not command[0]:
            raise BadInput("COMMAND: it is empty; write what the container runs after --")
        check_text("COMMAND", command)
        if not 0.01 <= cpus <= CPUS_MAX:  # which a nan is not
            raise BadInput(f"--cpus {cpus}: from 0.01 to {CPUS_MAX}")
        if not NAME.fullmatch(template):
            raise BadInput(f"--template {quoted(template)}: not a template's name")
        if user is not None and not USER.fullmatch(user):
            raise BadInput(f"--user {quoted(user)}: not a user's name")
        address, *more_addresses = _addresses(ips)
        gateway, gateway6 = _gateways(gateways)
        return cls(
            name=name,
            template=template,
            address=address,
            more_addresses=tuple(more_addresses),
            gateway=gateway,
            gateway6=gateway6,
            command=command,
            memory_bytes=_size("--memory", memory, MEMORY_BYTES_MIN),
            cpu_milli=round(cpus * 1000),
            disk_bytes=_size("--disk", disk, 1),
            user=user,
            env=tuple(f"{key}={value}" for key, value in _pairs("--env", env).items()),
            labels=_pairs("--label", labels),
            restart=restart,
            volumes=_volumes(volumes),
        )


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


async def create_container(fleet: Fleet, node: str, wanted: Wanted, start: bool) -> dict[str, object]:
    """Makes a container on a node; on any failure nothing of it is left."""
    check_length(wanted)
    fleet.file.entry(node)
    cluster = await fleet.probe()
    facts = cluster.node(node)
    if not facts.answered:
        raise Refused(facts.error)
    _refuse_clashes(cluster, facts, wanted)
    ct = Descriptor(
        name=wanted.name,
        template=wanted.template,
        template_digest=facts.templates[wanted.template],
        command=wanted.command,
        address=wanted.address,
        more_addresses=wanted.more_addresses,
        gateway=wanted.gateway,
        gateway6=wanted.gateway6,
        id_index=_free_id_index(cluster),
        memory_bytes=wanted.memory_bytes,
        cpu_milli=wanted.cpu_milli,
        disk_bytes=wanted.disk_bytes,
        user=wanted.user,
        env=wanted.env,
        labels=wanted.labels,
        restart=wanted.restart,
        volumes=wanted.volumes,
    )
    there = fleet.node(node)
    asked = await asyncio.gather(*(there.call("arp-owner", facts.bridge, ip) for ip in ct.ips))
    for ip, answer in zip(ct.ips, asked, strict=True):
        if list(answer.lines("owner")):
            raise Refused(f"--ip {ip}: something on the network answers for this address already")
        if blind := answer.get("blind"):
            raise Refused(f"--ip {ip}: nobody can be asked who has this address: {blind} of {node}; turn it on")
    demand = (ct.memory_bytes, ct.cpu_milli, ct.disk_bytes)
    capacity = (facts.capacity.memory_bytes, facts.capacity.cpu_milli, facts.capacity.disk_bytes)
    words = (ct.name, ct.template, ct.template_digest, ct.id_base, *demand, *capacity)
    creator = secrets.token_hex(8)  # by which a second try, and the clean-up, know this container from another's
    try:
        made = await there.call("ct-create", *words, creator, *(volume.path for volume in ct.volumes))
        files = bundle.files(ct, kit.directory(), facts.bridge, facts.controllers, facts.volumes)
        for name, data in files.items():
            await there.call("ct-put", ct.name, made.number("token"), name, len(data), stdin=data)
        _refuse_twins(await fleet.probe(), node, ct)
        if start:
            await there.call("ct-start", ct.name, timeout_s=60)
    except (MigratorError, asyncio.CancelledError) as error:
        await _take_back(there, ct.name, creator, error)
        raise
    return {
        "name": ct.name,
        "node": node,
        "address": ct.address,
        "addresses": list(ct.addresses),
        "started": start,
        "id_base": ct.id_base,
        "volumes": [str(volume) for volume in ct.volumes],
    }


async def _take_back(node: Node, name: str, creator: str, error: BaseException) -> None:
    """Removes what a failed create has made, and nothing that somebody else has made under this name."""
    try:
        await node.call("ct-remove", name, creator)
    except NodeRefused:
        return  # it was somebody else's all along
    except MigratorError as failed:
        raise FailedSafe(f"{error}; what was made of {name} may be left: {failed}; see: migrator ct list") from error


def check_length(wanted: Wanted) -> None:
    words = [*wanted.command, *wanted.env, *wanted.labels, *wanted.labels.values()]
    if len(json.dumps(words)) > DESCRIPTION_BYTES_MAX:
        raise BadInput("COMMAND, --env and --label: together too long; put long text into a file of the container")


def _refuse_clashes(cluster: Cluster, facts: NodeFacts, wanted: Wanted) -> None:
    if wanted.template not in facts.templates:
        there = ", ".join(facts.templates) or "none"
        raise BadInput(f"--template {wanted.template}: not on node {facts.name}, which has: {there}")
    _refuse_absent(facts, wanted)
    if facts.cordon is not None:
        raise Refused(f"node {facts.name} is cordoned (by {facts.cordon}); take it back with: migrator uncordon")
    for node in cluster.nodes:
        for other in node.containers:
            if other.name == wanted.name:
                raise BadInput(f"container {wanted.name} exists already on {node.name} ({other.state})")
            for ip in other.descriptor.ips if other.descriptor else ():
                if ip in map(bare, wanted.addresses):
                    raise Refused(f"--ip {ip}: container {other.name} on {node.name} has this address")


def _refuse_absent(facts: NodeFacts, wanted: Wanted) -> None:
    """Refuses volumes that nobody has declared, or whose storage is not mounted on the node."""
    for volume in wanted.volumes:
        if volume.name not in facts.volumes:
            named = ", ".join(facts.volumes) or "none"
            raise BadInput(f"--volume {volume}: the cluster file names no volume {volume.name}; it names: {named}")
        if why := facts.volumes[volume.name].fault:
            raise Refused(f"--volume {volume}: on node {facts.name} it is not there: {why}")


def _refuse_twins(cluster: Cluster, node: str, ct: Descriptor) -> None:
    """Refuses what somebody else has made meanwhile: looked for after our own record can be seen by others."""
    for other_node in cluster.nodes:
        for other in other_node.containers:
            if other.descriptor is None or (other_node.name, other.name) == (node, ct.name):
                continue
            same_address = not set(ct.ips).isdisjoint(other.descriptor.ips)
            if ct.name == other.name or same_address or ct.id_index == other.descriptor.id_index:
                raise Refused(f"container {other.name} was made on {other_node.name} at the same moment; try again")


def _free_id_index(cluster: Cluster) -> int:
    """The lowest number that no container of the cluster has: ranges never overlap, wherever one moves."""
    taken = {c.descriptor.id_index for node in cluster.nodes for c in node.containers if c.descriptor}
    for index in range(ID_INDEX_MIN, ID_INDEX_MAX):
        if index not in taken:
            return index
    raise Refused("no range of user ids is free")


def overruled(cluster: Cluster, node: str) -> dict[str, str]:
    """Containers of a node that another node owns by a higher generation, and why they are not started here."""
    found = {}
    for mine in cluster.node(node).containers:
        if mine.state != "serving":
            continue  # its own record says why not
        for other in cluster.owners(mine.name):
            theirs = other.container(mine.name)
            if other.name != node and theirs is not None and theirs.generation > mine.generation:
                found[mine.name] = (
                    f"{other.name} has it by generation {theirs.generation}, and this copy is of {mine.generation}: it "
                    f"is not started; see: migrator runs"
                )
    return found


async def start_all(fleet: Fleet, node: str) -> dict[str, str]:
    """Starts what a node's records say it should run. Returns what became of each container.

    Other nodes are asked too: a record of a higher generation there was decided while this node was away.
    """
    facts = await fleet.facts(node)
    decided = overruled(await fleet.probe(), node)
    outcome: dict[str, str] = {}
    for found in facts.containers:
        if found.state == "stopped":
            continue
        if found.name in decided:
            outcome[found.name] = decided[found.name]
            continue
        try:
            await fleet.node(node).call("ct-start", found.name, timeout_s=60)
            outcome[found.name] = "runs"
        except MigratorError as error:
            outcome[found.name] = str(error)
    return outcome


async def exec_in(
    fleet: Fleet, name: str, command: tuple[str, ...], stdin: IO[Any], stdout: IO[Any], stderr: IO[Any]
) -> int:
    """Runs a command in a container with the given streams; returns its exit code."""
    check_text("COMMAND", command)
    node, found = find_container(await fleet.probe(), name)
    if not found.alive:
        raise Refused(f"container {name} on {node.name} is not running; start it with: migrator ct start {name}")
    return await fleet.node(node.name).attach(
        "ct-exec",
        name,
        *command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        terminal=stdin.isatty() and stdout.isatty(),
    )


def rows_of(cluster: Cluster) -> list[dict[str, Any]]:
    """One row a container, sorted by name: what `ct list` prints and its --json holds."""
    rows = []
    for node in cluster.nodes:
        for found in node.containers:
            ct = found.descriptor
            limits = {"memory", "cpu"} - set(node.controllers)
            rows.append(
                {
                    "name": found.name,
                    "node": node.name,
                    "state": _state(found),
                    "address": ct.address if ct else "-",
                    "addresses": list(ct.addresses) if ct else [],
                    "rss_bytes": found.rss_bytes,
                    "memory_bytes": found.reserved.memory_bytes,
                    "cpu_milli": found.reserved.cpu_milli,
                    "disk_bytes": found.reserved.disk_bytes,
                    "not_enforced": sorted(limits),
                    "labels": ct.labels if ct else {},
                    "volumes": [str(volume) for volume in ct.volumes] if ct else [],
                    "generation": found.generation,
                    "run": found.run,
                    "restart": ct.restart if ct else "no",
                    "keeper": found.keeper,
                    "keeper_starts": found.keeper_starts,
                    "gate": found.gate,
                }
            )
    return sorted(rows, key=lambda row: (row["name"], row["node"]))


def _state(found: ContainerFacts) -> str:
    if found.state != "serving":
        return found.state
    if not found.alive:
        return "down"
    return "running, cut off" if found.gate == "closed" else "running"


def _size(option: str, text: str, least: int) -> int:
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error
    if size < least:
        raise BadInput(f"{option} {quoted(text)}: at least {least} bytes")
    return size


def _volumes(given: tuple[str, ...]) -> tuple[Volume, ...]:
    found = []
    for text in given:
        try:
            found.append(parse_volume(text))
        except ValueError as error:
            raise BadInput(f"--volume {quoted(text)}: {error}") from error
    if wrong := volumes_fault(tuple(found)):
        raise BadInput(f"--volume: {wrong}")
    return tuple(found)


def _addresses(ips: tuple[str, ...]) -> tuple[str, ...]:
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


def _gateways(given: tuple[str, ...]) -> tuple[str | None, str | None]:
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


def _pairs(option: str, words: tuple[str, ...]) -> dict[str, str]:
    check_text(option, words)
    pairs = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or not key.isprintable():
            raise BadInput(f"{option} {quoted(word)}: write KEY=VALUE")
        pairs[key] = value
    return pairs
