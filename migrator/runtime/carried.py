"""What a container's root has made in its network, as its source tells it, before a target's root makes it anew.

Addresses and routes are as iproute2 saves them: a magic number, then messages of rtnetlink, which `restore` sends to
the kernel as they are. A message of another kind could make links that reach out of the container's network, so a
source's word is not enough. Rules of nf_tables are looked at by who makes them (`kit/ruleset.py`).
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable

BYTES_MAX = 150_000  # of all lines; a node takes 200,000
_HEADER = struct.Struct("=IHHII")  # nlmsghdr, linux/netlink.h: length, type, flags, sequence, port
_MAGIC = {"addresses": 0x47361222, "routes4": 0x45311224, "routes6": 0x45311224}  # ip/ipaddress.c, ip/iproute.c
_ROUTE = 24  # RTM_NEWROUTE
_KIND = {"addresses": 20, "routes4": _ROUTE, "routes6": _ROUTE}  # RTM_NEWADDR is 20
_BODY = struct.Struct("=4xBB2x")  # of rtmsg, linux/rtnetlink.h, what is asked for; an ifaddrmsg is as long
_TABLE_LOCAL, _PROTOCOL_KERNEL = 255, 2
_RULE = re.compile(r"rule add pref [A-Za-z0-9./: _-]+")
_CARD = re.compile(r"eth[0-9] [1-9][0-9]{0,8}")
_NAMES = ("addresses", "routes4", "routes6", "rules4", "rules6", "nft", "cards")


def checked(lines: Iterable[str]) -> bytes:
    """The lines ("WHAT BASE64") as a target takes them; ValueError says what no honest source tells.

    Without the routes that the kernel makes by itself for each address: saved ones of IPv6 come back as others.
    """
    seen = {}
    for line in lines:
        what, _, text = line.partition(" ")
        if what not in _NAMES or what in seen:
            raise ValueError(f"it tells of {what[:40]!r} in its network")
        seen[what] = _part(what, base64.b64decode(text, validate=True))
    told = "".join(f"{what} {base64.b64encode(seen.get(what, b'')).decode()}\n" for what in _NAMES).encode()
    if len(told) > BYTES_MAX:
        raise ValueError(f"its network holds {len(told)} bytes of addresses, routes and rules, over {BYTES_MAX}")
    return told


def _part(what: str, data: bytes) -> bytes:
    if what in _MAGIC:
        return _own_messages(what, data) if data else b""
    if what == "nft":
        return data
    form, said = (_CARD, "numbers of its cards") if what == "cards" else (_RULE, "routing rules")
    if not all(form.fullmatch(line) for line in data.decode("ascii").splitlines()):
        raise ValueError(f"its {said} are none")
    return data


def _own_messages(what: str, data: bytes) -> bytes:
    magic = struct.pack("=I", _MAGIC[what])
    if data[:4] != magic:
        raise ValueError(f"its {what} are none")
    kept, at = [magic], 4
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise ValueError(f"its {what} are cut short")
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind != _KIND[what] or not _HEADER.size + _BODY.size <= length <= len(data) - at:
            raise ValueError(f"its {what} hold what is none")
        table, protocol = _BODY.unpack_from(data, at + _HEADER.size)
        after = at + ((length + 3) & ~3)
        if kind != _ROUTE or (table != _TABLE_LOCAL and protocol != _PROTOCOL_KERNEL):
            kept.append(data[at:after])
        at = after
    return b"".join(kept)
