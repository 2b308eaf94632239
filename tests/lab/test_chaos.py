"""A short walk through the matrix of what can break, and a short soak; `make chaos` and `make soak` do all of it."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncIterator

import pytest

from migrator.chaos.cells import Cell, selection
from migrator.chaos.lane import Lane
from migrator.chaos.play import play
from migrator.chaos.soak import soak

MIGRATIONS = 6
NOT_THERE = "it did not come to "


@pytest.fixture(scope="module")
async def lane() -> AsyncIterator[Lane]:
    """Two nodes and the container that all cells share."""
    lane = Lane(f"tc{os.getpid()}")
    try:
        await lane.up()
        yield lane
    finally:
        await lane.down()


@pytest.mark.parametrize("cell", selection(), ids=lambda cell: cell.name.replace(" ", "-"))
async def test_what_breaks_costs_no_container_and_leaves_nothing(lane: Lane, cell: Cell) -> None:
    seen = await play(cell, lane)
    if seen.broken and all(NOT_THERE in broken for broken in seen.broken):
        # Its move failed safe before anything was broken: that has tried nothing, and is told.
        warnings.warn(f"{cell.name} is played again: {seen.broken}", stacklevel=1)
        await lane.again()
        seen = await play(cell, lane)
    if seen.broken:
        await lane.again()  # the next cell's findings must be its own
    assert seen.broken == [], seen.said


async def test_a_soak_leaves_not_one_thing_more_than_before(lane: Lane) -> None:
    seen = await soak(MIGRATIONS, lane, lambda seen: None)
    assert seen.broken == []
    assert seen.done == MIGRATIONS
