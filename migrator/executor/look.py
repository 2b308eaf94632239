"""Asking a node what it knows of one container."""

from __future__ import annotations

from migrator.model.observation import Observation
from migrator.steps.base import Side
from migrator.transport.base import Answer, NodeUnreachable


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


async def look(side: Side, container: str) -> Observation | None:
    """What a node says of a container; `None` when it does not answer."""
    try:
        return observe(await side.node.call("inspect", container, tries=2))
    except NodeUnreachable:
        return None
