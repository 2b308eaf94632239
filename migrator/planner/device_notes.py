"""Containers that stay where they are because of a device or a bridge, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.model.confinement import devices_lacking
from migrator.model.facts import NodeFacts
from migrator.model.nics import lacking

LISTED_MAX = 8


def device_notes(nodes: Sequence[NodeFacts]) -> Iterator[str]:
    """A note for each container whose devices, or bridges, no node has but its own; silent nodes are not counted."""
    told = list(_pinned(nodes))
    yield from told[:LISTED_MAX]
    if len(told) > LISTED_MAX:
        yield f"devices: and {len(told) - LISTED_MAX} more containers are pinned so"


def _pinned(nodes: Sequence[NodeFacts]) -> Iterator[str]:
    for node in nodes:
        for container in node.containers:
            ct = container.descriptor
            if ct is None or not (ct.devices or ct.nics):
                continue
            others = [other for other in nodes if other is not node and not other.error]
            if ct.devices and all(any(devices_lacking(ct.devices, other.devices)) for other in others):
                what = f"no other node has device {' and '.join(ct.devices)}"
                yield f"devices: container {container.name} is pinned to {node.name}: {what}"
            if ct.nics and all(any(lacking(ct.nics, other.bridges)) for other in others):
                what = f"no other node has bridge {' and '.join(nic.bridge for nic in ct.nics)}"
                yield f"bridges: container {container.name} is pinned to {node.name}: {what}"
