"""Runs `migrate CT --to NODE` and ends itself with SIGKILL at one transition: KILL_AT is "state:phase".

The saga's own notices come right after the journal's write, so the moment is exact, and the product needs no hook.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from migrator.executor.fleet import Fleet
from migrator.executor.rehearse import rehearse
from migrator.executor.runs import plan_single, start_run
from migrator.inventory import cluster_file
from migrator.journal.events import Phase
from migrator.journal.store import Journal
from migrator.model.policy import Policy
from migrator.protocol.states import State
from migrator.steps.base import Move


async def main(
    cluster: str, journal: str, container: str, target: str, kill_at: str, mode: str, blackout_s: float
) -> None:
    def notify(move: Move, state: State, phase: Phase) -> None:
        if f"{state}:{phase}" == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with Fleet(cluster_file.load(Path(cluster))) as fleet:
        plan = plan_single(fleet, await fleet.probe(), container, target)
        policy = Policy(blackout_s_max=blackout_s)
        if mode == "rehearsal":
            ended = str(await rehearse(fleet, Journal(Path(journal)), plan, policy, cluster, notify))
        else:
            policy = replace(policy, mode=mode)
            ended = str(await start_run(fleet, Journal(Path(journal)), plan, policy, cluster, notify))
        sys.exit(f"it went by {kill_at}: {ended}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:7], float(sys.argv[7])))
