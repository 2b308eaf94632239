"""Connections that are begun before the cluster file is checked, which takes Python as long as sshd takes for a login.

Nothing depends on what nobody has checked: a connection is used where the checked file has the same node at the same
address, and is closed where it has not. Host keys are checked as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType

from migrator.transport.asyncssh_import import library
from migrator.transport.ssh import SshAddress, SshNode


class Ahead:
    """Nodes that are being connected to. Entered, their connections are begun; at the end those that nobody took go."""

    def __init__(self, nodes: Iterable[tuple[str, SshAddress]]) -> None:
        self._begun = {(name, address): SshNode(name, address) for name, address in nodes}

    async def __aenter__(self) -> Ahead:
        for node in self._begun.values():
            node.begin()
        await asyncio.sleep(0)  # they begin: sshd has its part to do while asyncssh is loaded
        library()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(node.close() for node in self._begun.values()))

    def node(self, name: str, address: SshAddress) -> SshNode:
        """The node of that name at that address, from now on the caller's to close; a new one where none was begun."""
        return self._begun.pop((name, address), None) or SshNode(name, address)
