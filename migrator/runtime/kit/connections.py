"""The connections that a container's rules track, as its kernel has told them to CRIU, and the messages that make them
anew in the network of its copy. Pure: conntrack.py is who talks to a kernel.

A kernel keeps an entry for each connection that a rule asks about (`ct state`) or translates (`redirect`, `snat`): the
addresses of its first packet (original), those of answers to it (reply), and how far it is. CRIU's image of them
(netns-ct-N.img) holds a kernel's messages as it has dumped them, and CRIU would restore them so.

They come from another node. So nothing of them goes to a kernel as it is: what is known here is taken out, and a
message of our own is made of that, which can only add a connection to the network that it is sent from.

- Translated is a connection whose reply is not its original turned round. A kernel takes translations as a range of
  addresses to choose from, beside a reply that is not translated yet; here the range is the one that was chosen.
- Of TCP the windows that a kernel has seen are not told by it. It learns them from the next packets, and would take the
  answer to what was sent before the pause for invalid until then; so it is told to be liberal with these connections.
- Left out are connections that are over, whose sockets are not dumped either, and protocols that no restored socket
  has. A connection that a helper has let in is made as any other.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

import netlink
from netlink import BODY, NESTED, attribute

CONNECTIONS_MAX = 16_384
IMAGE_BYTES_MAX = CONNECTIONS_MAX * 512  # a kernel takes 200 to 300 for each

# linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
CT_NEW = 0x100
ORIGINAL, REPLY, STATUS, PROTOINFO, HELPER, NAT_SRC, TIMEOUT, MARK, NAT_DST = 1, 2, 3, 4, 5, 6, 7, 8, 13
SHIFT_ORIGINAL, SHIFT_REPLY, ZONE, LABELS = 15, 16, 18, 22
TUPLE_IP, TUPLE_PROTO, TUPLE_ZONE = 1, 2, 3
PROTO, PORT_SRC, PORT_DST = 1, 2, 3
# By family: the attributes of both addresses in a flow, of a translation's range, and an address's length in bytes.
ADDRESSES: dict[int, tuple[int, int, int, int, int]] = {
    socket.AF_INET: (1, 2, 1, 2, 4),
    socket.AF_INET6: (3, 4, 4, 5, 16),
}
NAT_PROTO, NAT_PORT_MIN, NAT_PORT_MAX = 3, 1, 2
TCP_INFO, TCP_STATE, TCP_SCALES, TCP_FLAGS = 1, 1, (2, 3), (4, 5)
SHIFT_PARTS = (1, 2, 3)
HELPER_NAME, HELPER_NAMES = 1, re.compile(rb"[A-Za-z0-9._-]{1,15}\0")

SEEN_REPLY, ASSURED, CONFIRMED = 0x2, 0x4, 0x8
WINDOW_SCALE, SACK, CLOSE_INIT, LIBERAL = 0x1, 0x2, 0x4, 0x8
TAKEN_FLAGS = WINDOW_SCALE | SACK | CLOSE_INIT
TCP, CARRIED = 6, {6, 17, 136}  # and UDP, UDP-Lite
TCP_OVER, TCP_STATE_MAX, TCP_SCALE_MAX = {0, 7, 8}, 9, 14  # none, time-wait, closed


class Flow(NamedTuple):
    """One direction of a connection, in bytes as the kernel tells them; `zone` may be empty."""

    source: bytes
    target: bytes
    protocol: int
    source_port: bytes
    target_port: bytes
    zone: bytes

    def turned(self, zone: bytes) -> Flow:
        return Flow(self.target, self.source, self.protocol, self.target_port, self.source_port, zone)


class Tcp(NamedTuple):
    """How far a TCP connection is; scales and flags of the original's sender, then of the other."""

    state: int
    scales: tuple[int, ...]
    flags: tuple[int, ...]


class Entry(NamedTuple):
    """One connection. `shifts` are how sequence numbers are moved for both, three numbers of 4 bytes each, or none."""

    family: int
    original: Flow
    reply: Flow
    status: int
    timeout_s: int
    mark: bytes
    zone: bytes
    labels: bytes
    tcp: Tcp | None
    shifts: tuple[tuple[bytes, ...], ...]
    helper: bytes


def attributes(data: bytes) -> dict[int, bytes]:
    """Each attribute's bytes by its number. ValueError where lengths do not come out."""
    return dict(netlink.attributes(data))


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def exactly(found: dict[int, bytes], kind: int, size: int, default: bytes | None = None) -> bytes:
    data = found.get(kind, default)
    if data is None or (len(data) != size and data != default):
        raise ValueError(f"it lacks what it has to have, or has it in another size (attribute {kind})")
    return data


def flow_of(family: int, data: bytes) -> Flow:
    source, target, _, _, size = ADDRESSES[family]
    found = attributes(data)
    ips, ports = attributes(found.get(TUPLE_IP, b"")), attributes(found.get(TUPLE_PROTO, b""))
    protocol = exactly(ports, PROTO, 1)[0]
    if protocol not in CARRIED:
        return Flow(b"", b"", protocol, b"", b"", b"")
    return Flow(
        exactly(ips, source, size),
        exactly(ips, target, size),
        protocol,
        exactly(ports, PORT_SRC, 2),
        exactly(ports, PORT_DST, 2),
        exactly(found, TUPLE_ZONE, 2, b""),
    )


def entry_of(body: bytes) -> Entry | None:
    """The connection that the kernel tells of in one message, past its header; None for one that is not carried.
    ValueError where no kernel would tell it so.
    """
    if len(body) < BODY.size:
        raise ValueError("it is cut short")
    family = body[0]
    if family not in ADDRESSES:
        return None
    found = attributes(body[BODY.size :])
    original = flow_of(family, found.get(ORIGINAL, b""))
    if original.protocol not in CARRIED:
        return None
    reply = flow_of(family, found.get(REPLY, b""))
    if reply.protocol != original.protocol:
        raise ValueError("its two directions are of two protocols")
    tcp = tcp_of(found.get(PROTOINFO, b"")) if original.protocol == TCP else None
    if tcp and tcp.state in TCP_OVER:
        return None
    labels = found.get(LABELS, b"")
    if len(labels) > 16 or len(labels) % 4:
        raise ValueError("its labels are none")
    return Entry(
        family,
        original,
        reply,
        int.from_bytes(exactly(found, STATUS, 4), "big") & (SEEN_REPLY | ASSURED),
        int.from_bytes(exactly(found, TIMEOUT, 4), "big"),
        exactly(found, MARK, 4, b""),
        exactly(found, ZONE, 2, b""),
        labels,
        tcp,
        shifts_of(found),
        helper_of(found),
    )


def tcp_of(data: bytes) -> Tcp:
    found = attributes(attributes(data).get(TCP_INFO, b""))
    state = exactly(found, TCP_STATE, 1)[0]
    scales = tuple(exactly(found, kind, 1, b"\0")[0] for kind in TCP_SCALES)
    flags = tuple(exactly(found, kind, 2, b"\0\0")[0] & TAKEN_FLAGS for kind in TCP_FLAGS)
    if state > TCP_STATE_MAX or max(scales) > TCP_SCALE_MAX:
        raise ValueError("what it tells of TCP is none")
    return Tcp(state, scales, flags)


def shifts_of(found: dict[int, bytes]) -> tuple[tuple[bytes, ...], ...]:
    if SHIFT_ORIGINAL not in found or SHIFT_REPLY not in found:
        return ()
    both = (attributes(found[SHIFT_ORIGINAL]), attributes(found[SHIFT_REPLY]))
    return tuple(tuple(exactly(one, part, 4) for part in SHIFT_PARTS) for one in both)


def helper_of(found: dict[int, bytes]) -> bytes:
    """The name of who reads along to let further connections in, as the kernel has it; empty where nobody does."""
    if HELPER not in found:
        return b""
    name = attributes(found[HELPER]).get(HELPER_NAME, b"")
    if not HELPER_NAMES.fullmatch(name):
        raise ValueError("a helper in it is none")
    return name


def creation(entry: Entry) -> bytes:
    """The message that makes a connection, past its header."""
    parts = [
        BODY.pack(entry.family, 0, 0),
        flow_attribute(ORIGINAL, entry.family, entry.original),
        flow_attribute(REPLY, entry.family, entry.original.turned(entry.reply.zone)),
        attribute(STATUS, (entry.status | CONFIRMED).to_bytes(4, "big")),
        attribute(TIMEOUT, max(1, entry.timeout_s).to_bytes(4, "big")),
        *translations(entry),
    ]
    parts += [attribute(kind, data) for kind, data in ((MARK, entry.mark), (ZONE, entry.zone)) if any(data)]
    if any(entry.labels):
        parts.append(attribute(LABELS, entry.labels))
    for kind, shift in zip((SHIFT_ORIGINAL, SHIFT_REPLY), entry.shifts, strict=False):
        parts.append(nested(kind, *(attribute(part, data) for part, data in zip(SHIFT_PARTS, shift, strict=True))))
    if entry.helper:
        parts.append(nested(HELPER, attribute(HELPER_NAME, entry.helper)))
    if entry.tcp:
        parts.append(tcp_attribute(entry.tcp))
    return b"".join(parts)


def flow_attribute(kind: int, family: int, flow: Flow) -> bytes:
    source, target, *_ = ADDRESSES[family]
    return nested(
        kind,
        nested(TUPLE_IP, attribute(source, flow.source), attribute(target, flow.target)),
        nested(
            TUPLE_PROTO,
            attribute(PROTO, bytes([flow.protocol])),
            attribute(PORT_SRC, flow.source_port),
            attribute(PORT_DST, flow.target_port),
        ),
        *([attribute(TUPLE_ZONE, flow.zone)] if flow.zone else []),
    )


def translations(entry: Entry) -> Iterator[bytes]:
    """What the reply has in place of the original's: the target is translated, or the source, or both."""
    original, reply = entry.original, entry.reply
    if (reply.source, reply.source_port) != (original.target, original.target_port):
        yield translation(NAT_DST, entry.family, reply.source, reply.source_port)
    if (reply.target, reply.target_port) != (original.source, original.source_port):
        yield translation(NAT_SRC, entry.family, reply.target, reply.target_port)


def translation(kind: int, family: int, address: bytes, port: bytes) -> bytes:
    _, _, least, most, _ = ADDRESSES[family]
    ports = nested(NAT_PROTO, attribute(NAT_PORT_MIN, port), attribute(NAT_PORT_MAX, port))
    return nested(kind, attribute(least, address), attribute(most, address), ports)


def tcp_attribute(tcp: Tcp) -> bytes:
    scales = (attribute(kind, bytes([scale])) for kind, scale in zip(TCP_SCALES, tcp.scales, strict=True))
    mask = TAKEN_FLAGS | LIBERAL
    flags = (attribute(kind, bytes([flag | LIBERAL, mask])) for kind, flag in zip(TCP_FLAGS, tcp.flags, strict=True))
    return nested(PROTOINFO, nested(TCP_INFO, attribute(TCP_STATE, bytes([tcp.state])), *scales, *flags))


class Message(NamedTuple):
    """One message of netlink: all its bytes, and what they say."""

    whole: bytes
    kind: int
    number: int
    body: bytes


def messages(data: bytes) -> Iterator[Message]:
    """ValueError where lengths do not come out."""
    return (Message(*said) for said in netlink.messages(data))


def connections(image: bytes) -> list[Entry]:
    """Those of an image that are carried. ValueError says why it is none."""
    if len(image) > IMAGE_BYTES_MAX:
        raise ValueError(f"it is over {IMAGE_BYTES_MAX} bytes")
    found = []
    for said in messages(image):
        if said.kind != CT_NEW:
            raise ValueError("it holds what is no connection")
        if entry := entry_of(said.body):
            found.append(entry)
    return found
