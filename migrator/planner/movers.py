"""Which containers a plan may move of its own choice, and which of them are where a rule says they should not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from migrator.model.container import Descriptor
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.placement import Mover

Group = tuple[str, str]


def open_nodes(cluster: Cluster) -> list[NodeFacts]:
    """The nodes that answered and are not cordoned, in the order of their names."""
    return [node for node in cluster.nodes if node.answered and node.cordon is None]


def free_movers(cluster: Cluster, nodes: Sequence[NodeFacts]) -> list[Mover]:
    """The containers on these nodes that run, are whole, and are not on the move; sorted by name."""
    records = Counter(container.name for node in cluster.nodes for container in node.containers)
    found = [
        Mover(container, container.descriptor, node)
        for node in nodes
        for container in node.containers
        if container.descriptor is not None
        and container.state == "serving"
        and container.alive
        and container.run == "-"
        and records[container.name] == 1
    ]
    return sorted(found, key=lambda mover: mover.name)


def groups_of(descriptor: Descriptor | None, policy: PlanPolicy) -> Iterator[Group]:
    """The labels by which this container is kept apart from others."""
    labels = descriptor.labels if descriptor else {}
    return ((key, labels[key]) for key in policy.anti_affinity if key in labels)


def company(nodes: Sequence[NodeFacts], policy: PlanPolicy, moved: Mapping[str, str]) -> Counter[tuple[str, Group]]:
    """How many of each group are on each node; `moved` gives other nodes to some containers."""
    return Counter(
        (moved.get(container.name, node.name), group)
        for node in nodes
        for container in node.containers
        for group in groups_of(container.descriptor, policy)
    )


def broken(together: Counter[tuple[str, Group]]) -> int:
    """How many containers are beside another of their group, the first of each not counted."""
    return sum(count - 1 for count in together.values() if count > 1)


Places = dict[str, list[tuple[str, ContainerFacts]]]


def places_of(cluster: Cluster, names: Iterable[str]) -> Places:
    """For each of these containers: every node that has a record of it, and what that says."""
    places: Places = {name: [] for name in names}
    for node in cluster.nodes:
        for container in node.containers:
            if container.name in places:
                places[container.name].append((node.name, container))
    return places


def unmovable(places: Sequence[tuple[str, ContainerFacts]], node: NodeFacts, container: ContainerFacts) -> str:
    """What is wrong with the container itself, wherever it would go; `places` are all that have a record of it."""
    name = container.name
    elsewhere = [(other, there) for other, there in places if other != node.name]
    held_by = [c.run for _, c in elsewhere if c.run != "-"]
    if container.run != "-" or container.state not in ("serving", "stopped") or held_by:
        run = container.run if container.run != "-" else next(iter(held_by), "?")
        return f"it is on the move ({container.state}, run {run}); finish that first: migrator resume {run}"
    if elsewhere:
        return f"node {elsewhere[0][0]} has a record of it too ({elsewhere[0][1].state}); see: migrator ct list"
    if container.state == "serving" and not container.alive:
        return f"it does not run; start it: migrator ct start {name}"
    return ""
