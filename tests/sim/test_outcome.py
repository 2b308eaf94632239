"""The word for how a run has ended says what became of its moves, and not by which command it ended."""

from __future__ import annotations

import asyncio

import pytest

from migrator.executor.outcome import Ends, Outcome, carried_out, ended_early
from migrator.executor.runs import plan_single, resume_run, start_run
from migrator.journal.memory import MemoryStore
from migrator.journal.store import Journal
from migrator.model.estimate import Estimate
from migrator.model.facts import Resources
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.planner.drain import drain
from migrator.protocol.states import State
from migrator.sim.machine import Exit
from migrator.sim.setting import descriptor, place, silent
from migrator.sim.verbs import VERBS
from migrator.sim.wire import Orchestrator
from tests.sim.theatre import CT, Theatre, played


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


@played
async def test_what_an_operator_has_settled_is_settled_also_after_it_was_resumed(theatre: Theatre) -> None:
    await theatre.migrate_until("sealed:end")
    theatre.crash("n1", boot=False)
    theatre.crash("n2")
    assert await theatre.resume() == 5
    assert theatre.outcome is None
    theatre.boot("n1")
    theatre.crash("n2", boot=False)
    assert await theatre.resume() == 5
    assert await theatre.settle("n1", "n2 is off") == 4
    assert theatre.outcome is None
    theatre.boot("n2")
    assert await theatre.resume() == 0
    assert theatre.outcome == "settled"
    assert await theatre.resume() == 0
    assert theatre.outcome == "settled"


@played
async def test_what_is_settled_and_cannot_be_done_yet_asks_for_an_operator(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision stands, nothing runs, and only a person can mend the node: 5, and by which command it goes on."""

    async def full(*_: object) -> str:
        raise Exit(1, "records/.ct0.new: No space left on device")

    await theatre.migrate_until("sealed:end")
    theatre.crash("n1", boot=False)
    theatre.crash("n2")
    theatre.boot("n1")
    theatre.crash("n2", boot=False)
    with monkeypatch.context() as patch:
        patch.setitem(VERBS, "reclaim", full)
        assert await theatre.settle("n1", "n2 is off") == 5
        assert theatre.runs_on == []
    theatre.boot("n2")
    assert await theatre.resume() == 0
    assert theatre.runs_on == ["n1"]


@pytest.mark.parametrize("moment", ["committed:end", "released:end", "source-removed:end", "done:begin", "done:end"])
@played
async def test_a_rollback_that_finds_all_moves_done_says_done(theatre: Theatre, moment: str) -> None:
    await theatre.migrate_until(moment)
    assert await theatre.resume(back=True) == 0
    assert (theatre.runs_on, theatre.outcome) == (["n2"], "done")


@played
async def test_a_rollback_of_what_never_began_says_cancelled_and_is_not_resumed(theatre: Theatre) -> None:
    await theatre.migrate_until("leased:begin")
    theatre.store._of_run["run-a"].clear()  # killed one write earlier
    assert await theatre.resume(back=True) == 0
    assert theatre.outcome == "cancelled"
    assert await theatre.resume() == 3


@played
async def test_what_went_back_is_rolled_back(theatre: Theatre) -> None:
    await theatre.migrate_until("sealed:end")
    assert await theatre.resume(back=True) == 0
    assert (theatre.runs_on, theatre.outcome) == (["n1"], "rolled back")


async def _drain_that_is_stopped_at(theatre: Theatre, moment: str) -> Journal:
    """Drains n1; the task is cancelled at a moment of the first container's move, as Ctrl-C does it."""
    place(theatre.world, theatre.world.machines["n1"], descriptor("ct1", 1))
    me = Orchestrator("o0", theatre.world)
    fleet, journal = theatre.setting.fleet(me), theatre.setting.journal(theatre.store, me)
    plan = drain(await fleet.probe(), ["n1"], "-", PlanPolicy())
    assert isinstance(plan, Plan)
    seen = 0

    def notify(move: object, state: State, phase: object) -> None:
        nonlocal seen
        seen += f"{state}:{phase}" == moment
        if seen == (2 if moment.startswith("done") else 1):
            seen = -9
            work.cancel()

    work = asyncio.ensure_future(start_run(fleet, journal, plan, Policy(), "sim", notify, "run-a"))
    await asyncio.wait((work,))
    if not work.cancelled():
        assert work.result()[1].exit_code == 0
    return journal


@played
async def test_a_drain_interrupted_after_its_last_move_has_ended_is_done(theatre: Theatre) -> None:
    await _drain_that_is_stopped_at(theatre, "done:end")
    assert theatre.outcome == "done"


@played
async def test_a_drain_interrupted_half_way_is_rolled_back_when_it_is_cancelled(theatre: Theatre) -> None:
    await _drain_that_is_stopped_at(theatre, "fenced:end")
    assert theatre.outcome == "interrupted"
    assert await theatre.resume(back=True) == 0
    assert theatre.outcome == "rolled back"
    assert theatre.world.machines["n1"].disk.cordon is None


@played
async def test_a_drain_interrupted_half_way_can_be_resumed_to_its_end(theatre: Theatre) -> None:
    journal = await _drain_that_is_stopped_at(theatre, "fenced:end")
    me = Orchestrator("operator", theatre.world)
    await resume_run(theatre.setting.fleet(me), journal, journal.run("run-a"), silent)
    assert (theatre.outcome, theatre.runs_on) == ("done", ["n2"])
    assert [c.node for c in theatre.world.copies("ct1")] == ["n2"]


def plan(*containers: str) -> Plan:
    moves = tuple(PlannedMove(c, "n1", "n2", 1, Resources(), "", Estimate(0, 0, 0.0, 0.0)) for c in containers)
    return Plan("drain n1", "c", "-", ("n1",), moves, 0.0)


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        (Ends(moved=frozenset({"a", "b"})), Outcome.DONE),
        (Ends(moved=frozenset({"a"}), settled=frozenset({"b"})), Outcome.SETTLED),
        (Ends(moved=frozenset({"a"}), back=frozenset({"b"})), Outcome.ROLLED_BACK),
        (Ends(moved=frozenset({"a"})), Outcome.CANCELLED),
        (Ends(settled=frozenset({"a"})), Outcome.CANCELLED),
    ],
)
def test_a_run_that_a_person_ends_is_called_by_what_became_of_its_moves(ends: Ends, word: Outcome) -> None:
    assert ended_early(plan("a", "b"), ends) is word


def test_a_plan_of_no_moves_that_a_person_ends_is_cancelled() -> None:
    assert ended_early(plan(), Ends()) is Outcome.CANCELLED


def test_where_one_was_settled_the_run_is_settled_whatever_failed_beside_it() -> None:
    assert carried_out(Ends(settled=frozenset({CT})), failed=True) is Outcome.SETTLED
    assert carried_out(Ends(), failed=True) is Outcome.FAILED


@played
async def test_a_container_that_another_run_has_frozen_is_refused_with_the_name_of_that_run(theatre: Theatre) -> None:
    await theatre.migrate_until("restored:end")
    me = Orchestrator("o1", theatre.world)
    fleet, journal = theatre.setting.fleet(me), theatre.setting.journal(MemoryStore(), me)
    made = plan_single(fleet, await fleet.probe(), CT, "n2")
    _, result = await start_run(fleet, journal, made, Policy(), "sim", silent, "run-b")
    assert "held by run run-a; finish it: migrator resume run-a" in str(result.failed[CT])
