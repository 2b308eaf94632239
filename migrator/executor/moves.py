"""From a planned move, or from a journal's, to one that steps can act on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter

from migrator.errors import NotYet, Refused
from migrator.executor.fleet import Fleet
from migrator.executor.look import look
from migrator.executor.ranges import range_beside, range_there
from migrator.executor.watch import watched
from migrator.journal.store import Journal, Migration
from migrator.model.container import Descriptor
from migrator.model.estimate import estimate_move, manner_of
from migrator.model.facts import NodeFacts
from migrator.model.links import Crossings
from migrator.model.memory_way import memory_way
from migrator.model.modes import Mode, choose, instead, rounds_between
from migrator.model.plan import PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.model.rules import Rule
from migrator.model.units import format_seconds
from migrator.model.windows import opens_in_s, windows_of
from migrator.protocol.states import State
from migrator.runtime.bundle import descriptor_json
from migrator.steps import check
from migrator.steps.base import Move, Side

_DESCRIPTOR = TypeAdapter(Descriptor)


async def prepare(
    fleet: Fleet, journal: Journal, run: str, planned: PlannedMove, policy: Policy, under: PlanPolicy | None = None
) -> Move:
    """Looks at both nodes again, and enters the migration into the journal. Refused as `examine` refuses it."""
    move = await examine(fleet, journal, run, planned, policy, under)
    move.id_index_there = await range_beside(fleet, journal, move)  # and it is entered at once
    document: dict[str, object] = {"descriptor": descriptor_json(move.descriptor).decode(), "mode": move.mode}
    if move.shifts:
        document["id_index_there"] = move.id_index_there
    journal.add_migration(
        Migration(
            id=move.id,
            run=run,
            container=move.name,
            source=planned.source,
            target=planned.target,
            token=move.token,
            generation=move.generation,
            decision=None,
            document=document if planned.leg == 1 else document | {"leg": planned.leg},
        )
    )
    return move


async def examine(
    fleet: Fleet, journal: Journal, run: str, planned: PlannedMove, policy: Policy, under: PlanPolicy | None = None
) -> Move:
    """The move as both nodes let it be made now; nothing is changed, there or in the journal.

    Refused if the plan no longer holds, and outside of the container's time windows. `under` is what the plan was made
    under.
    """
    under = under or PlanPolicy()
    source, target = await asyncio.gather(fleet.facts(planned.source), fleet.facts(planned.target))
    source = await watched(fleet.node(planned.source), source, planned.container)
    found = source.container(planned.container)
    if found is not None and found.run not in ("-", run):
        raise Refused(_held(planned.container, found.run))
    if found is None or found.state != "serving" or found.descriptor is None:
        raise Refused(f"container {planned.container} does not run on {planned.source}; plan again")
    earlier = [m for m in journal.migrations(run) if m.container == planned.container]
    if found.generation != _generation_expected(journal, planned, earlier):
        raise Refused(f"container {planned.container} has moved since it was planned; plan again")
    if found.run != "-":
        raise Refused(_held(planned.container, found.run))
    refuse_closed(planned, found.descriptor, under.rules, run, datetime.now(UTC))
    there = await look(fleet.node(planned.target), planned.container)
    if there.state != "absent":
        raise Refused(
            f"container {planned.container} is {there.state} on {planned.target} for run {there.run}; finish that first"
        )
    allowed = under.modes_allowed(found.name, found.descriptor.labels)
    way, rates = memory_way(source, target), under.rates_between(source, target)
    shared = Crossings(fleet.file.shared_links()).speeds(source.name, target.name)
    written = under.written_bytes_per_s.get(found.name)
    expected = {
        mode: estimate_move(found, source.link, target.link, rates, shared, manner_of(mode, policy, written))
        for mode in (Mode.STOP_AND_COPY, Mode.PRE_COPY, Mode.POST_COPY)
    }
    rounds = rounds_between(source, target, way, expected[Mode.STOP_AND_COPY], rates, found.tmpfs_bytes)
    pauses_s = {mode: estimate.blackout_s for mode, estimate in expected.items()}
    choice = choose(policy.mode, allowed, way, rounds, pauses_s)
    if choice.refused:
        raise Refused(f"container {planned.container} cannot move to {planned.target}: {choice.refused}")
    move = Move(
        id=f"{run}/{planned.container}/{len(earlier) + 1}",
        run=run,
        descriptor=found.descriptor,
        source=side_of(fleet, source),
        target=side_of(fleet, target),
        expected_token=found.token,
        # Above the floor, or the target would take the lease for one that comes late.
        token=max(found.token, journal.token_max(planned.container), there.floor) + 1,
        generation=found.generation,
        policy=policy,
        leg=planned.leg,
        mode=choice.mode,
        mode_why=choice.why,
        holder=fleet.holder,
        rates=rates,
        shared=shared,
        written_bytes_per_s=written,
        site=fleet.file.site(),
        hooks=fleet.hooks,
    )
    move.id_index_there = await range_there(fleet, move.descriptor, target)
    if Mode.RESTART in allowed:
        choice = instead(choice, policy.mode, allowed, await check.undumpable(move))
        move.mode, move.mode_why = choice.mode, choice.why
    return move


def refuse_closed(
    planned: PlannedMove,
    descriptor: Descriptor,
    rules: tuple[Rule, ...],
    run: str,
    now: datetime,
    needs_s: float | None = None,
) -> None:
    """Refuses a move that would go on, or by its estimate end, while one of its windows is closed.

    `needs_s` is what it still takes, if that is not all of it.
    """
    windows = windows_of(rules, planned.container, descriptor.labels)
    wait_s = opens_in_s(windows, now, planned.estimate.duration_s if needs_s is None else needs_s)
    if wait_s == 0.0:
        return
    if wait_s is not None and needs_s is not None:  # it begins anew
        from_s = opens_in_s(windows, now + timedelta(seconds=wait_s), planned.estimate.duration_s)
        wait_s = None if from_s is None else wait_s + from_s
    hours = " and ".join(f"{', '.join(window.open)} {window.zone}" for window in windows)
    told = f"container {planned.container} on {planned.source} may be moved only within {hours}"
    if wait_s is None:
        raise Refused(f"{told}: plan again")
    raise NotYet(f"{told}: that is in {format_seconds(wait_s)}; then: migrator resume {run}")


def _held(container: str, run: str) -> str:
    return f"container {container} is held by run {run}; finish it: migrator resume {run}"


def _generation_expected(journal: Journal, planned: PlannedMove, earlier: list[Migration]) -> int:
    """The plan's, or what this run itself made of it: each move raises it, and a revoked one comes back higher."""
    for migration in reversed(earlier):
        reached = journal.progress(migration.id).reached
        if State.DONE in reached:
            return int(reached[State.DONE].get("generation", migration.generation + 1))
        if "generation" in reached.get(State.ROLLED_BACK, {}):
            return int(reached[State.ROLLED_BACK]["generation"])
    return planned.generation


def from_journal(fleet: Fleet, migration: Migration, policy: Policy) -> Move:
    """A move as the journal remembers it; its nodes need not answer."""
    sides = [
        Side(fleet.node(name), NodeFacts(name=name), fleet.file.entry(name).migration_host)
        for name in (migration.source, migration.target)
    ]
    return Move(
        id=migration.id,
        run=migration.run,
        descriptor=_DESCRIPTOR.validate_json(migration.document["descriptor"]),
        source=sides[0],
        target=sides[1],
        expected_token=migration.token,
        token=migration.token,
        generation=migration.generation,
        policy=policy,
        leg=migration.leg,
        mode=migration.mode,
        id_index_there=migration.document.get("id_index_there"),
        holder=fleet.holder,
        site=fleet.file.site(),
        hooks=fleet.hooks,
    )


def side_of(fleet: Fleet, facts: NodeFacts) -> Side:
    entry = fleet.file.entry(facts.name)
    return Side(fleet.node(facts.name), facts, entry.migration_host, fleet.file.ssh_address(entry).port or 22)
