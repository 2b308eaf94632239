"""How memory gets from one node to the other: streamed into the processes that a restore has made there, or by images
that lie in both nodes' memory meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from migrator.model.facts import NodeFacts

CAN = "yes"  # what a node answers that can


@dataclass(frozen=True, slots=True)
class MemoryWay:
    """The way that is taken, and, where it is not the shorter one, why."""

    name: Literal["stream", "images"]
    why: str = ""


def memory_way(source: NodeFacts, target: NodeFacts) -> MemoryWay:
    """The shortest way that both nodes can: streamed memory is never written down, and arrives while CRIU restores."""
    lacks = [
        f"{node.name}: {said or 'it does not tell whether it can stream memory'}"
        for node, said in ((source, source.stream_out), (target, target.stream_in))
        if said != CAN
    ]
    return MemoryWay("images", "; ".join(lacks)) if lacks else MemoryWay("stream")
