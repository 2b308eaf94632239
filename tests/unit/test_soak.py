"""The soak's judgement: an orchestrator that grows with every migration is told from one that breathes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from migrator.chaos.orchestrate import weight
from migrator.chaos.report import memory_line, soak_text
from migrator.chaos.soak import JUDGED_FROM, Soak, judge
from migrator.journal import sqlite
from migrator.journal.events import Phase
from migrator.journal.store import Journal, Migration
from migrator.protocol.states import FORWARD, State


def soaked(count: int, **grows: Callable[[int], float]) -> Soak:
    """A soak of which one figure follows a curve; caches fill in the first twenty migrations, as they do."""
    flat = {"rss_kib": 57_000, "heap_kib": 11_000, "blocks": 212_000, "descriptors": 12, "tasks": 1}
    seen = Soak(count, done=count)
    for number in range(count):
        weight = {**flat, "rss_kib": 57_000 + 30 * min(number, 20)}
        weight |= {what: round(weight[what] + curve(number)) for what, curve in grows.items()}
        seen.weights.append(weight)
    judge(seen)
    return seen


def test_a_process_that_only_fills_its_caches_is_flat() -> None:
    seen = soaked(200)
    assert seen.broken == []
    assert memory_line(seen).startswith("memory: flat (57,600 -> 57,600 KiB of resident memory, ")
    assert "The orchestrator's memory is flat." in soak_text(seen, 60)


def test_what_goes_up_and_down_is_flat() -> None:
    assert soaked(200, blocks=lambda n: n * 7 % 400, heap_kib=lambda n: n % 10, rss_kib=lambda n: n % 50).broken == []


@pytest.mark.parametrize("count", [40, 200])
@pytest.mark.parametrize(("what", "each"), [("heap_kib", 6.5), ("blocks", 60)])
def test_a_leak_of_some_kib_a_migration_is_told(count: int, what: str, each: float) -> None:
    seen = soaked(count, **{what: lambda n: each * n})
    assert [line for line in seen.broken if "the orchestrator grew by" in line]
    assert memory_line(seen).startswith("memory: not flat (")
    assert "The orchestrator's memory is not flat." in soak_text(seen, 60)


def test_a_leak_that_only_the_kernel_sees_is_told() -> None:
    assert soaked(200, rss_kib=lambda n: 7 * n).broken == [
        "the orchestrator grew by 700 KiB of resident memory, and 512 were allowed"
    ]


def test_a_short_soak_says_that_it_does_not_judge_memory() -> None:
    seen = soaked(JUDGED_FROM - 2, heap_kib=lambda n: 100 * n)
    assert seen.broken == []
    assert "not judged, in fewer than 40 migrations" in memory_line(seen)


def moves(journal: Journal, first: int, count: int) -> None:
    for number in range(first, first + count):
        run, migration = f"r{number:05}", f"r{number:05}/web/1"
        journal.create_run(run, "move web to n2", {"plan": "x" * 2000})
        journal.add_migration(Migration(migration, run, "web", "n1", "n2", number, 1, None, {"descriptor": "y" * 600}))
        for state in FORWARD[1:]:
            if state is State.COMMITTED:
                journal.decide(migration, number, state)
                continue
            journal.record(migration, (state, Phase.BEGIN, {}))
            journal.record(migration, (state, Phase.END, {"census": "process 1"}))
        journal.finish_run(run, "done")


async def test_a_journal_that_becomes_long_keeps_no_more_of_itself_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    moves(journal, 1, 100)
    assert path.stat().st_size > 4 * sqlite.CACHE_KIB * 1024
    before_kib = weight()["heap_kib"]
    moves(journal, 101, 60)
    assert weight()["heap_kib"] - before_kib < 64
