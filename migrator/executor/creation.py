"""A container made on a node, whole or not at all."""

from __future__ import annotations

import asyncio
import secrets

from migrator.errors import BadInput, FailedSafe, MigratorError, Refused
from migrator.executor.fleet import Fleet
from migrator.executor.wanted import Wanted, check_length
from migrator.model.address import bare
from migrator.model.confinement import devices_lacking
from migrator.model.container import ID_INDEX_MAX, ID_INDEX_MIN, Descriptor
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.init import lacks_group
from migrator.runtime import bundle
from migrator.transport import kit
from migrator.transport.base import Node, NodeRefused


async def create_container(fleet: Fleet, node: str, wanted: Wanted, start: bool) -> dict[str, object]:
    """Makes a container on a node; on any failure nothing of it is left."""
    check_length(wanted)
    fleet.file.entry(node)
    cluster = await fleet.probe()
    facts = cluster.node(node)
    if not facts.answered:
        raise Refused(facts.error)
    _refuse_clashes(cluster, facts, wanted)
    ct = descriptor_of(cluster, wanted, facts.templates[wanted.template])
    if ct.runtime not in ("runc", *facts.features):
        raise Refused(f"node {node}: {ct.runtime} is not there, or not built with CRIU; install it")
    if why := lacks_group(ct, facts.cgroup_version):
        raise Refused(f"--init systemd: node {node}: {why}; boot it with version 2, or choose another node")
    there = fleet.node(node)
    asked = await asyncio.gather(*(there.call("arp-owner", facts.bridge, ip) for ip in ct.ips))
    for ip, answer in zip(ct.ips, asked, strict=True):
        if list(answer.lines("owner")):
            raise Refused(f"--ip {ip}: something on the network answers for this address already")
        if blind := answer.get("blind"):
            raise Refused(f"--ip {ip}: nobody can be asked who has this address: {blind} of {node}; turn it on")
    await refuse_rules(there, ct.firewall)
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


async def refuse_rules(node: Node, firewall: str) -> None:
    """Refuses rules that the node's own nft does not take."""
    if not firewall:
        return
    data = firewall.encode()
    if wrong := (await node.call("check-firewall", len(data), stdin=data)).get("fault"):
        raise BadInput(f"--firewall: {node.name} says of it: {wrong}")


def descriptor_of(cluster: Cluster, wanted: Wanted, template_digest: str) -> Descriptor:
    """What a person asked for, as a container with a range of user ids that none of the cluster has."""
    return Descriptor(
        name=wanted.name,
        template=wanted.template,
        template_digest=template_digest,
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
        swap_bytes=wanted.swap_bytes,
        pids=wanted.pids,
        io_weight=wanted.io_weight,
        runtime=wanted.runtime,
        init=wanted.init,
        stop_signal=wanted.stop_signal,
        **wanted.surroundings.fields(),
    )


async def _take_back(node: Node, name: str, creator: str, error: BaseException) -> None:
    """Removes what a failed create has made, and nothing that somebody else has made under this name."""
    try:
        await node.call("ct-remove", name, creator)
    except NodeRefused:
        return  # it was somebody else's all along
    except MigratorError as failed:
        raise FailedSafe(f"{error}; what was made of {name} may be left: {failed}; see: migrator ct list") from error


def _refuse_clashes(cluster: Cluster, facts: NodeFacts, wanted: Wanted) -> None:
    if wanted.template not in facts.templates:
        there = ", ".join(facts.templates) or "none"
        raise BadInput(f"--template {wanted.template}: not on node {facts.name}, which has: {there}")
    _refuse_absent(facts, wanted)
    for why in devices_lacking(wanted.devices, facts.devices):
        raise Refused(f"--device: on node {facts.name} {why}")
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
