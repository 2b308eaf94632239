"""Clusters that are not there: without some nodes, with more like those that are, or after a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan


def without(cluster: Cluster, names: Collection[str]) -> Cluster:
    """The cluster as if these nodes, and what is on them, did not exist. KeyError for one that does not."""
    for name in names:
        cluster.node(name)
    return replace(cluster, nodes=tuple(node for node in cluster.nodes if node.name not in names))


def uncordoned(cluster: Cluster, names: Collection[str]) -> Cluster:
    """The cluster without the marks of these nodes."""
    nodes = (replace(node, cordon=None) if node.name in names else node for node in cluster.nodes)
    return replace(cluster, nodes=tuple(nodes)) if names else cluster


def with_nodes(cluster: Cluster, more: Iterable[tuple[str, str]]) -> Cluster:
    """The cluster with one empty node more for each pair (name, like which node it is). KeyError for no such node."""
    nodes, links = list(cluster.nodes), cluster.links
    for name, like in more:
        links = tuple(replace(link, nodes=(*link.nodes, name)) if like in link.nodes else link for link in links)
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
    return replace(cluster, nodes=tuple(sorted(nodes, key=lambda node: node.name)), links=links)


def after(cluster: Cluster, plan: Plan) -> Cluster:
    """The cluster as it is when all moves of a plan have ended well, and nothing else has changed."""
    ways = plan.ways()
    gone = {(way[0].source, name) for name, way in ways.items()}
    target = {name: way[-1].target for name, way in ways.items()}
    held = {node.name: [c for c in node.containers if (node.name, c.name) not in gone] for node in cluster.nodes}
    for node in cluster.nodes:
        for container in node.containers:
            if (node.name, container.name) in gone:
                moved = replace(container, generation=container.generation + len(ways[container.name]))
                held[target[container.name]].append(moved)
    return replace(cluster, nodes=tuple(_holding(node, held[node.name], plan) for node in cluster.nodes))


def rebooted(cluster: Cluster, drained: Plan) -> Cluster:
    """The cluster when a group of nodes has been drained and rebooted, and is open to what is to come back."""
    return uncordoned(after(cluster, drained), drained.empties)


def returned(cluster: Cluster, drained: Plan, back: Plan) -> Cluster:
    """The cluster when a group has been drained, rebooted and refilled; marks are those that were there before."""
    marks = {node.name: node.cordon for node in cluster.nodes}
    end = after(rebooted(cluster, drained), back)
    return replace(end, nodes=tuple(replace(node, cordon=marks[node.name]) for node in end.nodes))


def _holding(node: NodeFacts, containers: list[ContainerFacts], plan: Plan) -> NodeFacts:
    """The node with these containers: what came has taken of its free memory and disk, what went has given back."""
    before, names = {c.name for c in node.containers}, {c.name for c in containers}
    came = [c for c in containers if c.name not in before]
    went = [c for c in node.containers if c.name not in names]
    return replace(
        node,
        containers=tuple(sorted(containers, key=lambda c: c.name)),
        cordon=node.cordon if node.name not in plan.empties else node.cordon or "plan",
        memory_available_bytes=node.memory_available_bytes
        + sum(c.anon_bytes for c in went)
        - sum(c.anon_bytes for c in came),
        disk_available_bytes=node.disk_available_bytes
        + sum(c.files_bytes for c in went)
        - sum(c.files_bytes for c in came),
    )
