"""Containers that stay where they are because of a device, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.model.confinement import devices_lacking
from migrator.model.facts import NodeFacts

LISTED_MAX = 8


def device_notes(nodes: Sequence[NodeFacts]) -> Iterator[str]:
    """A note for each container whose devices no node has but its own; nodes that do not answer are not counted."""
    told = list(_pinned(nodes))
    yield from told[:LISTED_MAX]
    if len(told) > LISTED_MAX:
        yield f"devices: and {len(told) - LISTED_MAX} more containers are pinned so"


def _pinned(nodes: Sequence[NodeFacts]) -> Iterator[str]:
    for node in nodes:
        for container in node.containers:
            wanted = container.descriptor.devices if container.descriptor else ()
            if not wanted:
                continue
            others = [other for other in nodes if other is not node and not other.error]
            if all(any(devices_lacking(wanted, other.devices)) for other in others):
                what = f"no other node has device {' and '.join(wanted)}"
                yield f"devices: container {container.name} is pinned to {node.name}: {what}"
