"""The matrix names every state and every actor, promises what the design does, and counts nothing it cannot break."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.chaos import report
from migrator.chaos.cells import Actor, Cell, Moment, Side, matrix, nothing_there, promised, selection
from migrator.chaos.play import Seen, judge
from migrator.protocol.states import State


def test_every_state_meets_every_actor() -> None:
    reached = {(cell.state, cell.actor) for cell in matrix() if cell.moment is Moment.END}
    # A revoked move is what becomes of a committed one whose target is broken; nobody works while it is revoked, nor
    # when an operator has settled it.
    assert reached == {
        (state, actor) for state in State if state not in (State.REVOKED, State.SETTLED) for actor in Actor
    }


def test_the_selection_is_a_part_of_the_matrix_and_has_something_to_break() -> None:
    assert set(selection()) <= set(matrix())
    assert [cell.name for cell in selection() if nothing_there(cell)] == []


def test_the_selection_meets_the_actors_that_need_no_long_wait() -> None:
    long = {Actor.SOURCE_LINK, Actor.TARGET_LINK}
    assert {cell.actor for cell in selection()} >= set(Actor) - long - {Actor.SOURCE_LINK_5S}


@pytest.mark.parametrize("state", [State.VERIFIED, State.SEALED, State.COMMITTED, State.RELEASED, State.DONE])
def test_a_verified_copy_outlives_its_source(state: State) -> None:
    promise = promised(Cell(state, Moment.END, Actor.SOURCE_CRASH))
    assert (promise.may_run, promise.kept) == ({Side.TARGET}, True)


@pytest.mark.parametrize("cell", [c for c in matrix() if c.actor is Actor.ORCHESTRATOR], ids=lambda cell: cell.name)
def test_a_dead_orchestrator_costs_no_connection(cell: Cell) -> None:
    assert promised(cell).kept


def test_a_copy_that_was_released_runs_on_the_target_and_nowhere_else() -> None:
    for cell in matrix():
        if cell.state in (State.RELEASED, State.SOURCE_REMOVED, State.DONE) and cell.moment is Moment.END:
            assert promised(cell).may_run == {Side.TARGET}, cell.name


def test_a_lost_connection_and_a_wrong_place_are_broken_promises() -> None:
    cell = Cell(State.RELEASED, Moment.END, Actor.ORCHESTRATOR)
    seen = Seen(cell, runs_on=Side.SOURCE, kept=False)
    judge(promised(cell), seen)
    assert seen.broken == ["it runs on the source", "the connection was lost"]


def test_stuck_is_allowed_only_while_something_does_not_answer() -> None:
    cell = Cell(State.SEALED, Moment.END, Actor.SOURCE_SSH)
    seen = Seen(cell, exit_code=5, runs_on=Side.TARGET, kept=True)
    judge(promised(cell), seen)
    assert seen.broken == ["it was stuck, though every node answers"]


def test_the_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nwords\n\n<!-- chaos: begin -->\nold\n<!-- chaos: end -->\n\nmore words\n")
    report.write("chaos", "new", page)
    report.write("soak", "soaked", page)
    text = page.read_text()
    assert "old" not in text
    assert text.index("words") < text.index("new") < text.index("more words") < text.index("soaked")
