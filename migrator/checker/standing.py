"""What is wrong before a plan and not of its making: told, and no finding, for a plan need not mend it."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.model.facts import Cluster
from migrator.model.units import format_bytes


def standing_notes(cluster: Cluster) -> Iterator[str]:
    """Each node whose containers may use more than it has, by their limits."""
    for node in cluster.nodes:
        if node.error:
            continue
        cpu_milli = sum(container.reserved.cpu_milli for container in node.containers)
        if cpu_milli > node.capacity.cpu_milli:
            yield f"{node.name} holds {cpu_milli / 1000:g} CPU by limits and has {node.capacity.cpu_milli / 1000:g}"
        for what in ("memory", "disk"):
            held = sum(getattr(container.reserved, f"{what}_bytes") for container in node.containers)
            there = getattr(node.capacity, f"{what}_bytes")
            if held > there:
                yield f"{node.name} holds {format_bytes(held)} of {what} by limits and has {format_bytes(there)}"
