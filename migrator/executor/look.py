"""Asking one node what it knows of one container. Nothing is changed by it."""

from __future__ import annotations

from migrator.model.observation import GATES, PROCESSES, STATES, Observation
from migrator.transport.base import Answer, Node, NodeFailed, NodeUnreachable


def observe(answer: Answer) -> Observation:
    """What `inspect` told, all of it and nothing that nobody knows: on this a decision is built."""
    known = {"state": STATES, "same_boot": {"yes", "no"}, "processes": PROCESSES, "gate": GATES}
    for key, values in known.items():
        told = answer.get(key, "none" if key == "gate" else "")
        if told not in values:
            raise NodeFailed(answer.node, "inspect", f"it tells of a {key} that nobody knows: {told[:40]!r}")
    return Observation(
        state=answer.get("state"),
        token=answer.number("token"),
        generation=answer.number("generation"),
        run=answer.get("run", "-"),
        same_boot=answer.get("same_boot") == "yes",
        processes=answer.get("processes"),
        gate=answer.get("gate", "none"),
        held=answer.get("held") == "yes",
        jobs=tuple(answer.lines("job_running")),
        floor=answer.number("floor"),
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
