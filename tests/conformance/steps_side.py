"""The product's own steps in scripts: a move made from what both nodes tell, and each step done or taken back on it."""

from __future__ import annotations

import importlib

from migrator.errors import MigratorError
from migrator.executor.fleet import Fleet
from migrator.executor.moves import prepare
from migrator.journal.base import Run
from migrator.journal.memory import MemoryStore
from migrator.journal.store import Journal
from migrator.model.estimate import Estimate
from migrator.model.facts import Resources
from migrator.model.plan import PlannedMove
from migrator.model.policy import Policy
from migrator.steps.base import Move, Step
from migrator.transport.base import NodeFailed, NodeMissing, NodeRefused, NodeUnreachable
from tests.conformance.compare import Outcome

KINDS = {NodeRefused: "refused", NodeMissing: "missing", NodeFailed: "failed", NodeUnreachable: "unreachable"}


async def made(fleet: Fleet, container: str, source: str, target: str, generation: int) -> Move:
    """A move of run `r` as the executor makes it, before anything was asked of a node but how it is."""
    planned = PlannedMove(container, source, target, generation, Resources(), "", Estimate(0, 0, 0.0, 0.0))
    store = MemoryStore()
    store.add_run(Run("r", "migrate", 0, {}, None))
    return await prepare(fleet, Journal(store, lambda: 0), "r", planned, Policy(blackout_s_max=60))


async def take(move: Move, way: str, name: str) -> Outcome:
    """Does a step or takes it back; of its result the names count."""
    step: Step = importlib.import_module(f"migrator.steps.{name}").STEP
    try:
        if way == "undo":
            await step.undo(move)
            return Outcome("done")
        result = move.results[step.state] = await step.do(move)
        return Outcome("done", tuple(sorted(result)))
    except MigratorError as error:
        return Outcome(KINDS.get(type(error), type(error).__name__))
