"""The matrix names every state and every actor, promises what the design does, and counts nothing it cannot break."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.chaos import report
from migrator.chaos.cells import (
    CRASHES,
    OUTSIDE,
    Actor,
    Cell,
    Moment,
    Setting,
    matrix,
    nothing_there,
    selection,
)
from migrator.chaos.promises import promised, promised_beside
from migrator.chaos.scenes import (
    COLD_TARGET,
    DECIDED,
    KEEP_SOURCE,
    KEEP_TARGET,
    MOVE,
    RESUMED,
    SETTLED,
    STUCK,
    STUCK_SOURCE,
    STUCK_TARGET,
    Command,
    Side,
)
from migrator.chaos.seen import Fate, Seen, judge
from migrator.chaos.tables import matrix_text
from migrator.protocol.states import State


def seen_of(cell: Cell, runs_on: Side | None = Side.TARGET, kept: bool = True, exit_code: int | None = 0) -> Seen:
    fate = Fate("web", promised(cell), runs_on, kept, pause_ms=1700, down_ms=4200)
    return Seen(cell, exit_code=exit_code, fates=[fate])


def test_every_state_meets_every_actor() -> None:
    plain = [cell for cell in matrix() if cell.setting is Setting.PLAIN and cell.moment is Moment.END]
    # Nobody works when an operator has settled it, or while it is stuck: those come by scenes. Filled is post-copy.
    assert {(cell.state, cell.actor) for cell in plain if cell.scene is MOVE} == {
        (state, actor) for state in State if state not in (State.SETTLED, State.FILLED) for actor in OUTSIDE
    }
    for scene in (*STUCK, KEEP_TARGET, KEEP_SOURCE):
        assert {cell.actor for cell in plain if cell.scene == scene} == set(OUTSIDE), scene.title


def test_no_cell_is_there_twice() -> None:
    names = [cell.name for cell in matrix()]
    assert len(names) == len(set(names))


def test_criu_is_killed_early_in_the_middle_and_late_in_a_dump_and_in_a_restore() -> None:
    at_work = {(cell.state, cell.moment) for cell in matrix() if cell.actor is Actor.CRIU and cell.waits_for_act}
    moments = (Moment.EARLY, Moment.DURING, Moment.LATE)
    assert at_work == {(state, moment) for state in (State.DUMPED, State.RESTORED) for moment in moments}


def test_a_resume_and_a_settlement_are_killed_at_every_decision_they_write() -> None:
    killed = {(cell.scene.title, cell.point) for cell in matrix() if cell.actor is Actor.ORCHESTRATOR and cell.point}
    for scene in SETTLED:
        assert (scene.title, DECIDED) in killed
    points = {point for scene in RESUMED for point in scene.points}
    assert points >= {"take-over", "aborted:end", "committed:end", "revoked:end", "rolled-back:end", "done:end"}


def test_with_a_restart_policy_every_state_that_matters_meets_kills_crashes_and_the_programs_end() -> None:
    actors = (Actor.ORCHESTRATOR, *CRASHES, Actor.PROGRAM)
    reached = {(cell.state, cell.actor) for cell in matrix() if cell.setting is Setting.RESTARTED}
    as_before = (State.CHECKED, State.RESERVED, State.SYNCED, State.SETTLED, State.FILLED)  # the last: not in this mode
    assert reached >= {(state, actor) for state in State if state not in as_before for actor in actors}


def test_the_selection_is_a_part_of_the_matrix_and_has_something_to_break() -> None:
    assert set(selection()) <= set(matrix())
    assert [cell.name for cell in selection() if nothing_there(cell)] == []


def test_the_selection_meets_every_setting_every_command_and_the_actors_that_need_no_long_wait() -> None:
    long = {Actor.SOURCE_LINK, Actor.TARGET_LINK}
    assert {cell.actor for cell in selection()} >= set(Actor) - long - {Actor.SOURCE_LINK_5S}
    assert {cell.setting for cell in selection()} == set(Setting)
    assert {cell.scene.command for cell in selection()} == set(Command)


@pytest.mark.parametrize("state", [State.VERIFIED, State.SEALED, State.COMMITTED, State.RELEASED, State.DONE])
def test_a_verified_copy_outlives_its_source(state: State) -> None:
    promise = promised(Cell(state, Moment.END, Actor.SOURCE_CRASH))
    assert (promise.may_run, promise.kept) == ({Side.TARGET}, True)


@pytest.mark.parametrize(
    "cell", [c for c in matrix() if c.actor is Actor.ORCHESTRATOR and c.scene.keeps_memory], ids=lambda cell: cell.name
)
def test_a_dead_orchestrator_costs_no_connection(cell: Cell) -> None:
    assert promised(cell).kept


def test_a_copy_that_was_released_runs_on_the_target_and_nowhere_else() -> None:
    for cell in matrix():
        released = cell.state in (State.RELEASED, State.SOURCE_REMOVED, State.DONE)
        if released and cell.moment is Moment.END:
            assert promised(cell).may_run == {Side.TARGET}, cell.name


def test_what_an_operator_keeps_runs_there_whatever_dies_and_only_its_own_death_costs_its_memory() -> None:
    for cell in matrix():
        if cell.scene.keep is not None:
            assert promised(cell).may_run == {cell.scene.keep}, cell.name
    assert promised(Cell(State.SETTLED, Moment.END, Actor.SOURCE_CRASH, scene=KEEP_TARGET, point=DECIDED)).kept
    assert not promised(Cell(State.SETTLED, Moment.END, Actor.TARGET_CRASH, scene=KEEP_TARGET, point=DECIDED)).kept


def test_a_kept_side_that_cannot_write_down_that_it_runs_may_wait() -> None:
    full = Cell(State.SETTLED, Moment.END, Actor.TARGET_DISK, scene=KEEP_TARGET, point=DECIDED)
    assert (promised(full).meanwhile, promised(full).kept) == (None, True)


def test_while_it_is_stuck_one_of_the_two_copies_may_die_and_nothing_is_lost() -> None:
    for scene in (STUCK_SOURCE, STUCK_TARGET):
        for actor in OUTSIDE:
            assert promised(Cell(State.SEALED, Moment.END, actor, scene=scene)).kept
        crash = Cell(State.SEALED, Moment.END, Actor.SOURCE_CRASH, scene=scene)
        assert promised(crash).may_run == {Side.TARGET}


def test_another_container_of_the_run_is_promised_what_its_own_state_is() -> None:
    crash = Cell(State.SEALED, Moment.END, Actor.SOURCE_CRASH, Setting.THREE)
    assert (promised(crash).kept, promised_beside(crash, "seeded:end").kept) == (True, False)
    assert promised_beside(crash, "released:end").may_run == {Side.TARGET}
    criu = Cell(State.COMMITTED, Moment.END, Actor.CRIU, Setting.THREE)
    assert promised_beside(criu, "dumped:begin").kept


def test_a_lost_connection_and_a_wrong_place_are_broken_promises() -> None:
    seen = seen_of(Cell(State.RELEASED, Moment.END, Actor.ORCHESTRATOR), Side.SOURCE, kept=False)
    judge(seen)
    assert seen.broken == ["it runs on the source", "the connection was lost"]


def test_stuck_is_allowed_only_while_something_does_not_answer() -> None:
    seen = seen_of(Cell(State.SEALED, Moment.END, Actor.SOURCE_SSH), exit_code=5)
    judge(seen)
    assert seen.broken == ["it was stuck, though every node answers"]


def test_what_was_settled_must_run_before_the_other_side_is_back() -> None:
    cell = Cell(State.SETTLED, Moment.END, Actor.ORCHESTRATOR, scene=KEEP_TARGET, point=DECIDED)
    seen = seen_of(cell)
    seen.meanwhile = "nothing runs"
    judge(seen)
    assert seen.broken == ["meanwhile nothing runs, promised was the target"]


def test_the_outage_of_a_cold_start_is_that_of_a_client_that_calls_again() -> None:
    cell = Cell(State.SETTLED, Moment.END, Actor.ORCHESTRATOR, scene=COLD_TARGET, point=DECIDED)
    assert "| 4.2 s down |" in matrix_text([cell], [seen_of(cell, kept=False)], 60)
    kept = Cell(State.SEALED, Moment.END, Actor.ORCHESTRATOR)
    assert "| 1.7 s |" in matrix_text([kept], [seen_of(kept)], 60)


def test_the_page_shows_every_cell_that_was_played_once() -> None:
    cells = matrix()
    played = [seen_of(cell) for cell in cells if not nothing_there(cell)]
    rows = [line for line in matrix_text(cells, played, 60).splitlines() if line.endswith("exit 0 |")]
    assert len(rows) == len(played)


def test_the_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nwords\n\n<!-- chaos: begin -->\nold\n<!-- chaos: end -->\n\nmore words\n")
    report.write("chaos", "new", page)
    report.write("soak", "soaked", page)
    text = page.read_text()
    assert "old" not in text
    assert text.index("words") < text.index("new") < text.index("more words") < text.index("soaked")
