"""The passes that a move makes over files, on a node that answers as one with files that are written does."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from migrator.errors import FailedSafe
from migrator.model.file_passes import LOOK_BYTES_PER_S
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES
from migrator.protocol.precopy import Bounds, GiveUp, Round, decide
from migrator.steps.base import Move, Side
from migrator.steps.passes import FilePasses
from migrator.transport.base import Answer
from tests.properties.fleets import ct, node

MB = 1_000_000
USUAL = Policy()
FACTS = ct("log", files_bytes=500 * MB, anon_bytes=0)


class Node:
    """Each pass after the first finds one file of so many bytes, of which a tenth is new, and takes so long."""

    name = "n1"

    def __init__(self, files_bytes: int, took_ms: int) -> None:
        self.files_bytes, self.took_ms, self.passes = files_bytes, took_ms, 0

    async def call(self, verb: str, *words: object, **more: object) -> Answer:
        self.passes += 1
        files = 500 * MB if self.passes == 1 else self.files_bytes
        sent = files if self.passes == 1 else files // 10
        return Answer("n1", verb, f"job done\nexit 0\nout bytes {files}\nout sent {sent}\nout ms {self.took_ms}\n")


def passes(there: Node, policy: Policy = USUAL, mapped_bytes: int = 0) -> tuple[FilePasses, list[str]]:
    facts, told = node("n1", replace(FACTS, mapped_bytes=mapped_bytes)), list[str]()
    descriptor: Any = FACTS.descriptor
    other: Any = SimpleNamespace(name="n2")
    source: Any = there
    move = Move(
        id="r/log/1",
        run="r",
        descriptor=descriptor,
        source=Side(source, facts, "n1"),
        target=Side(other, node("n2"), "n2"),
        expected_token=1,
        token=2,
        generation=1,
        policy=policy,
        holder="h",
        rates=DEFAULT_RATES["stream"],
        on_progress=lambda state, text: told.append(text),
    )
    return FilePasses(move), told


async def test_passes_end_when_one_finds_almost_nothing() -> None:
    there = Node(MB, 300)
    found = await passes(there)[0].until_enough()
    assert (there.passes, found["passes"]) == (2, 2)


async def test_a_pause_that_is_asked_for_needs_fewer_passes_and_one_that_is_not_reached_as_many_as_usual() -> None:
    for target_s, count in ((None, 3), (60.0, 2), (0.1, 3)):
        there = Node(400 * MB, 2000)
        files, told = passes(there, Policy(target_blackout_s=target_s, blackout_s_max=10_000))
        await files.until_enough()
        assert there.passes == count, target_s
        assert told[-1].endswith(" predicted in the pause")


async def test_what_is_mapped_counts_in_what_is_predicted_and_needs_no_further_pass() -> None:
    there = Node(MB, 300)
    files, _ = passes(there, mapped_bytes=LOOK_BYTES_PER_S)
    found = await files.until_enough()
    assert there.passes == 2
    assert files.left_s == 1.0
    assert found["files_left_ms"] >= 1000


async def test_what_would_make_the_pause_too_long_ends_the_move_before_it() -> None:
    with pytest.raises(FailedSafe, match="writes its files faster than they go to n2"):
        await passes(Node(400 * MB, 90_000))[0].until_enough()


def test_rounds_of_memory_count_what_is_left_of_files() -> None:
    rounds = [Round(100 * MB, 0, 5, 1000), Round(MB, 1300, 5, 20)]
    bounds = Bounds(pause_s=0.2, ready_s=0.6, room_bytes=10**10, target_s=0.6, rounds_max=2)
    assert not isinstance(decide(rounds, bounds), GiveUp)
    longer = decide(rounds, replace(bounds, files_s=2.0))
    assert isinstance(longer, GiveUp)
    assert "2.00 s of it for files that it writes" in longer.why
    unasked = replace(bounds, files_s=2.0, target_s=None)
    assert not isinstance(decide(rounds, unasked), GiveUp)
