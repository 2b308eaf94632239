"""What a person asks of network cards beside the first, checked: each fault names its option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.errors import QUOTED_CHARS_MAX, BadInput, Refused, quoted
from migrator.model import nics
from migrator.model.address import bare
from migrator.model.container import ADDRESSES_MAX

if TYPE_CHECKING:  # what a person asked for is read before nodes are asked, and this loaded meanwhile
    from migrator.model.facts import Cluster, NodeFacts


def asked_nics(given: tuple[str, ...], addresses: tuple[str, ...], sysctls: tuple[str, ...]) -> tuple[nics.Nic, ...]:
    """Cards of a container whose first one has `addresses`. BadInput says what is wrong with which."""
    found = []
    for text in given:
        try:
            found.append(nics.parse(text))
        except ValueError as error:
            raise BadInput(f"--nic {quoted(text)}: {str(error)[:QUOTED_CHARS_MAX]}") from error
    asked = tuple(sorted(found, key=lambda nic: nic.name))
    if wrong := nics.fault(asked):
        raise BadInput(f"--nic: {wrong}")
    ips = [bare(address) for address in (*addresses, *(address for nic in asked for address in nic.addresses))]
    if twice := next((ip for ip in ips if ips.count(ip) > 1), ""):
        raise BadInput(f"--nic: {twice} is there twice")
    if len(ips) > ADDRESSES_MAX:
        raise BadInput(f"--nic: a container has at most {ADDRESSES_MAX} addresses, on all its cards")
    if lost := nics.lost_sysctl({nic.name for nic in asked}, sysctls):
        raise BadInput(f"--sysctl {quoted(lost)}: the container has no such card; give it one with --nic")
    return asked


def refuse_macs(cluster: Cluster, asked: tuple[nics.Nic, ...], option: str = "--nic") -> None:
    """Refuses a MAC address that a container of the cluster has."""
    wanted = {nic.mac for nic in asked if nic.mac}
    for node in cluster.nodes if wanted else ():
        for other in node.containers:
            for card in other.descriptor.cards if other.descriptor else ():
                if card.mac in wanted:
                    raise Refused(f"{option}: container {other.name} on {node.name} has MAC address {card.mac}")


def refuse_bridges(facts: NodeFacts, asked: tuple[nics.Nic, ...]) -> None:
    """Refuses cards on bridges that the node does not have."""
    for why in nics.lacking(asked, facts.bridges):
        raise Refused(f"--nic: on node {facts.name} {why}")
