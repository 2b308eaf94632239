"""More than a node has: how much of each resource may be promised to its containers by their limits.

Theory. A ratio multiplies the capacity. `measured` counts what is there by what it uses, and what comes by its limit:
the capacity is then what the records hold and what is really free beside it, and changes with every look. Whatever is
promised, a move also needs memory and disk that are really free.
"""

from __future__ import annotations

from dataclasses import replace

from migrator.inventory.cluster_file import Overcommit
from migrator.model.facts import NodeFacts, Resources

MEASURED = "measured"


def promised(facts: NodeFacts, terms: Overcommit) -> NodeFacts:
    """The node's facts with what may be promised as its capacity; unchanged if it did not answer."""
    if not facts.answered:
        return facts
    whole, held = facts.capacity, facts.reserved
    return replace(
        facts,
        capacity=Resources(
            cpu_milli=_promised(whole.cpu_milli, terms.cpu, 0),
            memory_bytes=_promised(whole.memory_bytes, terms.memory, held.memory_bytes + facts.memory_available_bytes),
            disk_bytes=_promised(whole.disk_bytes, terms.disk, held.disk_bytes + facts.disk_available_bytes),
        ),
    )


def _promised(whole: int, ratio: float | str | None, measured: int) -> int:
    if ratio == MEASURED:
        return measured
    return whole if ratio is None else round(float(ratio) * 1000) * whole // 1000
