"""migrator migrate --dry-run: what a move would take, and what would stop it, with nothing touched."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import click

from migrator.cli.learning import PAUSES_MIN, Range, pause_range_s
from migrator.cli.output import fail, print_json
from migrator.executor.fleet import Fleet
from migrator.executor.moves import examine
from migrator.journal.store import Journal
from migrator.model.memory_way import CHANNELS, WAYS
from migrator.model.modes import ANEW, BEGINNING_S, Mode, predicted_pause_s
from migrator.model.plan import Plan
from migrator.model.policy import Policy
from migrator.model.units import format_bytes, format_rate, format_seconds
from migrator.steps import check

NO_RUN = "-"  # as a container's record names that of none


@dataclass(frozen=True, slots=True)
class Forecast:
    """One move as it is expected. `learnt_from` is how many migrations of the pair the rates rest on.

    `channel` is how memory is to go over the network.
    `memory_rounds` is how often memory is sent at most. `blackout_s_range` holds nine of ten of the pair's latest
    pauses, scaled to this one; None where too few were seen.
    `findings` are the reasons why it would be refused, `refusal` all of them in one line.
    """

    container: str
    source: str
    target: str
    mode: str
    mode_why: str
    memory_way: str
    channel: str
    bandwidth_bytes_per_s: int | None
    memory_bytes: int
    memory_rounds: int
    files_bytes: int
    file_passes_max: int
    blackout_s: float
    blackout_s_range: Range
    duration_s: float
    learnt_from: int
    findings: list[str]
    refusal: str


async def foretell(fleet: Fleet, journal: Journal, plan: Plan, policy: Policy) -> Forecast:
    """Asks both nodes all that a migration asks before it touches them. Refused where that would be."""
    (planned,) = plan.moves
    move = await examine(fleet, journal, NO_RUN, planned, policy, plan.policy)
    found = await check.ask(move)
    estimate = planned.estimate
    blackout_s = round(predicted_pause_s(estimate, move.rates, move.mode, policy.stop_timeout_s), 3)
    seen_s = (
        pause_range_s(journal, plan.cluster, planned.source, planned.target, blackout_s, move.rates, move.plain)
        if move.mode is Mode.STOP_AND_COPY
        else None  # the latest migrations were by the other mode
    )
    begins_anew = move.mode is Mode.RESTART
    if begins_anew:
        seen_s = (BEGINNING_S, blackout_s)
    return Forecast(
        container=planned.container,
        source=planned.source,
        target=planned.target,
        mode=move.mode,
        mode_why=move.mode_why,
        memory_way=planned.memory_way,
        channel=move.channel,
        bandwidth_bytes_per_s=policy.bandwidth_bytes_per_s,
        memory_bytes=0 if begins_anew else estimate.memory_bytes,
        memory_rounds=0 if begins_anew else policy.rounds_max + 1 if move.mode is Mode.PRE_COPY else 1,
        files_bytes=estimate.files_bytes,
        file_passes_max=policy.seed_passes_max + 1,
        blackout_s=blackout_s,
        blackout_s_range=seen_s,
        duration_s=round(estimate.duration_s + max(0.0, blackout_s - estimate.blackout_s), 3),
        learnt_from=move.rates.runs,
        findings=found,
        refusal=check.refusal(move, found) if found else "",
    )


def print_forecast(told: Forecast, as_json: bool) -> int:
    """Prints it, and returns the exit code that the migration's checks would end with."""
    document = asdict(told)
    if as_json and not told.findings:
        print_json(document)
    elif not as_json:
        click.echo("\n".join(_lines(told)))
    return fail(told.refusal, 3, as_json, document) if told.findings else 0


def _lines(told: Forecast) -> list[str]:
    anew = told.mode == Mode.RESTART
    if anew:
        basis = f"{format_seconds(BEGINNING_S)} and as long as it takes to end, which --stop-timeout bounds"
    elif told.blackout_s_range is not None:
        low_s, high_s = told.blackout_s_range
        basis = f"{format_seconds(low_s)} to {format_seconds(high_s)}, by the latest migrations of this pair"
    elif told.learnt_from:
        basis = f"by {told.learnt_from} migrations of this pair; a range needs {PAUSES_MIN}"
    else:
        basis = f"by rates of an idle lab: none was seen from {told.source} to {told.target} yet"
    how = {
        Mode.POST_COPY: "sent once, while it runs there already",
        Mode.PRE_COPY: f"in up to {told.memory_rounds} rounds, the last while it is paused",
    }.get(Mode(told.mode), "sent once, while it is paused")
    if told.mode == Mode.PRE_COPY:
        basis = f"if it writes memory slower than that is sent; {basis}"
    return [
        f"{told.container}: {told.source} -> {told.target}, {told.mode} ({told.mode_why})",
        f"memory: none is sent; it is stopped, {ANEW} on {told.target}, and connections end"
        if anew
        else f"memory: {format_bytes(told.memory_bytes)}, {WAYS[told.memory_way]}, {how}, {CHANNELS[told.channel]}",
        f"files: {format_bytes(told.files_bytes)}, in up to {told.file_passes_max} passes, the last while it is paused",
        *([f"bandwidth: at most {format_rate(most)}"] if (most := told.bandwidth_bytes_per_s) else []),
        f"pause: {'up to ' if anew else ''}{format_seconds(told.blackout_s)} ({basis})",
        f"duration: {format_seconds(told.duration_s)}",
        "against it: nothing; nothing was touched" if not told.findings else "against it:",
        *(f"- {finding}" for finding in told.findings),
    ]
