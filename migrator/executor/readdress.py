"""A container's addresses and ports changed: nobody else may have them, on the network or in the cluster.

Theory. It is as with a container that is made: others are asked before, and looked at once more after its node has
written the change down, when others who do the same can see it. Who sees another
then goes back: of two at the same moment one at least.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from migrator.errors import BadInput, FailedSafe, Refused
from migrator.executor.asked_ports import refuse_ports
from migrator.executor.creation import refuse_owned
from migrator.executor.fleet import Fleet, refuse_silent
from migrator.model import next_hops, ports
from migrator.model.address import bare
from migrator.model.container import Descriptor
from migrator.model.facts import Cluster


def new_ips(before: Descriptor, ct: Descriptor) -> tuple[str, ...]:
    return tuple(ip for ip in ct.ips if ip not in before.ips)


def asks_for_ports(before: Descriptor, ct: Descriptor) -> bool:
    """Whether its node has to say if it can publish them: other ports, or another way back from it."""
    return bool(ct.published) and (before.published, before.gateways) != (ct.published, ct.gateways)


def refuse_odd(before: Descriptor, ct: Descriptor) -> None:
    """BadInput for addresses, gateways, routes and ports that no container has together."""
    own = [bare(address) for address in (ct.address, *ct.more_addresses)]
    elsewhere = {bare(address): nic.name for nic in ct.nics for address in nic.addresses}
    if twice := next((ip for ip in own if ip in elsewhere), ""):
        raise BadInput(f"--ip {twice}: container {ct.name} has it already, on {elsewhere[twice]}")
    if wrong := ports.fault(ct.published, ct.cards[0].addresses):
        option = "--ip" if before.published == ct.published else "--publish"
        raise BadInput(f"{option}: container {ct.name}: {wrong}")
    option, wrong = next_hops.changed_fault(before, ct)
    if option:
        raise BadInput(f"container {ct.name}: {option}: {wrong}")


async def refuse_taken(
    fleet: Fleet, node: str, before: Descriptor, ct: Descriptor, without: Collection[str] = ()
) -> None:
    """Refuses addresses that somebody has or may have, and ports that the node cannot publish.

    `without` are nodes that need not be asked, though they do not answer.
    """
    ips = new_ips(before, ct)
    if not ips and not asks_for_ports(before, ct):
        return
    there, bridge = fleet.node(node), fleet.file.bridge(fleet.file.entry(node))
    asked = asyncio.gather(*(there.call("arp-owner", bridge, ip, "soon") for ip in ips))
    cluster, owners = await asyncio.gather(fleet.survey(), asked)
    if not (facts := cluster.node(node)).answered:
        raise FailedSafe(facts.error)
    for ip, owner in zip(ips, owners, strict=True):
        refuse_owned(node, f"--ip {ip}", owner)
    if why := clash(cluster, ct, ips):
        raise Refused(f"--ip {why}")
    if ips:
        refuse_silent(fleet, cluster, without, ct.name)
    if asks_for_ports(before, ct):
        await refuse_ports(there, facts, ct)


def clash(cluster: Cluster, ct: Descriptor, ips: tuple[str, ...]) -> str:
    """Which other container has one of these addresses, or ""."""
    for node in cluster.nodes:
        for other in node.containers:
            if other.name == ct.name or other.descriptor is None:
                continue
            if ip := next((ip for ip in ips if ip in other.descriptor.ips), ""):
                return f"{ip}: container {other.name} on {node.name} has this address"
    return ""


async def met(fleet: Fleet, node: str, before: Descriptor, ct: Descriptor) -> str:
    """Why it cannot stay so, seen after it was written down: who has done the same meanwhile; or ""."""
    if not new_ips(before, ct) and not asks_for_ports(before, ct):
        return ""
    cluster = await fleet.described()
    if why := clash(cluster, ct, new_ips(before, ct)):
        return f"--ip {why}"
    others = cluster.node(node).containers if asks_for_ports(before, ct) else ()
    return next((f"--publish: {why}" for why in ports.lacking(ct.name, ct.published, others)), "")
