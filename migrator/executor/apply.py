"""Apply a plan: look again, refuse if it no longer holds, carry it out, and prove that the nodes are empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migrator.errors import FailedSafe, MigratorError, NeedsOperator, NotYet, Refused
from migrator.executor.fleet import Fleet
from migrator.executor.outcome import Ends, stop_overs
from migrator.executor.runner import RunResult
from migrator.executor.runs import start_run
from migrator.executor.saga import Notify
from migrator.journal.store import Journal
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, brief, few
from migrator.model.policy import Policy
from migrator.model.units import counted


@dataclass(frozen=True, slots=True)
class Applied:
    """How a plan went. `empty` are the nodes proved to hold nothing; `error` is None if all is as planned."""

    run: str
    result: RunResult
    empty: tuple[str, ...]
    error: MigratorError | None


async def apply_plan(
    fleet: Fleet,
    journal: Journal,
    plan: Plan,
    policy: Policy,
    cluster_file: str,
    stale: Callable[[Cluster], Sequence[str]],
    own_boot_id: str,
    notify: Notify,
) -> Applied:
    """Carries a plan out. Refused, with nothing touched, if `stale` has findings on fresh facts.

    `own_boot_id` is that of the machine this runs on, which is not emptied; empty allows it.
    """
    cluster = await fleet.probe()
    findings = stale(cluster)
    if findings:
        more = f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
        raise Refused(f"the plan no longer holds: {'; '.join(findings[:3])}{more}; plan again")
    refuse_own_host(cluster, plan, own_boot_id)
    run, result = await start_run(fleet, journal, plan, policy, cluster_file, notify)
    left = await unproved(fleet, plan)
    empty = tuple(node for node in plan.empties if node not in left)
    return Applied(run, result, empty, outcome(run, plan, result, left))


async def unproved(fleet: Fleet, plan: Plan) -> dict[str, str]:
    """Looks once more at what a plan was to empty. Interrupted, it proves nothing; the moves are done all the same."""
    if not plan.empties:
        return {}
    try:
        return leftovers(await fleet.probe(), plan)
    except asyncio.CancelledError:
        return {name: f"{name} is not proved empty: interrupted" for name in plan.empties}


def leftovers(cluster: Cluster, plan: Plan) -> dict[str, str]:
    """Emptied nodes that are not proved empty, and why: what they still hold, or that they did not answer."""
    left = {}
    for name in plan.empties:
        node = cluster.node(name)
        held = [f"{c.name} ({c.state})" for c in node.containers if not (c.name in plan.stays and c.state == "stopped")]
        if not node.answered:
            left[name] = f"{name} is not proved empty: {node.error}"
        elif held:
            left[name] = f"{name} still holds {', '.join(held)}"
    return left


def outcome(run: str, plan: Plan, result: RunResult, left: dict[str, str]) -> MigratorError | None:
    """The one line that says what is not as planned, with the exit code of the worst; None when all is."""
    if result.exit_code == 0 and not left:
        return None
    if not result.failed and not result.skipped:
        again = "; plan again" if left else ""
        return FailedSafe(
            f"{brief(plan.intent)}: every move is done, but {'; '.join((*result.cut_off, *left.values()))}{again}"
        )
    told = result.told()
    stopped = stop_overs(plan, Ends(moved=frozenset(result.moved)))
    told += [f"container {stop.container} is at its stop-over {stop.node}" for stop in stopped]
    missing, most = len(result.failed) + len(result.skipped), len(plan.moves)
    stay = "stays" if len(plan.empties) == 1 else "stay"
    cordoned = f"{few(plan.empties)} {stay} cordoned (migrator uncordon NODE ends that); " if plan.empties else ""
    if result.waiting:
        waits = "waits for its time" if missing == 1 else "wait for their time"
        how, then = f"nothing failed; {missing} of {counted(most, 'move')} {waits}", "do the rest then"
    else:
        how, then = f"{missing} of {counted(most, 'move')} did not end well", "try the rest again"
    message = (
        f"{brief(plan.intent)}: {how}: {'; '.join(told)}; {cordoned}"
        f"{then}: migrator resume {run}; or end it: migrator rollback {run}"
    )
    kind = {3: NotYet if result.waiting else Refused, 5: NeedsOperator}.get(result.exit_code, FailedSafe)
    return kind(message)


def refuse_own_host(cluster: Cluster, plan: Plan, boot_id: str) -> None:
    """Refuses to empty the machine that this program runs on; `boot_id` is this machine's."""
    for name in plan.empties:
        if boot_id and cluster.node(name).boot_id == boot_id:
            raise Refused(f"{name} is the machine that this runs on: run it from another, or use --force")
