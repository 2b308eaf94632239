"""Asking one node what it knows of one container. Nothing is changed by it."""

from __future__ import annotations

from migrator.model.observation import Observation
from migrator.transport.base import Answer, Node, NodeUnreachable


def observe(answer: Answer) -> Observation:
    """What `inspect` told."""
    return Observation(
        state=answer.get("state", "absent"),
        token=answer.number("token"),
        generation=answer.number("generation"),
        run=answer.get("run", "-"),
        same_boot=answer.get("same_boot") == "yes",
        processes=answer.get("processes", "none"),
        gate=answer.get("gate", "none"),
        held=bool(answer.get("held")),
        jobs=tuple(answer.lines("job_running")),
    )


async def look(node: Node, container: str) -> Observation:
    """What a node says of a container."""
    return observe(await node.call("inspect", container, tries=2))


async def look_if_it_answers(node: Node, container: str) -> Observation | None:
    """The same; `None` when the node does not answer."""
    try:
        return await look(node, container)
    except NodeUnreachable:
        return None
