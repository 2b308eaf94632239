"""Drains a node and ends itself with SIGKILL when one container reaches one transition."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from migrator.executor.apply import apply_plan
from migrator.executor.fleet import Fleet
from migrator.inventory import cluster_file
from migrator.inventory.snapshot import digest
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.planner.drain import drain
from migrator.protocol.states import State
from migrator.steps.base import Move


async def main(cluster_path: str, journal: str, node: str, container: str, kill_at: str) -> None:
    def notify(move: Move, state: State, phase: Phase) -> None:
        if move.name == container and f"{state}:{phase}" == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with Fleet(cluster_file.load(Path(cluster_path))) as fleet:
        cluster = await fleet.probe()
        plan = drain(cluster, (node,), digest(cluster), PlanPolicy())
        assert isinstance(plan, Plan), plan
        await apply_plan(fleet, Journal(Path(journal)), plan, Policy(), cluster_path, lambda facts: [], "", notify)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
