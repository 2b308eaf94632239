"""Rehearsals: a migration up to the verified copy on its target, and then back. The container stays where it is.

All of it is the saga that moves containers, so what it proves is what will be done; only the seal and what follows are
not reached. It is made by stop-and-copy, whatever mode a move would be made by, and what that leaves out is told. The
container goes on as soon as it is dumped and its files are there, and is restored and compared after that. Its name on
the target is reserved meanwhile, so it cannot be moved there by anybody else; it is gone in the end.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from migrator.executor.fleet import Fleet, new_run_id
from migrator.executor.moves import examine, prepare
from migrator.executor.outcome import Outcome
from migrator.executor.recover import migrate
from migrator.executor.saga import Notify, Rehearsed, free_for_all
from migrator.journal.store import Journal
from migrator.model.modes import NOT_REHEARSED, Mode
from migrator.model.plan import Plan
from migrator.model.policy import Policy
from migrator.protocol.states import FINAL


@dataclass(frozen=True, slots=True)
class Shown:
    """What a rehearsal has shown, and what not: `mode` is the one that was shown, `would_be` the one that a move would
    be made by, `why` that one; `not_shown` is what the difference leaves out, empty where it leaves out nothing.
    """

    run: str
    mode: str
    would_be: str
    why: str
    not_shown: str


def shown(run: str, would_be: Mode, why: str, target: str) -> Shown:
    """What a rehearsal has shown of a move to this node that would be made by this mode."""
    return Shown(run, Mode.STOP_AND_COPY, would_be, why, NOT_REHEARSED[would_be].format(target=target))


async def rehearse(
    fleet: Fleet, journal: Journal, plan: Plan, policy: Policy, cluster_file: str, notify: Notify
) -> Shown:
    """Rehearses the one move of a plan under a new run. Raises what the move would end with."""
    run = new_run_id()
    would_be = await examine(fleet, journal, run, plan.moves[0], policy, plan.policy)
    # Memory that follows would have nobody to run on it; the restore that is shown to work is the same.
    policy = replace(policy, mode=Mode.STOP_AND_COPY)
    document = {"cluster_file": cluster_file, "plan": asdict(plan), "policy": asdict(policy), "rehearsal": True}
    journal.create_run(run, f"rehearse {plan.intent}", document)
    with journal.working_on(run):
        (planned,) = plan.moves
        outcome = Outcome.FAILED
        try:
            move = await prepare(fleet, journal, run, planned, policy, plan.policy)
            move.rehearsal = True
            try:
                await migrate(move, journal, free_for_all, notify)
            except Rehearsed:
                outcome = Outcome.REHEARSED
        finally:
            if all(journal.progress(m.id).state in FINAL for m in journal.migrations(run)):
                journal.finish_run(run, outcome)
    return shown(run, would_be.mode, would_be.mode_why, would_be.target.node.name)
