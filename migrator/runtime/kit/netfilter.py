"""A network's kernel, asked and told about nf_tables by netlink; for rules_out.py and rules_in.py."""

from __future__ import annotations

import os
import struct
import sys
from _socket import AF_NETLINK, SOCK_RAW, SOL_SOCKET, htons, socket  # socket.py takes 10 ms of a pause
from collections.abc import Iterator

from netlink import BODY, HEADER
from ruleset import BYTES_MAX, RULE, TABLE, Message, attributes, messages

TIMEOUT_S = 10
SEEN_BYTES_MAX = 1 << 17

# linux/netlink.h, linux/netfilter/nfnetlink.h
NETLINK_NETFILTER, SOL_NETLINK, NETLINK_EXT_ACK, SO_SNDBUFFORCE = 12, 270, 11, 32
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, ACK, DUMP, EXCL, CREATE, APPEND = 0x1, 0x4, 0x300, 0x200, 0x400, 0x800
ACK_TLVS, CAPPED, ACK_OFFSET = 0x200, 0x100, 2
BATCH_BEGIN, BATCH_END, SUBSYSTEM = 0x10, 0x11, 10
FLAGS = {TABLE: CREATE | EXCL, RULE: CREATE | APPEND}  # and of others CREATE


class Kernel:
    """This network's kernel, by netlink. OSError when it refuses or does not answer."""

    def __init__(self) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        # A kernel takes a transaction as one message; how long one may be is the node's to say, not the container's.
        self._socket.setsockopt(SOL_SOCKET, SO_SNDBUFFORCE, BYTES_MAX)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.bind((0, 0))

    def ask(self, kind: int, flags: int = DUMP, family: int = 0, parts: bytes = b"") -> Iterator[tuple[int, bytes]]:
        """Kind and body of each message of the answer."""
        body = BODY.pack(family, 0, 0) + parts
        self._socket.send(HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, 1, 0) + body)
        while True:
            for said, answer in messages(self._socket.recv(SEEN_BYTES_MAX)):
                if said in (NLMSG_ERROR, NLMSG_DONE):
                    refuse(answer)
                    return
                yield said, answer
            if not flags & DUMP:
                return

    def make(self, rules: list[Message]) -> None:
        """All of them or none. OSError says which one the kernel does not take."""
        if not rules:
            return
        mark = BODY.pack(0, 0, htons(SUBSYSTEM))
        parts = [HEADER.pack(HEADER.size + len(mark), BATCH_BEGIN, REQUEST, 0, 0) + mark]
        last = len(rules)
        for number, each in enumerate(rules, 1):
            flags = REQUEST | FLAGS.get(each.kind, CREATE) | (ACK if number == last else 0)
            parts.append(each.whole(number, flags))
        parts.append(HEADER.pack(HEADER.size + len(mark), BATCH_END, REQUEST, last + 1, 0) + mark)
        self._socket.send(b"".join(parts))
        self._hear(rules)

    def _hear(self, rules: list[Message]) -> None:
        """Until the last has its answer; the others have one where they were refused."""
        while True:
            answer = self._socket.recv(SEEN_BYTES_MAX)
            _, kind, flags, number, _ = HEADER.unpack_from(answer)
            code = -int.from_bytes(answer[HEADER.size : HEADER.size + 4], sys.byteorder, signed=True)
            if kind != NLMSG_ERROR:
                continue
            if code and 0 < number <= len(rules):
                each = rules[number - 1]
                what = each.expression_at(bad_part(flags, answer))
                raise OSError(code, f"{each.said()}{what and f', {what}'}: {os.strerror(code)}")
            if code:
                raise OSError(code, os.strerror(code))
            if number == len(rules):
                return


def bad_part(flags: int, answer: bytes) -> int:
    """Where in a message the kernel says it is wrong, or 0. With an error a kernel gives back the message."""
    (length,) = struct.unpack_from("=I", answer, HEADER.size + 4)
    if not flags & ACK_TLVS or flags & CAPPED:
        return 0
    found = dict(attributes(answer[HEADER.size + 4 + ((length + 3) & ~3) :]))
    return int.from_bytes(found.get(ACK_OFFSET, b""), sys.byteorder)


def refuse(answer: bytes) -> None:
    """OSError where an answer says so; its first number is an error's, or 0."""
    code = -int.from_bytes(answer[:4], sys.byteorder, signed=True)
    if code:
        raise OSError(code, os.strerror(code))
