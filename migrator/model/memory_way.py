"""How memory gets from one node to the other: streamed into the processes that a restore has made there, or by images
that lie in both nodes' memory meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.model.rates import Way

if TYPE_CHECKING:
    from migrator.model.facts import NodeFacts

CAN = "yes"  # what a node answers that can
WAYS: Mapping[str, str] = {"stream": "is streamed", "images": "goes by images"}  # in words
WERE: Mapping[str, str] = {"stream": "was streamed", "images": "went by images"}

# How it goes over the network: through the move's ssh, or beside it where the network is declared trusted.
PLAIN, ENCRYPTED = "plain", "encrypted"
CHANNELS: Mapping[str, str] = {PLAIN: "plain, the network is declared trusted", ENCRYPTED: "encrypted"}


@dataclass(frozen=True, slots=True)
class MemoryWay:
    """The way that is taken, and, where it is not the shorter one, why."""

    name: Way
    why: str = ""


def memory_way(source: NodeFacts, target: NodeFacts) -> MemoryWay:
    """The shortest way that both nodes can: streamed memory is never written down, and arrives while CRIU restores."""
    lacks = [
        f"{node}: {said or 'it does not tell whether it can stream memory'}"
        for node, said in _told(source, target)
        if said != CAN
    ]
    return MemoryWay("images", "; ".join(lacks)) if lacks else MemoryWay("stream")


def planned_way(source: NodeFacts, target: NodeFacts, untold: Way) -> Way:
    """The way that a plan counts with: `untold` where neither node says that it cannot, and one of them says nothing.

    A node that is asked always tells. Facts from elsewhere, or older ones, may not.
    """
    said = {said for _, said in _told(source, target)}
    if said - {CAN, ""}:
        return "images"
    return untold if "" in said else "stream"


def trusted_networks(source: NodeFacts, target: NodeFacts) -> tuple[str, ...]:
    """The networks, declared trusted, in which both are."""
    return tuple(network for network in target.trusted if network in source.trusted)


def _told(source: NodeFacts, target: NodeFacts) -> Iterator[tuple[str, str]]:
    """Of both nodes what they say of their end."""
    yield source.name, source.stream_out
    yield target.name, target.stream_in
