"""Listens on every cable of a lab's switch and tells which patterns went by: wire.py PATTERN... (hexadecimal).

Says "ready" when it hears, and after its stdin has closed the number of bytes heard and the patterns found.
"""

from __future__ import annotations

import json
import select
import socket
import sys

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33


def main(patterns: list[bytes]) -> None:
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    heard, found, open_stdin = 0, set(), True
    while True:
        readable, _, _ = select.select([ear, *([sys.stdin] if open_stdin else [])], [], [], 10 if open_stdin else 0.2)
        if ear in readable:
            packet = ear.recv(1 << 17)
            heard += len(packet)
            found |= {pattern for pattern in patterns if pattern in packet}
        elif sys.stdin in readable:
            open_stdin = bool(sys.stdin.readline())
        elif not open_stdin:
            break
    sys.stdout.write(json.dumps({"bytes": heard, "found": sorted(pattern.hex() for pattern in found)}))


if __name__ == "__main__":
    main([bytes.fromhex(word) for word in sys.argv[1:]])
