"""Runs: a plan carried out under one journal entry, and what can be done with it afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime

from pydantic import TypeAdapter

from migrator.errors import BadInput, FailedSafe, MigratorError, NeedsOperator, Refused
from migrator.executor.fleet import Fleet, find_container, new_run_id
from migrator.executor.look import look
from migrator.executor.moves import from_journal, prepare, refuse_closed
from migrator.executor.outcome import CLOSED, Outcome, carried_out, cut_off, ended_early, ends, gate_error
from migrator.executor.recover import recover
from migrator.executor.runner import Runner, RunResult
from migrator.executor.saga import Notify
from migrator.executor.turns import Turns
from migrator.journal.events import Phase
from migrator.journal.store import Journal, JournalError, Migration, Run
from migrator.model.facts import Cluster
from migrator.model.links import Crossings
from migrator.model.plan import Plan, PlannedMove, Span
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.model.predict import predicted
from migrator.protocol.states import FINAL
from migrator.steps.base import Move
from migrator.transport.base import Node

_PLAN = TypeAdapter(Plan)
_POLICY = TypeAdapter(Policy)


def plan_single(
    fleet: Fleet, cluster: Cluster, container: str, target: str, policy: PlanPolicy | None = None, snapshot: str = "-"
) -> Plan:
    """A plan of one move that a person named. The checks of the move itself decide whether it is a good one."""
    policy = policy or PlanPolicy()
    fleet.file.entry(target)
    source, found = find_container(cluster, container)
    if source.name == target:
        raise BadInput(f"container {container} is on node {target} already")
    if not cluster.node(target).answered:
        raise FailedSafe(cluster.node(target).error)
    if not found.alive:
        raise Refused(
            f"container {container} does not run on {source.name}; start it with: migrator ct start {container}"
        )
    going = cluster.node(target)
    shared = Crossings(cluster.links).speeds(source.name, target)
    rates = policy.rates_between(source, going)
    mode, estimate = predicted(found, source.link, going.link, rates, shared, policy)
    move = PlannedMove(
        container=container,
        source=source.name,
        target=target,
        generation=found.generation,
        demand=found.reserved,
        reason="asked for by name",
        estimate=estimate,
        pause=Span(round(estimate.ready_s, 3), round(estimate.ready_s + estimate.blackout_s, 3)),
        memory_way=rates.way,
        mode=mode,
        follows_s=estimate.following_s,
    )
    return Plan(
        intent=f"move {container} to {target}",
        cluster=cluster.name,
        snapshot=snapshot,
        empties=(),
        moves=(move,),
        makespan_s=estimate.duration_s,
        policy=policy,
    )


async def start_run(
    fleet: Fleet,
    journal: Journal,
    plan: Plan,
    policy: Policy,
    cluster_file: str,
    notify: Notify,
    run_id: str | None = None,
) -> tuple[str, RunResult]:
    """Carries out a plan under a new run. Moves that failed are in the result; the journal has all of it."""
    run = run_id or new_run_id()
    document = {"cluster_file": cluster_file, "plan": asdict(plan), "policy": asdict(policy)}
    journal.create_run(run, plan.intent, document)
    with journal.working_on(run):
        return run, await _carry_out(fleet, journal, run, plan, policy, notify)


async def resume_run(fleet: Fleet, journal: Journal, run: Run, notify: Notify) -> RunResult:
    """Settles what was under way when the orchestrator ended, then carries out the rest of the plan."""
    if run.outcome in CLOSED:
        raise Refused(f"run {run.id} was {run.outcome}: there is nothing to resume; plan again")
    plan, policy = plan_of(run)
    with journal.working_on(run.id):
        await _settle(fleet, journal, run, policy, forward=not is_rehearsal(run), notify=notify)
        if is_rehearsal(run):  # it was to be taken back, and was
            journal.finish_run(run.id, Outcome.ROLLED_BACK)
            return RunResult()
        return await _carry_out(fleet, journal, run.id, plan, policy, notify)


async def rollback_run(fleet: Fleet, journal: Journal, run: Run, notify: Notify) -> RunResult:
    """Ends a run: what is undecided goes back, what is committed is finished, cordons of this run are taken off.

    One whose moves turn out to be done, all of them, is done: its nodes are empty, and stay cordoned for that.
    """
    if run.outcome == Outcome.DONE:
        raise Refused(
            f"run {run.id} is done: there is nothing to roll back; bring its containers back with: "
            f"migrator plan return {run.id}"
        )
    plan, policy = plan_of(run)
    with journal.working_on(run.id):
        await _settle(fleet, journal, run, policy, forward=False, notify=notify)
        found = ends(journal, run.id)
        outcome = ended_early(plan, found)
        for node in plan.empties if outcome is not Outcome.DONE else ():
            if (await fleet.facts(node)).cordon == run.id:
                await fleet.node(node).call("uncordon")
        journal.finish_run(run.id, outcome)
    return RunResult(moved=sorted(found.over(plan)), cut_off=await _cut_off(fleet, journal, run.id))


def is_rehearsal(run: Run) -> bool:
    """Whether nothing of this run was ever to be moved."""
    return bool(run.document.get("rehearsal"))


def plan_of(run: Run) -> tuple[Plan, Policy]:
    """The plan and the policy that a run was started with."""
    return _PLAN.validate_python(run.document["plan"]), _POLICY.validate_python(run.document["policy"])


async def _carry_out(fleet: Fleet, journal: Journal, run: str, plan: Plan, policy: Policy, notify: Notify) -> RunResult:
    async def prepared(planned: PlannedMove) -> Move:
        return await prepare(fleet, journal, run, planned, policy, plan.policy)

    def may_pause(planned: PlannedMove, move: Move) -> None:
        rules, needs_s = plan.policy.rules, planned.estimate.blackout_s
        refuse_closed(planned, move.descriptor, rules, run, datetime.now(UTC), needs_s)

    before = ends(journal, run)
    if before.complete(plan):
        if journal.run(run).outcome != (outcome := carried_out(before, failed=False)):
            journal.finish_run(run, outcome)
        return RunResult(moved=[move.name for move in plan.moves], cut_off=await _cut_off(fleet, journal, run))
    for node in plan.empties:
        if (await fleet.facts(node)).cordon is None:  # another's mark stays, for them to take off
            await fleet.node(node).call("cordon", run)
    outcome = Outcome.INTERRUPTED
    turns = Turns(policy, fleet.file.shared_links())
    try:
        result = await Runner(journal, turns, prepared, notify, may_pause).run(plan, before.over(plan))
        outcome = carried_out(ends(journal, run), failed=result.exit_code != 0, waiting=result.waiting)
    except asyncio.CancelledError:
        if not (after := ends(journal, run)).complete(plan):
            raise
        outcome = carried_out(after, failed=False)  # it came too late to stop anything
        result = RunResult(moved=[move.name for move in plan.moves])
    finally:
        if all(journal.progress(m.id).state in FINAL for m in journal.migrations(run)):
            journal.finish_run(run, outcome)
    result.cut_off = await _cut_off(fleet, journal, run)
    return result


async def _cut_off(fleet: Fleet, journal: Journal, run: str) -> list[str]:
    """Containers whose gate did not open when they were released, as far as it is not open by now."""
    told = []
    for migration in journal.migrations(run):
        why = gate_error(journal, migration)
        if why and await _is_closed(fleet.node(migration.target), migration.container):
            told.append(cut_off(migration.container, migration.target, why))
    return told


async def _is_closed(node: Node, container: str) -> bool:
    """Whether a container runs behind a closed gate; what is not known is not said to be well."""
    try:
        seen = await look(node, container)
    except (MigratorError, asyncio.CancelledError):
        return True
    return seen.alive and seen.gate == "closed"


def _unwritten(migration: Migration, error: JournalError) -> NeedsOperator:
    return NeedsOperator(
        f"container {migration.container} is not settled between {migration.source} and {migration.target}: {error}; "
        f"free or mend the journal's disk, then: migrator resume {migration.run}"
    )


async def _settle(fleet: Fleet, journal: Journal, run: Run, policy: Policy, forward: bool, notify: Notify) -> None:
    """Recovers every migration of the run that has not ended; tells of all that are stuck, not only the first."""
    errors: list[MigratorError] = []
    for migration in journal.migrations(run.id):
        if journal.progress(migration.id).state in FINAL:
            continue
        move = from_journal(fleet, migration, policy)
        try:
            await recover(move, journal, forward=forward)
            notify(move, journal.progress(migration.id).state, Phase.END)
        except JournalError as error:
            errors.append(_unwritten(migration, error))
        except MigratorError as error:
            errors.append(error)
    if errors:
        if len(errors) == 1:
            raise errors[0]
        kind = NeedsOperator if any(isinstance(e, NeedsOperator) for e in errors) else FailedSafe
        raise kind("; ".join(str(error) for error in errors))
