"""Whether a container reaches its gateways: the next hops of its default and further routes.

Theory. A next hop is asked for by ARP or neighbour discovery on the card that it is reached by, and so has to be a
neighbour there: in a network of one of the container's cards. Two kinds need no network. A link-local one of IPv6 is
every card's neighbour. And an address that is a host's alone (10.0.0.7/32, fd00::7/128) says that there is no network:
then the site routes, and its gateway, whatever it is called, answers on the first card.

A route to a network of one of the cards is none: the kernel has made it with the address, and takes no second one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from migrator.model.address import bare, is_ipv6
from migrator.model.container import Descriptor


def hops(gateways: Collection[str], routes: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each next hop, behind the option that gives it as it was written."""
    yield from ((f"--gateway {gateway}", gateway) for gateway in gateways)
    yield from ((f"--route {route}", route.partition("=")[2]) for route in routes)


def fault(
    first: Collection[str], others: Collection[str], gateways: Collection[str], routes: Collection[str]
) -> tuple[str, str]:
    """The first next hop that is not reached, or route that cannot be, as option and why, or two empty words.

    `first` are the addresses of the first card, `others` those of further ones, with their prefixes.
    """
    for option, hop in hops(gateways, routes):
        if why := _why_not(hop, first, others):
            return option, why
    return next(_own_networks(routes, (*first, *others)), ("", ""))


def changed_fault(before: Descriptor, after: Descriptor) -> tuple[str, str]:
    """The same of what a change makes so; what was so before it stays as it is."""
    first = _first(after)
    for option, hop in hops(after.gateways, after.routes):
        was = hop in {via for _, via in hops(before.gateways, before.routes)} and _why_not(
            hop, _first(before), _others(before)
        )
        if not was and (why := _why_not(hop, first, _others(after))):
            return option, why
    was_own = list(_own_networks(before.routes, (*_first(before), *_others(before))))
    own = _own_networks(after.routes, (*first, *_others(after)))
    return next((found for found in own if found not in was_own), ("", ""))


def _own_networks(routes: Collection[str], addresses: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each route to a network that one of the container's cards is in."""
    networks = {str(at.network): at for at in map(ipaddress.ip_interface, addresses) if at.network.num_addresses > 1}
    for route in routes:
        if at := networks.get(route.partition("=")[0]):
            yield f"--route {route}", f"is the network of its own address {at} already; leave it out"


def _first(ct: Descriptor) -> tuple[str, ...]:
    return (ct.address, *ct.more_addresses)


def _others(ct: Descriptor) -> tuple[str, ...]:
    return tuple(address for nic in ct.nics for address in nic.addresses)


def _why_not(hop: str, first: Collection[str], others: Collection[str]) -> str:
    via = ipaddress.ip_address(hop)
    near = [ipaddress.ip_interface(at) for at in (*first, *others) if is_ipv6(at) == is_ipv6(hop)]
    if hop in map(bare, (*first, *others)):
        return "is the container's own address"
    if via.is_unspecified or via.is_multicast or via.is_loopback:
        return "is no address of a gateway"
    if via.version == 6 and via.is_link_local:
        return ""
    family = "IPv6" if via.version == 6 else "IPv4"
    if not near:
        return f"the container has no {family} address by which to reach it"
    if networks := [at.network for at in near if via in at.network]:
        edges = [edge for net in networks if net.version == 4 and net.prefixlen < 31 for edge in (net[0], net[-1])]
        return "is no address of a gateway" if via in edges else ""
    own = [ipaddress.ip_interface(at) for at in first if is_ipv6(at) == is_ipv6(hop)]
    if any(at.network.num_addresses == 1 for at in own):
        return ""
    there = ", ".join(sorted({str(at.network) for at in near}))
    alone = f"{own[0].ip}/{own[0].max_prefixlen}" if own else f"with /{near[0].max_prefixlen}"
    return f"is in none of the container's networks ({there}); on a site that routes write --ip {alone}"
