"""Whether a node can publish a container's ports: asked before anything is touched."""

from __future__ import annotations

from migrator.model import ports
from migrator.model.container import Descriptor
from migrator.transport.base import Node

SAID_CHARS_MAX = 300  # of what a node says in words of its own


async def findings(node: Node, ct: Descriptor) -> list[str]:
    """Every reason of the node's own against it; of other containers' ports facts tell. Nobody is asked without any."""
    if not ct.published:
        return []
    answer = await node.call("see-ports", ",".join(ct.gateways) or "-", *ports.words(ct.published))
    return [said[:SAID_CHARS_MAX] for said in answer.lines("fault")]
