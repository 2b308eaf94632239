"""A ruleset of nf_tables as a kernel tells it, and the messages by which another makes the same one. Pure: netfilter.py
is who talks to a kernel, for rules_out.py on a container's source and rules_in.py on its target.

What a kernel tells of a table, chain, set, element, object or rule is nearly what it takes for making one. So it goes
as it is, whoever made it (nft, iptables, a newer nft than the node has), but for:

- numbers that are a kernel's own: handles, positions, use counts. Names are what refers, also to sets and chains that
  were given none (`__set0`, `__chain0`).
- what a kernel has to be told and does not tell, and its order (rules_out.py).
- a table's owner, which is a program: one that makes the table does not stay.

It comes from another node. Messages of other kinds are refused, as are attributes that are not known here (a rule
that is carried in part lets pass what it should not), extensions of iptables that were not tried, and what means
something on its node alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import netlink
from netlink import BODY, HEADER, attribute

BYTES_MAX = 4 << 20

# linux/netlink.h, linux/netfilter/nf_tables.h, nf_tables_compat.h
U32 = struct.Struct(">I")
TABLE, CHAIN, RULE, SET, ELEMENTS, OBJECT, FLOWTABLE = 0xA00, 0xA03, 0xA06, 0xA09, 0xA0C, 0xA12, 0xA16
WORDS = {
    TABLE: "table", FLOWTABLE: "flowtable", OBJECT: "object", CHAIN: "chain", SET: "set", ELEMENTS: "elements of set",
    RULE: "rule of chain",
}  # fmt: skip
# By kind: attributes that are carried, and those that are a kernel's own.
CARRIED = {
    TABLE: ({1, 2, 6}, {3, 4, 5, 7}),
    FLOWTABLE: ({1, 2, 3, 7}, {4, 5, 6}),
    OBJECT: ({1, 2, 3, 4, 8}, {5, 6, 7}),
    CHAIN: ({1, 3, 4, 5, 7, 8, 10, 12}, {2, 6, 9, 11}),
    SET: ({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 18}, {14, 16, 19, 20}),
    ELEMENTS: ({1, 2, 3}, {4}),
    RULE: ({1, 2, 4, 5, 7}, {3, 6, 8, 9, 10, 11}),
}
NAME, TABLE_NAME = {CHAIN: 3, RULE: 2, SET: 2, ELEMENTS: 2, OBJECT: 2, FLOWTABLE: 2}, 1
TABLE_FLAGS, OWNED = 2, 0x2 | 0x4  # owner, persist
EXPRESSIONS, EXPRESSION, DATA = 4, 1, 2
BRIDGE, IP, IP6 = 7, 2, 10
FAMILIES = {1: "inet", IP: "ip", 3: "arp", 5: "netdev", BRIDGE: "bridge", IP6: "ip6"}
# Expressions: what of them is looked at.
SOCKET_KEY, SOCKET_CGROUP = 1, 3
XT_NAME = 1
XT = (b"match", b"target")
# Of iptables, what was tried: it comes back as it was, and keeps nothing beside its rule but how fast and how often.
TRIED = frozenset(
    b"addrtype ah cluster comment connbytes connlabel connlimit connmark conntrack cpu dccp devgroup dscp dst ecn esp "
    b"eui64 frag hashlimit hbh helper hl icmp icmp6 iprange ipcomp ipv6header length limit mac mark mh multiport owner "
    b"physdev pkttype policy realm rpfilter rt sctp socket state statistic string tcp tcpmss time tos ttl u32 udp "
    b"AUDIT CHECKSUM CLASSIFY CONNMARK CT DNAT DSCP ECN HL HMARK LOG MARK MASQUERADE NETMAP NFLOG NFQUEUE REDIRECT "
    b"REJECT SNAT SYNPROXY TCPMSS TCPOPTSTRIP TEE TOS TPROXY TRACE TTL mangle".split()
)
TRANSLATING = frozenset(b"DNAT SNAT MASQUERADE NETMAP REDIRECT nat masq redir".split())

Attributes = list[tuple[int, bytes]]


def attributes(data: bytes) -> Attributes:
    """Each attribute's number and bytes, in order. ValueError where lengths do not come out."""
    return list(netlink.attributes(data))


def packed(found: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(attribute(kind, data) for kind, data in found)


class Message:
    """One thing of a ruleset: what kind, of which family, its attributes."""

    def __init__(self, kind: int, family: int, parts: Attributes) -> None:
        self.kind, self.family, self.parts = kind, family, parts

    def get(self, number: int) -> bytes:
        return next((data for kind, data in self.parts if kind == number), b"")

    def number(self, number: int) -> int:
        """Of an attribute with four bytes; 0 where there is none."""
        data = self.get(number)
        return U32.unpack(data)[0] if len(data) == 4 else 0

    def name(self) -> tuple[int, bytes, bytes]:
        return self.family, self.get(TABLE_NAME), self.get(NAME[self.kind]) if self.kind in NAME else b""

    def said(self) -> str:
        """As it is called in a line for a person."""
        table, name = (part.rstrip(b"\0").decode("ascii", "replace") for part in self.name()[1:])
        family = FAMILIES.get(self.family, str(self.family))
        whose = f"table {family} {table}"
        return whose if self.kind == TABLE else f"{WORDS[self.kind]} {name} in {whose}"

    def expressions(self) -> Iterator[tuple[bytes, dict[int, bytes]]]:
        """Of a rule: each one's name and attributes."""
        for _, each in attributes(self.get(EXPRESSIONS)) if self.kind == RULE else ():
            found = dict(attributes(each))
            yield found.get(EXPRESSION, b"").rstrip(b"\0"), dict(attributes(found.get(DATA, b"")))

    def expression_at(self, offset: int) -> str:
        """What of a rule stands there in its message, by its name; "" where none does."""
        at = HEADER.size + BODY.size
        for kind, data in self.parts:
            if kind == EXPRESSIONS and self.kind == RULE:
                at += 4
                for (_, each), (name, found) in zip(attributes(data), self.expressions(), strict=True):
                    if at <= offset < at + 4 + len(each):
                        return (
                            (found.get(XT_NAME, b"") if name in XT else name).rstrip(b"\0").decode("ascii", "replace")
                        )
                    at += (4 + len(each) + 3) & ~3
                return ""
            at += (4 + len(data) + 3) & ~3
        return ""

    def whole(self, number: int = 0, flags: int = 0) -> bytes:
        body = BODY.pack(self.family, 0, 0) + packed(self.parts)
        return HEADER.pack(HEADER.size + len(body), self.kind, flags, number, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Of each message of netlink its kind, and what is behind its header. ValueError where lengths do not come out."""
    return ((kind, body) for _, kind, _, body in netlink.messages(data))


def message(kind: int, body: bytes) -> Message:
    """What is carried of one. ValueError for another kind, or with a part that is not known."""
    if kind not in CARRIED or len(body) < BODY.size:
        raise ValueError("it holds what is no rule")
    carried, own = CARRIED[kind]
    found = attributes(body[BODY.size :])
    numbers = {number for number, _ in found}
    if len(numbers) < len(found):  # a kernel takes the last
        raise ValueError("it has a part twice")
    if strange := numbers - carried - own:
        raise ValueError(f"a {WORDS[kind].split()[0]} has what is not known here (attribute {min(strange)})")
    made = Message(kind, body[0], [(number, data) for number, data in found if number in carried])
    if kind == TABLE:
        flags = U32.pack(made.number(TABLE_FLAGS) & ~OWNED)
        made.parts = [(number, flags if number == TABLE_FLAGS else data) for number, data in made.parts]
    return made


def checked(data: bytes) -> list[Message]:
    """A ruleset as it was told, to be made. ValueError says what no honest node tells, or what is not carried."""
    made = [message(kind, body) for kind, body in messages(data)]
    if names := not_carried(made):
        raise ValueError(f"its rules have {' '.join(names)}, which is not carried")
    return made


def not_carried(rules: Iterable[Message]) -> list[str]:
    """Names of what in rules keeps something of its own that is not carried, or means something on its node alone."""
    found = set()
    for rule in rules:
        for name, parts in rule.expressions():
            if name in XT:
                extension = parts.get(XT_NAME, b"").rstrip(b"\0")
                if extension not in TRIED or rule.family == BRIDGE:
                    found.add(extension.decode("ascii", "replace"))
            elif name == b"socket" and parts.get(SOCKET_KEY) == U32.pack(SOCKET_CGROUP):
                found.add("cgroupv2")
            elif name == b"osf":  # its fingerprints are the node's
                found.add("osf")
    return sorted(found)


def translates(rules: Iterable[Message]) -> bool:
    """Whether one translates addresses or ports."""
    return any(
        (parts.get(XT_NAME, b"").rstrip(b"\0") if name in XT else name) in TRANSLATING
        for rule in rules
        for name, parts in rule.expressions()
    )
