"""What a run came to, from the journal alone: a table for people, a document for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from migrator.cli.hints import pasteable
from migrator.cli.output import clean, fail, print_json, print_table
from migrator.cli.plan_text import waived_json, waived_said
from migrator.executor.outcome import CLOSED, StopOver, ends, gate_error, stop_overs
from migrator.executor.runner import RunResult
from migrator.executor.runs import plan_of
from migrator.journal.events import Event, Phase
from migrator.journal.store import Journal, Migration, Run
from migrator.model.memory_way import CHANNELS
from migrator.model.modes import ANEW, Mode
from migrator.model.plan import move_name
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import format_bytes, format_seconds
from migrator.protocol.states import FINAL, State

WAITED_MS = 100  # less than this is not worth a word


def migration_json(journal: Journal, migration: Migration, events: bool = False) -> dict[str, Any]:
    """One migration: where it stands, and what it took. Times in milliseconds by the orchestrator's clock."""
    history = journal.events(migration.id)
    progress = journal.progress(migration.id)
    memory_bytes = sum(int(data.get("image_bytes", 0)) for data in progress.reached.values())
    files_bytes = sum(int(data.get("sent_bytes", 0)) for data in progress.reached.values())
    document: dict[str, Any] = {
        "id": migration.id,
        "container": migration.container,
        "leg": migration.leg,
        "source": migration.source,
        "target": migration.target,
        "token": migration.token,
        "generation": migration.generation,
        "state": str(progress.state),
        "pending": str(progress.pending) if progress.pending else None,
        "decision": str(progress.decision) if progress.decision else None,
        "error": progress.error or None,
        "gate_error": gate_error(journal, migration) or None,
        "warnings": list(progress.warnings),
        **_channel(progress.reached),
        "unsent": progress.reached.get(State.FENCED, {}).get("unsent", 0),
        "blackout_ms": blackout_ms(history),
        "duration_ms": history[-1].at_ms - history[0].at_ms if history else 0,
        "waited_ms": waited_ms(history),
        "memory_bytes": memory_bytes,
        "files_bytes": files_bytes,
        "bytes": memory_bytes + files_bytes,
        "phases_ms": phases_ms(history),
    }
    if events:
        document["events"] = [
            {"at_ms": e.at_ms, "state": str(e.state), "phase": str(e.phase), "data": _shown(e.data)} for e in history
        ]
    return document


def _channel(reached: Mapping[State, dict[str, Any]]) -> dict[str, Any]:
    """How memory went over the network, or is to go, and why it did not go as it was to; null where none goes."""
    data = reached.get(State.CHECKED, {}) | reached.get(State.SEEDED, {}) | reached.get(State.DUMPED, {})
    return {key: data.get(key) for key in ("channel", "channel_why")}


def blackout_ms(history: list[Event]) -> int | None:
    """From the freeze until the container ran again, on either side: from the order to, less what it waited before.

    Where a watchdog gave it back, by its node's clock. None when it never was frozen, and when nobody knows when it ran
    again: the node has rebooted since, or it started cold.
    """
    frozen = next((e.at_ms for e in history if e.state is State.FENCED and e.phase is Phase.BEGIN), None)
    if frozen is None:
        return None
    frozen += fenced_ms(history, "quiet_ms") + fenced_ms(history, "turn_ms")
    for event in history:
        if event.phase is Phase.END and event.state is State.RELEASED:
            return event.at_ms - frozen
        if event.phase is Phase.END and event.state is State.ROLLED_BACK:
            if (paused_ms := event.data.get("paused_ms")) is not None:
                return int(paused_ms)
            thawed_at_ms = event.data.get("thawed_at_ms")
            return thawed_at_ms - frozen if thawed_at_ms else None
    return None


def waited_ms(history: list[Event]) -> int:
    """How long it was ready to be paused and waited for the pauses of others to end."""
    ready = next((e.at_ms for e in history if e.state is State.SEEDED and e.phase is Phase.END), None)
    frozen = next((e.at_ms for e in history if e.state is State.FENCED and e.phase is Phase.BEGIN), None)
    return frozen - ready + fenced_ms(history, "turn_ms") if ready is not None and frozen is not None else 0


def fenced_ms(history: Sequence[Event], what: str) -> int:
    """What a fence says that it spent before the freeze, as far as it does: `quiet_ms`, or `turn_ms`."""
    return sum(int(e.data.get(what, 0)) for e in history if e.state is State.FENCED)


def phases_ms(history: list[Event]) -> dict[str, int]:
    """How long each state took to reach, from its begin to its end."""
    began = {e.state: e.at_ms for e in history if e.phase is Phase.BEGIN}
    return {str(e.state): e.at_ms - began[e.state] for e in history if e.phase is Phase.END and e.state in began}


def predicted_json(run: Run) -> dict[str, dict[str, Any]]:
    """What the run's plan expected of each move, by its name, in the units of what happened."""
    plan = run.document.get("plan")
    moves = plan.get("moves", ()) if isinstance(plan, dict) else ()
    learnt = plan.get("policy", {}).get("learnt", {}) if isinstance(plan, dict) else {}
    return {
        move_name(move["container"], move.get("leg", 1)): {
            "blackout_ms": round(move["estimate"]["blackout_s"] * 1000),
            "duration_ms": round(move["estimate"]["duration_s"] * 1000),
            "memory_bytes": move["estimate"]["memory_bytes"],
            "files_bytes": move["estimate"]["files_bytes"],
            "bytes": move["estimate"]["memory_bytes"] + move["estimate"]["files_bytes"],
            "rounds": move["estimate"].get("rounds", 1),
            "learnt_from": learnt.get(move.get("source"), {}).get(move.get("target"), {}).get("runs", 0),
        }
        for move in moves
    }


def makespan_json(run: Run) -> dict[str, int] | None:
    """What the run's plan expected of all of it; None where no plan says."""
    plan = run.document.get("plan")
    if not isinstance(plan, dict) or "makespan_s" not in plan:
        return None
    return {f"{key}_ms": round(plan.get(f"{key}_s", 0.0) * 1000) for key in ("makespan", "makespan_bound")}


def predicted_line(migration: dict[str, Any]) -> str:
    """Estimates beside what happened, for a move that came to its end; empty where there is nothing to compare."""
    expected = migration["predicted"]
    if expected is None or migration["state"] != str(State.DONE) or migration["blackout_ms"] is None:
        return ""
    took = [
        f"{word} {format_seconds(migration[key] / 1000)} (predicted {format_seconds(expected[key] / 1000)})"
        for word, key in (("blackout", "blackout_ms"), ("duration", "duration_ms"))
    ]
    sent = [
        f"{word} {format_bytes(migration[key])} (predicted {format_bytes(expected[key])})"
        for word, key in (("memory", "memory_bytes"), ("files", "files_bytes"))
    ]
    waited = [f"{format_seconds(migration['waited_ms'] / 1000)} of it ready and waiting for the pauses of others"]
    return ", ".join((*took, *(waited if migration["waited_ms"] >= WAITED_MS else ()), *sent))


def channel_line(migration: dict[str, Any]) -> str:
    """How its memory went over the network, in words."""
    how, why = CHANNELS.get(migration["channel"], "not known"), migration["channel_why"]
    return f"{how}, though the network is declared trusted: {why}" if why else how


def makespan_line(document: dict[str, Any]) -> str:
    """The whole run beside its plan; empty where not all of its moves are done, or no plan says."""
    expected, migrations = document["predicted"], document["migrations"]
    if expected is None or document["makespan_ms"] is None or any(m["state"] != str(State.DONE) for m in migrations):
        return ""
    took, planned, bound = (
        format_seconds(count / 1000)
        for count in (document["makespan_ms"], expected["makespan_ms"], expected["makespan_bound_ms"])
    )
    return f"makespan {took} (predicted {planned}; the busiest link alone needs {bound})"


def run_json(journal: Journal, run_id: str, events: bool = False) -> dict[str, Any]:
    run = journal.run(run_id)
    predicted = predicted_json(run)
    at_ms = [event.at_ms for m in journal.migrations(run.id) for event in journal.events(m.id)]
    return {
        "run": run.id,
        "intent": run.kind,
        "created_ms": run.created_ms,
        "outcome": run.outcome or "unfinished",
        "makespan_ms": max(at_ms) - min(at_ms) if at_ms else None,
        "predicted": makespan_json(run),
        "migrations": [
            migration_json(journal, m, events) | {"predicted": predicted.get(m.move)}
            for m in journal.migrations(run.id)
        ],
        "stop_overs": [asdict(stop) for stop in left_half_way(journal, run)],
        "waived": waived_json(_policy_of(run)),
    }


def _policy_of(run: Run) -> PlanPolicy:
    """What a run's plan was made under; nothing of one without a plan."""
    return plan_of(run)[0].policy if isinstance(run.document.get("plan"), dict) else PlanPolicy()


def left_half_way(journal: Journal, run: Run) -> tuple[StopOver, ...]:
    """The containers that the run has brought to a stop-over and not further, by the journal."""
    plan = run.document.get("plan")
    moves = plan.get("moves", ()) if isinstance(plan, dict) else ()
    if all(move.get("leg", 1) == 1 for move in moves):
        return ()
    moving = {m.container for m in journal.migrations(run.id) if journal.progress(m.id).state not in FINAL}
    found = stop_overs(plan_of(run)[0], ends(journal, run.id))
    return tuple(stop for stop in found if stop.container not in moving)


def print_run(journal: Journal, run_id: str) -> None:
    """The table at the end of a run, and the line that says how it ended."""
    document = run_json(journal, run_id)
    rows = []
    for m in document["migrations"]:
        rows.append(
            (
                move_name(m["container"], m["leg"]),
                f"{m['source']} -> {m['target']}",
                m["state"],
                format_seconds(m["blackout_ms"] / 1000) if m["blackout_ms"] is not None else "-",
                format_bytes(m["bytes"]),
                format_seconds(m["duration_ms"] / 1000),
            )
        )
    if rows:
        print_table(("CONTAINER", "MOVE", "STATE", "BLACKOUT", "SENT", "DURATION"), rows)
    for warning in (warning for m in document["migrations"] for warning in m["warnings"]):
        click.echo(clean(f"warning: {warning}"), err=True)
    for migration in journal.migrations(run_id):
        reached = journal.progress(migration.id).reached
        if migration.mode is Mode.RESTART and State.FENCED in reached:
            at = migration.target if State.RELEASED in reached else migration.source
            click.echo(clean(f"container {migration.container} was stopped, and {ANEW} on {at}"))
    if waived := waived_said(_policy_of(journal.run(run_id))):
        click.echo(clean(waived))
    closed = document["outcome"] in CLOSED
    for stop in document["stop_overs"]:
        name, goal = stop["container"], stop["goal"]
        anew = f"; plan anew what this run was for, or: migrator plan move {name} --to {goal}" if closed else ""
        told = f"container {name} was left at its stop-over {stop['node']}, on its way to {goal}{anew}"
        click.echo(pasteable(clean(told)))
    click.echo(clean(f"run {document['run']}: {document['intent']}: {document['outcome']}"))


def report(journal: Journal, run_id: str, result: RunResult, as_json: bool, problems: Sequence[str] = ()) -> int:
    """Prints how a run ended, as a table or as its document, and returns the exit code.

    `problems` are what is not as planned though every move is done.
    """
    document = run_json(journal, run_id)
    if not as_json:
        print_run(journal, run_id)
    told = [*result.told(), *problems]
    if told:
        return fail("; ".join(told), result.exit_code or 4, as_json, document)
    if as_json:
        print_json(document)
    return 0


def _shown(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "census"}
