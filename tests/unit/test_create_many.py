"""Many made by one command: those whose turn to start has not come when it is interrupted are taken back too."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from migrator.executor import creation
from migrator.model.facts import NodeFacts
from migrator.transport.base import Answer, Node
from tests.unit.test_bundle import WEB


class SlowNode:
    """Starts the first container at once and no other ever; keeps who was taken away."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.asked = asyncio.Event()

    async def call(self, verb: str, name: str, *words: Any, **more: Any) -> Answer:
        if verb == "ct-start" and name != "web-1":
            self.asked.set()
            await asyncio.Event().wait()
        if verb == "ct-remove":
            self.removed.append(name)
        return Answer("n1", verb, "")


async def test_an_interrupt_leaves_those_that_run_and_no_others() -> None:
    node = SlowNode()
    names = [f"web-{number}" for number in range(1, 3 * creation.AT_ONCE)]
    new = [
        creation._New(cast(Any, None), replace(WEB, name=name), "me", NodeFacts("n1"), cast(Node, node))
        for name in names
    ]
    starting = asyncio.create_task(creation._all_started(new))
    await asyncio.wait_for(node.asked.wait(), 10)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert sorted(node.removed) == sorted(names[1:])
