"""A window that closes while a move waits for its turn to pause: the move is taken back before its fence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from migrator.errors import NotYet
from migrator.executor.moves import refuse_closed
from migrator.executor.runner import Runner, RunResult
from migrator.executor.turns import Turns
from migrator.journal.events import Phase
from migrator.model.estimate import Estimate
from migrator.model.facts import Resources
from migrator.model.plan import Plan, PlannedMove
from migrator.model.policy import Policy
from migrator.model.rules import Window
from migrator.protocol.states import State
from migrator.steps.base import Move
from tests.unit.test_saga import Scene

RULES = (Window("web", ("mon 22:00-22:02",)),)
CLOSES = datetime(2026, 3, 2, 22, 2, tzinfo=UTC)  # a Monday
PLANNED = PlannedMove("web", "n1", "n2", 1, Resources(), "-", Estimate(4096, 0, 20.0, 30.0))


async def run_at(now: datetime, scene: Scene) -> RunResult:
    """The one move of a plan, which has its turn to pause at this moment."""

    async def prepared(planned: PlannedMove) -> Move:
        return scene.move

    def may_pause(planned: PlannedMove, move: Move) -> None:
        refuse_closed(planned, move.descriptor, RULES, "r", now, planned.estimate.blackout_s)

    def notify(move: Move, state: State, phase: Phase) -> None:
        pass

    runner = Runner(scene.journal, Turns(Policy()), prepared, notify, may_pause)
    return await runner.run(Plan("test", "test", "-", (), (PLANNED,), 30.0))


async def test_a_move_whose_window_would_close_before_the_end_of_its_pause_is_taken_back_before_its_fence(
    tmp_path: Path,
) -> None:
    for number, left_s in enumerate((19.0, -1.0)):
        (tmp_path / str(number)).mkdir()
        scene = Scene(tmp_path / str(number))
        result = await run_at(CLOSES - timedelta(seconds=left_s), scene)
        error = result.failed["web"]
        assert isinstance(error, NotYet)
        assert result.waiting
        assert result.exit_code == 3
        said = "container web on n1 may be moved only within mon 22:00-22:02 UTC: that is in "
        assert str(error).startswith(said)
        assert "then: migrator resume r; container web runs on n1 as before" in str(error)
        assert scene.state is State.ROLLED_BACK
        assert "n1 fence" not in scene.calls


async def test_one_that_stands_ready_is_asked_when_it_has_its_turn_and_all_that_stands_there_is_taken_back(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    for side in ("source", "target"):
        there = getattr(scene.move, side)
        facts = replace(there.facts, stream_out="yes", stream_in="yes")
        setattr(scene.move, side, replace(there, facts=facts))
    result = await run_at(CLOSES - timedelta(seconds=19), scene)
    assert isinstance(result.failed["web"], NotYet)
    assert scene.state is State.ROLLED_BACK
    assert scene.calls.index("n1 dump") < scene.calls.index("n1 thaw") < scene.calls.index("n2 discard-target")
    assert "n1 fence" not in scene.calls


async def test_a_move_whose_pause_still_fits_goes_on_though_all_of_it_would_not(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    result = await run_at(CLOSES - timedelta(seconds=20), scene)
    assert result.failed == {}
    assert scene.state is State.DONE
