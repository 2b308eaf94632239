"""Asks every node at once. What reads their answers (`probe`) is loaded while they are asked: both take as long."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from migrator.errors import MigratorError

if TYPE_CHECKING:
    from migrator.inventory.cluster_file import ClusterFile, NodeEntry
    from migrator.transport.base import Answer, Node

TIMEOUT_S = 25
Verb = Literal["probe", "survey", "described"]


async def ask_all(
    cluster: ClusterFile, entries: Iterable[NodeEntry], nodes: Mapping[str, Node], verb: Verb
) -> dict[str, Answer | MigratorError]:
    """What each node of these entries answers, or why it does not; a node that is silent delays nobody."""
    entries = list(entries)
    asked = (_ask(nodes[entry.name], verb, *_words(cluster, entry, verb)) for entry in entries)
    answers, _ = await asyncio.gather(asyncio.gather(*asked), loaded("migrator.inventory.probe"))
    return dict(zip((entry.name for entry in entries), answers, strict=True))


def _words(cluster: ClusterFile, entry: NodeEntry, verb: Verb) -> list[str]:
    """The volumes that it may have, of which those verbs tell that look at more than descriptions."""
    return [] if verb == "described" else [f"{name}={path}" for name, path in cluster.volume_paths(entry).items()]


async def _ask(node: Node, verb: Verb, *words: str) -> Answer | MigratorError:
    try:
        return await node.call(verb, *words, timeout_s=TIMEOUT_S, tries=2)
    except MigratorError as error:
        return error


async def loaded(*modules: str) -> None:
    """Loads them in a thread: whoever waits for a node is served meanwhile. Those that are there cost nothing."""
    for name in modules:
        if name not in sys.modules:
            await asyncio.to_thread(importlib.import_module, name)
