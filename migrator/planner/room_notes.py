"""Nodes that hold more than they have by the limits of their containers, before a plan and after it, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from migrator.model.facts import NodeFacts, Resources
from migrator.model.units import format_bytes

SAID_MAX = 5  # nodes that are told one by one


def room_notes(nodes: Sequence[NodeFacts], moved: Mapping[str, str]) -> Iterator[str]:
    """Each node that is over its capacity before the plan, and what becomes of that; `moved` are where containers go.

    What is so already never stands against a plan, for a plan does not make it worse.
    """
    full = [node for node in nodes if node.answered and any(_over(node, node.reserved))]
    if not full:
        return
    after = {node.name: node.reserved for node in full}
    for node in nodes:
        for container in node.containers:
            goal = moved.get(container.name, node.name)
            if goal != node.name and node.name in after:
                after[node.name] = after[node.name] - container.reserved
            if goal != node.name and goal in after:
                after[goal] = after[goal] + container.reserved
    for node in full[:SAID_MAX]:
        parts = [part for part in _over(node, node.reserved) if part]
        end = "stays so" if any(_over(node, after[node.name])) else "is mended by this plan"
        yield f"{node.name} has promised more than it has already ({', '.join(parts)}), and that {end}"
    if len(full) > SAID_MAX:
        yield f"and so have {len(full) - SAID_MAX} more nodes"


def _over(node: NodeFacts, held: Resources) -> tuple[str, str, str]:
    """For CPU, memory and disk what is over the node's capacity, in words; empty for what is not."""
    whole = node.capacity
    cpu = f"{held.cpu_milli / 1000:g} of {whole.cpu_milli / 1000:g} CPU" if held.cpu_milli > whole.cpu_milli else ""
    memory, disk = (
        f"{format_bytes(used)} of {format_bytes(there)} {what}" if used > there else ""
        for what, used, there in (
            ("memory", held.memory_bytes, whole.memory_bytes),
            ("disk", held.disk_bytes, whole.disk_bytes),
        )
    )
    return cpu, memory, disk
