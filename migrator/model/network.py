"""What a container's network is beside its addresses: names, further routes, sysctls, rules of nftables.

Each is a plain word, or bounded text, that a node is told as data: nothing reads any of it but what it is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from migrator.model.address import is_ipv6, is_written_bare

ROUTES_MAX = 64
SYSCTLS_MAX = 64
NAMESERVERS_MAX = 3  # MAXNS of resolv.h: a resolver asks no more
SEARCH_MAX = 6
FIREWALL_BYTES_MAX = 32_768  # it is a part of the descriptor, which every probe tells
HOSTNAME_CHARS_MAX = 64  # of uname(2)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_OWNED = re.compile(r"\bflags\s[^;}\n]*\bowner\b")
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAME_CHARS_MAX = 253
_VALUE = re.compile(r"-?[0-9]{1,18}(?: [0-9]{1,18}){0,2}")
_CONGESTION = re.compile(r"[a-z0-9_]{1,15}")

_CONFIGURED = ("all", "default", *(f"eth{number}" for number in range(8)))
# Those of a network namespace: whatever a container sets by them, the node has its own.
_SYSCTLS = (
    *("net.core.somaxconn",),
    *(
        f"net.ipv4.{name}"
        for name in (
            *("ip_default_ttl", "ip_forward", "ip_local_port_range", "ip_nonlocal_bind", "ip_unprivileged_port_start"),
            *("ping_group_range", "icmp_echo_ignore_all", "icmp_echo_ignore_broadcasts", "fwmark_reflect"),
            *("tcp_congestion_control", "tcp_ecn", "tcp_fastopen", "tcp_fin_timeout", "tcp_keepalive_intvl"),
            *("tcp_keepalive_probes", "tcp_keepalive_time", "tcp_max_syn_backlog", "tcp_mtu_probing"),
            *("tcp_notsent_lowat", "tcp_orphan_retries", "tcp_retries1", "tcp_retries2", "tcp_rmem", "tcp_sack"),
            *("tcp_slow_start_after_idle", "tcp_syn_retries", "tcp_synack_retries", "tcp_syncookies"),
            *("tcp_timestamps", "tcp_tw_reuse", "tcp_window_scaling", "tcp_wmem"),
        )
    ),
    *(
        f"net.ipv4.conf.{of}.{name}"
        for of in _CONFIGURED
        for name in (
            *("accept_redirects", "accept_source_route", "arp_announce", "arp_filter", "arp_ignore", "forwarding"),
            *("log_martians", "rp_filter", "secure_redirects", "send_redirects", "src_valid_mark"),
        )
    ),
    *("net.ipv6.bindv6only", "net.ipv6.ip_nonlocal_bind", "net.ipv6.auto_flowlabels"),
    *(
        f"net.ipv6.conf.{of}.{name}"
        for of in _CONFIGURED
        for name in ("accept_redirects", "accept_source_route", "forwarding", "hop_limit")
    ),
)
SYSCTLS = frozenset(_SYSCTLS)
_SYSCTL_OF_WORDS = "net.ipv4.tcp_congestion_control"


class Networked(Protocol):
    """A container, as far as this is concerned."""

    @property
    def hostname(self) -> str | None: ...
    @property
    def nameservers(self) -> tuple[str, ...]: ...
    @property
    def search(self) -> tuple[str, ...]: ...
    @property
    def routes(self) -> tuple[str, ...]: ...
    @property
    def sysctls(self) -> tuple[str, ...]: ...
    @property
    def firewall(self) -> str: ...


def hostname_fault(name: str) -> str:
    """Why no container is called this, or ""."""
    if len(name) > HOSTNAME_CHARS_MAX or not _NAME.fullmatch(name):
        return f"letters, digits and '-' between dots, at most {HOSTNAME_CHARS_MAX} of them"
    return ""


def nameservers_fault(addresses: tuple[str, ...]) -> str:
    if len(addresses) > NAMESERVERS_MAX:
        return f"a resolver asks {NAMESERVERS_MAX} at most"
    wrong = next((address for address in addresses if not is_written_bare(address)), None)
    return "" if wrong is None else f"{wrong[:60]!r}: not an address"


def search_fault(domains: tuple[str, ...]) -> str:
    if len(domains) > SEARCH_MAX:
        return f"a resolver looks in {SEARCH_MAX} domains at most"
    wrong = next((name for name in domains if len(name) > _NAME_CHARS_MAX or not _NAME.fullmatch(name)), None)
    return "" if wrong is None else f"{wrong[:60]!r}: not a domain's name"


def routes_fault(routes: tuple[str, ...]) -> str:
    """Each is NETWORK=GATEWAY, both as they are written canonically, and of one family."""
    if len(routes) > ROUTES_MAX:
        return f"a container has at most {ROUTES_MAX} of them"
    for route in routes:
        if wrong := _route_fault(route):
            return f"{route[:90]!r}: {wrong}"
    networks = [route.partition("=")[0] for route in routes]
    twice = next((network for network in networks if networks.count(network) > 1), "")
    return f"{twice} is there twice" if twice else ""


def _route_fault(route: str) -> str:
    network, sign, gateway = route.partition("=")
    if not sign or not _is_a_network(network):
        return "write NETWORK=GATEWAY, as 10.8.0.0/16=10.0.0.254, with no bit of a host in the network"
    if not is_written_bare(gateway) or is_ipv6(gateway) != is_ipv6(network):
        return "its gateway is no address of the same family"
    if network in ("0.0.0.0/0", "::/0"):
        return "the default route is the gateway's own: --gateway"
    return ""


def _is_a_network(text: str) -> bool:
    import ipaddress  # noqa: PLC0415   (few containers have routes, and it is much to load)

    try:
        return str(ipaddress.ip_network(text)) == text
    except ValueError:
        return False


def sysctls_fault(pairs: tuple[str, ...]) -> str:
    """Each is NAME=VALUE, of names that a network namespace has for itself."""
    if len(pairs) > SYSCTLS_MAX:
        return f"a container has at most {SYSCTLS_MAX} of them"
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or name not in SYSCTLS:
            return f"{name[:90]!r}: not one of a container's own network that may be set; docs/containers.md has them"
        fits = _CONGESTION if name == _SYSCTL_OF_WORDS else _VALUE
        if not fits.fullmatch(value):
            return f"{pair[:90]!r}: not a value of it"
    names = [pair.partition("=")[0] for pair in pairs]
    twice = next((name for name in names if names.count(name) > 1), "")
    return f"{twice} is there twice" if twice else ""


def firewall_fault(text: str) -> str:
    """Why no node loads these rules, or "". What is right in them the node's own nft says."""
    size = len(text.encode(errors="replace"))
    if size > FIREWALL_BYTES_MAX:
        return f"{size} bytes of rules, at most {FIREWALL_BYTES_MAX}"
    if any(not char.isprintable() and char not in "\n\t" for char in text):
        return "holds characters that no rule has"
    # The one word by which nft reads a file, which would be the node's: refused wherever it is, so nothing is parsed.
    if "include" in text.lower():
        return "holds the word include, by which nft would read a file of the node; write what the file says"
    return ""


def owner_fault(text: str) -> str:
    """Why rules that are taken would not stay, or "". Asked of new ones alone: what a container has, it has."""
    if _OWNED.search(text):
        return "holds a table with the flag owner, which ends with the nft that loads it; leave the flag out"
    return ""


def fault(ct: Networked) -> str:
    """The field that no container of ours has like this, or ""."""
    checks = {
        "hostname": ct.hostname is None or not hostname_fault(ct.hostname),
        "nameservers": not nameservers_fault(ct.nameservers),
        "search": not search_fault(ct.search),
        "routes": not routes_fault(ct.routes),
        "sysctls": not sysctls_fault(ct.sysctls),
        "firewall": not firewall_fault(ct.firewall),
    }
    return next((name for name, holds in checks.items() if not holds), "")


def resolv_conf(ct: Networked) -> str:
    """What the container reads as /etc/resolv.conf; empty where it has none of ours."""
    lines = [f"nameserver {address}\n" for address in ct.nameservers]
    return "".join([*([f"search {' '.join(ct.search)}\n"] if ct.search else []), *lines])


def net_lines(ct: Networked) -> Iterator[str]:
    """Lines for the network hook: `route NETWORK=GATEWAY`, and `sysctl PATH=VALUE` with commas for blanks."""
    for route in ct.routes:
        yield f"route {route}"
    for pair in ct.sysctls:
        name, _, value = pair.partition("=")
        yield f"sysctl {name.replace('.', '/')}={value.replace(' ', ',')}"
