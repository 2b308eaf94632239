"""What a clone is of its source, and what of a source no second container may have: pure decisions.

A clone has everything that its source's descriptor says, but for what makes a container this one: its name, its
addresses (and so its MACs), its published ports, its hostname and its range of user ids.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from migrator.model.address import bare
from migrator.model.container import Descriptor
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.nics import Nic
from migrator.model.units import format_bytes

TRIED_MAX = 32  # addresses that are asked for where none was given
MIB = 1 << 20
MEMORY_BESIDE_BYTES = 256 * MIB  # images that are no pages, and CRIU itself
_BOUND = re.compile(r"(tcp|udp|raw|\?\?\?) (\S{1,80}) ([0-9]{1,10}) ([A-Za-z0-9._-]{1,20})")


def descriptor_of(
    source: Descriptor,
    name: str,
    addresses: tuple[str, ...],
    id_index: int,
    hostname: str | None,
    nics: tuple[Nic, ...] = (),
) -> Descriptor:
    """The clone's descriptor; `addresses` are canonical, with their prefixes, one at least; `nics` its further cards.

    It publishes no ports: those of the node are the source's.
    """
    return replace(
        source,
        name=name,
        address=addresses[0],
        more_addresses=addresses[1:],
        id_index=id_index,
        hostname=hostname,
        nics=nics,
        published=(),
    )


def taken(cluster: Cluster, source: Descriptor, asked: Iterable[str]) -> set[str]:
    """Addresses that a clone cannot have beside those that were asked for."""
    found = {ip for node in cluster.nodes for c in node.containers if c.descriptor for ip in c.descriptor.ips}
    return found | set(source.gateways) | {bare(address) for address in asked}


def shared(source: Descriptor, clone: Descriptor, volumes_shared: Collection[str]) -> Iterator[str]:
    """What the clone would have in common with its source though only one container may have it, with what to do."""
    for volume in source.volumes:
        if not volume.read_only and volume.name not in volumes_shared:
            yield (
                f"both would write to volume {volume.name}; if what is on it may have two writers, say so: "
                f"--share-volume {volume.name}"
            )
    for ip in sorted(set(source.ips) & set(clone.ips)):
        yield f"address {ip} is the source's; a clone has its own: --ip"


def no_such_card(source: Descriptor, asked: Iterable[Nic]) -> str:
    """Why one of the cards that were asked for is none of the source's, or ""."""
    bridges = {nic.name: nic.bridge for nic in source.nics}
    for nic in asked:
        if nic.name not in bridges:
            has = ", ".join(bridges) or "none"
            return f"{nic}: container {source.name} has no card {nic.name} beside its first; it has: {has}"
        if nic.bridge != bridges[nic.name]:
            return f"{nic}: card {nic.name} of {source.name} is on bridge {bridges[nic.name]}, and so is its clone's"
    return ""


def no_such_volumes(source: Descriptor, volumes_shared: Iterable[str]) -> list[str]:
    return sorted(set(volumes_shared) - {volume.name for volume in source.volumes})


def no_twin(source: ContainerFacts, node: NodeFacts) -> str:
    """Why no running twin can be made of its memory, or ""."""
    if not source.alive:
        return f"container {source.name} does not run on {node.name}, and has no memory; leave out --live"
    if node.stream_in.startswith("Python"):
        return f"node {node.name}: {node.stream_in}"
    return beyond_memory(source, node)


def beyond_memory(source: ContainerFacts, node: NodeFacts) -> str:
    """Why the node has not the memory for a twin beside the images of its memory, or ""."""
    needed = image_bytes(source) + source.rss_bytes
    if needed <= node.memory_available_bytes:
        return ""
    has = format_bytes(node.memory_available_bytes)
    return (
        f"a twin beside the images of its memory needs {format_bytes(needed)} of memory on {node.name}; {has} are free"
    )


def image_bytes(source: ContainerFacts) -> int:
    """What the images of its memory may take, at most."""
    return source.rss_bytes + MEMORY_BESIDE_BYTES


def bound(lines: Iterable[str]) -> list[str]:
    """A reason for each socket that has an address of the source's. ValueError for what no honest node tells."""
    found = []
    for line in lines:
        match = _BOUND.fullmatch(line)
        if match is None:
            raise ValueError(f"it answers {line[:60]!r} where a socket should be")
        kind, at, pid, comm = match.groups()
        found.append(
            f"process {pid} ({comm}) has a {kind} socket at {at}, which a twin could not have; have it listen at "
            "every address (0.0.0.0, ::), or close it"
        )
    return found


def made_inside(lines: Iterable[str]) -> list[str]:
    """What the source's root has made in its network and a twin would lack; rules of nft are taken along."""
    return [
        f"its root has made in its network what a twin would not have: {what[:120]}; have it taken away"
        for what in (line.removeprefix("lost ") for line in lines)
        if not what.startswith("nft ")
    ]


def next_free(address: str, taken: Collection[str]) -> Iterator[str]:
    """Addresses of the same network after this one, and then from its beginning, that nobody is known to have."""
    here = ipaddress.ip_interface(address)
    network = here.network
    first, last = int(network.network_address), int(network.broadcast_address)
    edge = 1 if network.num_addresses > 2 else 0
    span = last - first + 1 - 2 * edge
    taken = {bare(text) for text in taken}
    for step in range(1, min(span, len(taken) + TRIED_MAX + 1)):
        at = first + edge + (int(here.ip) - first - edge + step) % span
        ip = str(type(here.ip)(at))
        if ip not in taken:
            yield f"{ip}/{network.prefixlen}"
