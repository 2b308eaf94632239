"""Addresses of containers, IPv4 and IPv6, in the one way in which they are written here."""

from __future__ import annotations

import ipaddress

PREFIX_IPV4 = 24  # of an address written without one
PREFIX_IPV6 = 64


def is_ipv6(address: str) -> bool:
    return ":" in address


def bare(address: str) -> str:
    """An address without its prefix: "10.0.0.7/24" is "10.0.0.7"."""
    return address.partition("/")[0]


def canonical(text: str) -> str:
    """An address with its prefix in canonical text, "fd00::7/64"; ValueError when it is none, or has a zone."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which is another on each node")
    prefix = f"/{PREFIX_IPV6 if is_ipv6(text) else PREFIX_IPV4}"
    try:
        return str(ipaddress.ip_interface(text if "/" in text else text + prefix))
    except ValueError:
        raise ValueError("not an address, or not with a prefix that there is") from None


def is_written(address: str) -> bool:
    """Whether this is an address with its prefix, in canonical text."""
    try:
        return canonical(address) == address
    except ValueError:
        return False


def is_written_bare(address: str) -> bool:
    """Whether this is an address without a prefix, in canonical text."""
    try:
        return "%" not in address and str(ipaddress.ip_address(address)) == address
    except ValueError:
        return False


def is_for_one(address: str) -> bool:
    """Whether one container may have it: not a network's own, nor everybody's, nor the host's to itself.

    Link-local ones of IPv6 are out too: every container has its own, and none says which network it is in.
    """
    parsed = ipaddress.ip_interface(address)
    ip, network = parsed.ip, parsed.network
    edges = []
    if ip.version == 4 and network.prefixlen < 31:
        edges = [network.network_address, network.broadcast_address]
    if ip.version == 6 and network.prefixlen < 127:
        edges = [network.network_address]  # the routers' anycast address (RFC 4291, 2.6.1)
    mapped = ip.version == 6 and ip.ipv4_mapped is not None
    special = ip.is_loopback or ip.is_multicast or ip.is_unspecified or mapped
    return ip not in edges and not special and not (ip.version == 6 and ip.is_link_local)


def is_within(host: str, network: str) -> bool:
    """Whether this is an address, and no name, in a network such as 10.20.0.0/24."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network)
    except ValueError:
        return False
