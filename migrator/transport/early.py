"""A TCP connection made before asyncssh is loaded: sshd begins its part meanwhile, which takes about as long.

Only where nothing but the address says how a node is reached; else asyncssh connects, as ~/.ssh/config has it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from pathlib import Path

SSH_PORT = 22


async def early_socket(host: str, port: int | None, config: str | None) -> socket.socket | None:
    """A connected socket, or None where it is for ssh to find the way. OSError as of any connection."""
    if config is not None or not _is_literal(host) or _has_own_config():
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (host, port or SSH_PORT))
    except BaseException:
        made.close()
        raise
    return made


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _has_own_config() -> bool:
    return os.access(Path("~/.ssh/config").expanduser(), os.R_OK)
