"""Makes the connections that a container's rules track anew (connections.py). Run in its network:

conntrack.py can          ends well where this kernel can be asked and told, by the Python that is here
conntrack.py load IMAGE   makes those of CRIU's image anew, before anything runs that could use them
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from connections import CT_NEW, IMAGE_BYTES_MAX, Message, connections, creation, messages
from netlink import BODY, HEADER

TIMEOUT_S = 5
# How many are made with one call: answers to that many fit in what a socket keeps.
BATCH = 64
ANSWER_BYTES_MAX = 1 << 16

# linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
NETLINK_NETFILTER, SOL_NETLINK, NETLINK_CAP_ACK = 12, 270, 10
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
CT_GET_STATS = 0x105


class Kernel:
    """This network's kernel, by netlink. OSError when it refuses or does not answer."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.bind((0, 0))

    def ask(self, kind: int, flags: int = 0) -> Iterator[Message]:
        """Each message of the answer."""
        body = BODY.pack(socket.AF_UNSPEC, 0, 0)
        self._socket.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
        while True:
            for said in messages(self._socket.recv(ANSWER_BYTES_MAX)):
                yield said
                if said.kind in (NLMSG_ERROR, NLMSG_DONE):
                    refuse(said)
                    return
            if not flags & NLM_F_DUMP:
                return

    def make(self, bodies: list[bytes]) -> None:
        """Makes connections. One that is there already is left as it is."""
        for first in range(0, len(bodies), BATCH):
            batch = bodies[first : first + BATCH]
            last = len(batch) - 1
            parts = []
            for number, body in enumerate(batch):
                flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | (NLM_F_ACK if number == last else 0)
                parts.append(HEADER.pack(HEADER.size + len(body), CT_NEW, flags, number, 0) + body)
            self._socket.send(b"".join(parts))
            self._hear(last)

    def _hear(self, last: int) -> None:
        """Until the last of a batch has its answer; the others have one where they were refused."""
        number = -1
        while number != last:
            for said in messages(self._socket.recv(ANSWER_BYTES_MAX)):
                number = said.number
                refuse(said, but=errno.EEXIST)


def refuse(said: Message, but: int = 0) -> None:
    """OSError where an answer says so; its first number is an error's, or 0."""
    code = -int.from_bytes(said.body[:4], sys.byteorder, signed=True)
    if code not in (0, but):
        raise OSError(code, os.strerror(code))


def load(image: Path) -> None:
    with image.open("rb") as file:
        data = file.read(IMAGE_BYTES_MAX + 1)
    Kernel().make([creation(entry) for entry in connections(data)])


def can() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036
        raise OSError("Python 3.10 or newer is not there")
    for _ in Kernel().ask(CT_GET_STATS):
        pass


if __name__ == "__main__":
    try:
        if sys.argv[1] == "load":
            load(Path(sys.argv[2]))
        else:
            can()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the connections that its rules track: {error}\n")
        sys.exit(1)
