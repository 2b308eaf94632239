"""Asking nodes what they know of one container. Nothing is changed by it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from migrator.model.observation import COUNTER_MAX, GATES, MEMORY, PROCESSES, STATES, Observation
from migrator.steps.base import Move
from migrator.transport.base import Answer, Node, NodeFailed, NodeUnreachable


def observe(answer: Answer) -> Observation:
    """What `inspect` told, all of it and nothing that nobody knows: on this a decision is built."""
    known = {"state": STATES, "same_boot": {"yes", "no"}, "processes": PROCESSES, "gate": GATES, "memory": MEMORY}
    untold = {"gate": "none", "memory": "none", "cold": "no"}
    for key, values in (known | {"cold": {"yes", "no"}}).items():
        told = answer.get(key, untold.get(key, ""))
        if told not in values:
            raise NodeFailed(answer.node, "inspect", f"it tells of a {key} that nobody knows: {told[:40]!r}")
    counters = {key: answer.number(key) for key in ("token", "generation", "floor")}
    for key, count in counters.items():
        # Not entered into the journal: a token is above all that were seen, and would be refused by honest nodes.
        if count > COUNTER_MAX:
            raise NodeFailed(answer.node, "inspect", f"it tells of a {key} that no node ever reaches: {count}")
    return Observation(
        state=answer.get("state"),
        token=counters["token"],
        generation=counters["generation"],
        run=answer.get("run", "-"),
        same_boot=answer.get("same_boot") == "yes",
        processes=answer.get("processes"),
        gate=answer.get("gate", "none"),
        held=answer.get("held") == "yes",
        jobs=tuple(answer.lines("job_running")),
        floor=counters["floor"],
        memory=answer.get("memory", "none"),
        cold=answer.get("cold") == "yes",
    )


async def look(node: Node, container: str, tries: int = 2) -> Observation:
    """What a node says of a container."""
    return observe(await node.call("inspect", container, tries=tries))


async def look_if_it_answers(node: Node, container: str) -> Observation | None:
    """The same; `None` when the node does not answer."""
    try:
        return await look(node, container)
    except NodeUnreachable:
        return None


@dataclass(frozen=True, slots=True)
class Seen:
    """What both sides tell of the container; `None` for one that does not answer."""

    source: Observation | None
    target: Observation | None

    def silent(self, move: Move) -> list[str]:
        """The nodes that did not answer."""
        sides = ((move.source, self.source), (move.target, self.target))
        return [side.node.name for side, seen in sides if seen is None]

    @property
    def tokens(self) -> list[int]:
        """Every token that a new one has to be above."""
        return [0, *(max(seen.token, seen.floor) for seen in (self.source, self.target) if seen is not None)]


async def look_at(move: Move, of: Seen | None = None) -> Seen:
    """Asks both sides at once; with `of`, only those that answered then."""
    source, target = await asyncio.gather(
        look_if_it_answers(move.source.node, move.name) if of is None or of.source else _nobody(),
        look_if_it_answers(move.target.node, move.name) if of is None or of.target else _nobody(),
    )
    return Seen(source, target)


async def _nobody() -> None:
    """What a node tells that did not answer a moment ago: it is not waited for twice."""


def whereabouts(move: Move, seen: Seen) -> str:
    """Where a container is, in words: "n1: sealed, frozen; n2: no answer"."""
    sides = ((move.source.node.name, seen.source), (move.target.node.name, seen.target))
    return "; ".join(f"{name}: {f'{s.state}, processes {s.processes}' if s else 'no answer'}" for name, s in sides)
