"""Clusters that are not there: one without some nodes, or with more like those that are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from migrator.model.facts import Cluster


def without(cluster: Cluster, names: Collection[str]) -> Cluster:
    """The cluster as if these nodes, and what is on them, did not exist. KeyError for one that does not."""
    for name in names:
        cluster.node(name)
    return replace(cluster, nodes=tuple(node for node in cluster.nodes if node.name not in names))


def with_nodes(cluster: Cluster, more: Iterable[tuple[str, str]]) -> Cluster:
    """The cluster with one empty node more for each pair (name, like which node it is). KeyError for no such node."""
    nodes = list(cluster.nodes)
    for name, like in more:
        model = cluster.node(like)
        nodes.append(
            replace(
                model,
                name=name,
                error="",
                containers=(),
                cordon=None,
                boot_id="",
                machine_id="",
                hostname=name,
                memory_available_bytes=model.memory_bytes,
                disk_available_bytes=model.disk_bytes,
            )
        )
    return replace(cluster, nodes=tuple(sorted(nodes, key=lambda node: node.name)))
