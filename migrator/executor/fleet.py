"""The cluster as the executor holds it: its file, a node to call for each entry, and the facts last seen."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from migrator.errors import BadInput, FailedSafe, MigratorError, Refused, nowhere, quoted
from migrator.inventory.asking import Verb, ask_all
from migrator.transport.hooks import HookCaller, LocalHooks
from migrator.transport.ssh import SshNode

if TYPE_CHECKING:
    from migrator.inventory.cluster_file import ClusterFile, NodeEntry
    from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
    from migrator.transport.base import Answer
    from migrator.transport.retry import RetryingNode


class Fleet:
    """An open cluster: connections are made when first needed and closed at the end.

    `connect` makes the node for an entry of the cluster file, over ssh unless given. `holder` is the word by which
    nodes know this orchestrator from all others, made anew for each unless given. `hooks` calls the site's hooks, on
    this machine unless given.
    """

    def __init__(
        self,
        cluster_file: ClusterFile,
        connect: Callable[[NodeEntry], RetryingNode] | None = None,
        holder: str | None = None,
        hooks: HookCaller | None = None,
    ) -> None:
        self.file = cluster_file
        self.holder = holder or secrets.token_hex(4)
        self.hooks = hooks or LocalHooks()
        connect = connect or (lambda entry: SshNode(entry.name, cluster_file.ssh_address(entry)))
        self.nodes = {entry.name: connect(entry) for entry in cluster_file.nodes}

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closing = asyncio.gather(*(node.close() for node in self.nodes.values()))
        while not closing.done():  # bounded; and a cancellation that comes now has nothing to stop any more
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(closing)

    def node(self, name: str) -> RetryingNode:
        return self.nodes[self.file.entry(name).name]

    async def probe(self) -> Cluster:
        """All that nodes tell of themselves and their containers."""
        told = await self._told("probe")
        from migrator.inventory.probe import probed  # noqa: PLC0415   (which is loaded while nodes are asked)

        return probed(self.file, told)

    async def survey(self) -> Cluster:
        """All containers and what nodes have for them, sooner, without what only a move asks of a machine."""
        told = await self._told("survey")
        from migrator.inventory.probe import surveyed  # noqa: PLC0415

        return surveyed(self.file, told)

    async def described(self) -> Cluster:
        """All containers by their descriptions, and nothing else; sooner still."""
        told = await self._told("described")
        from migrator.inventory.probe import described  # noqa: PLC0415

        return described(self.file, told)

    async def facts(self, name: str) -> NodeFacts:
        """Fresh facts of one node that has to answer."""
        entry = self.file.entry(name)
        told = await ask_all(self.file, [entry], self.nodes, "probe")
        from migrator.inventory.probe import facts_of  # noqa: PLC0415

        facts = facts_of(self.file, entry, told[name])
        if not facts.answered:
            raise FailedSafe(facts.error)
        return facts

    async def _told(self, verb: Verb) -> dict[str, Answer | MigratorError]:
        return await ask_all(self.file, self.file.nodes, self.nodes, verb)


def find_container(cluster: Cluster, name: str, on: str | None = None) -> tuple[NodeFacts, ContainerFacts]:
    """The one node that owns a container. Refused when several claim it; when none does, as `nowhere` tells.

    `on` names the node where it is meant, of two that have a container of this name each.
    """
    owners = [(node, c) for node in cluster.owners(name) if (c := node.container(name)) is not None]
    if on is not None:
        owners = _meant(cluster, name, on, owners)
    if len(owners) == 1:
        return owners[0]
    if not owners:
        raise nowhere(name, cluster.name, [node.error for node in cluster.nodes if not node.answered])
    claims = ", ".join(f"{node.name} ({c.state})" for node, c in owners)
    if all(c.at_rest for _, c in owners):
        raise Refused(
            f"there are two containers {name}: {claims}; one was made while the other's node did not answer. Remove "
            f"the one that is wrong, with: migrator ct destroy {name} --node NODE"
        )
    raise Refused(f"container {name} is on the move: {claims}; see: migrator runs")


def _meant(
    cluster: Cluster, name: str, on: str, owners: list[tuple[NodeFacts, ContainerFacts]]
) -> list[tuple[NodeFacts, ContainerFacts]]:
    """That of `owners` on the node that is meant, and never another: where that is silent, nobody knows."""
    if on not in [node.name for node in cluster.nodes]:
        raise BadInput(f"--node {quoted(on)}: no such node in cluster {cluster.name!r}")
    if not cluster.node(on).answered:
        raise FailedSafe(f"{cluster.node(on).error}; nothing was done to container {name}, on this node or another")
    found = [(node, c) for node, c in owners if node.name == on]
    if owners and not found:
        raise BadInput(f"--node {on}: container {name} is on {', '.join(node.name for node, _ in owners)}")
    return found


def refuse_silent(fleet: Fleet, cluster: Cluster, without: Collection[str], name: str) -> None:
    """FailedSafe rather than to make a container while a node that may have its name or its address cannot be asked.

    `without` are the nodes of which somebody says that they need not be asked; BadInput for one that is none.
    """
    for each in without:
        fleet.node(each)
    silent = [node for node in cluster.nodes if not node.answered and node.name not in without]
    if silent:
        words = " ".join(f"--without {node.name}" for node in silent)
        raise FailedSafe(
            f"{silent[0].error}; whether it has a container {name}, or one of its address, nobody can tell. If it has "
            f"not: {words}"
        )


def new_run_id() -> str:
    """Sorts by time, short enough to type."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_document(cluster_path: str, intent: str, **more: Any) -> dict[str, Any]:
    return {"cluster_file": cluster_path, "intent": intent, **more}
