"""What of a plan's containers does not move with them: connections through published ports, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.model.ports import lost
from migrator.planner.placement import Mover

LISTED_MAX = 8


def port_notes(legs: Iterable[tuple[Mover, str]]) -> Iterator[str]:
    """A note for each container that goes, to the node named last of its legs, and has published ports."""
    last = {mover.name: (mover, target) for mover, target in legs}
    told = [
        f"ports: container {name}: {lost(m.descriptor.published, to)}"
        for name, (m, to) in last.items()
        if m.descriptor.published
    ]
    yield from told[:LISTED_MAX]
    if len(told) > LISTED_MAX:
        yield f"ports: and {len(told) - LISTED_MAX} more containers lose connections so"
