"""How fast a container writes its files, before anything is touched: its node looks twice where it matters."""

from __future__ import annotations

from dataclasses import replace

from migrator.errors import MigratorError
from migrator.executor.fleet import Fleet
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.file_passes import LITTLE_BYTES
from migrator.transport.base import Answer, Node, NodeFailed


async def watched_in(fleet: Fleet, cluster: Cluster, container: str) -> Cluster:
    """The cluster's facts, with how fast this container writes its files, on each node that owns it."""
    for facts in cluster.owners(container):
        seen = await watched(fleet.node(facts.name), facts, container)
        cluster = replace(cluster, nodes=tuple(seen if node is facts else node for node in cluster.nodes))
    return cluster


async def watched(node: Node, facts: NodeFacts, container: str) -> NodeFacts:
    """The node's facts, with how fast this container writes its files. It is asked, for half a second, only where so
    much has changed lately that it matters.
    """
    mine = facts.container(container)
    if mine is None or not mine.alive or mine.changing_bytes <= LITTLE_BYTES:
        return facts
    try:
        seen = await node.call("writing", container)
    except MigratorError:
        return facts  # what is predicted without is worse, and no reason to let a move fail
    if seen.get("end") != "writing":
        raise NodeFailed(node.name, "writing", f"its answer on container {container} is cut short")
    written, grown = (_per_s(seen, key) for key in ("written_bytes", "grown_bytes"))
    looked_at = replace(mine, files_written_bytes_per_s=written, files_growing_bytes_per_s=grown)
    return replace(facts, containers=tuple(looked_at if c is mine else c for c in facts.containers))


def _per_s(seen: Answer, key: str) -> int:
    """Bytes a second between its two looks; 0 where it found nothing to look at."""
    return round(seen.number(key) * 1000 / max(seen.number("ms"), 1)) if seen.get("ms") else 0
