"""migrator migrate --dry-run: what a move would take, and what would stop it, with nothing touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from migrator.cli.learning import Range, pause_range_s
from migrator.cli.output import fail, print_json
from migrator.executor.fleet import Fleet
from migrator.executor.moves import examine
from migrator.journal.store import Journal
from migrator.model import ports as published
from migrator.model.estimate import estimate_move, expected_rounds, passes_of_move
from migrator.model.file_passes import TMPFS_AT_LEAST, TMPFS_AT_MOST, tmpfs_s
from migrator.model.memory_way import CHANNELS, WAYS
from migrator.model.modes import ANEW, GIVE_UP, Mode
from migrator.model.plan import Plan
from migrator.model.policy import Policy
from migrator.model.units import counted, format_bytes, format_rate, format_seconds
from migrator.steps import check

NO_RUN = "-"  # as a container's record names that of none


@dataclass(frozen=True, slots=True)
class Forecast:
    """One move as it is expected. `learnt_from` is how many migrations of the pair the rates rest on.

    `channel` is how memory is to go over the network, no faster than `bandwidth_bytes_per_s`.
    `memory_bytes` is all that is sent of its memory, in `memory_rounds`. `blackout_s_range` is where nine of ten such
    pauses are expected; of a restart it is from one that ends at once to one that takes all of its time.
    `written_bytes_per_s` is how fast it was last seen to write its memory, None where nobody has looked. `caution` is
    what may go otherwise without being against it now.
    `files_bytes` are sent in passes while it runs and a last one, which is expected to take `files_pause_s` of the
    pause: it looks at `files_changing_bytes` that have changed in the last ten seconds, and at `files_mapped_bytes`
    besides that are mapped shared and writable; `files_written_bytes_per_s` is how fast they were seen to be written.
    `tmpfs_bytes` of files lie in its memory, and `tmpfs_pause_s` of `files_pause_s` are for packing them.
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
    files_changing_bytes: int
    files_mapped_bytes: int
    files_written_bytes_per_s: int | None
    files_pause_s: float
    tmpfs_bytes: int
    tmpfs_pause_s: float
    blackout_s: float
    blackout_s_range: Range
    duration_s: float
    learnt_from: int
    written_bytes_per_s: int | None
    caution: str
    findings: list[str]
    refusal: str


async def foretell(fleet: Fleet, journal: Journal, plan: Plan, policy: Policy) -> Forecast:
    """Asks both nodes all that a migration asks before it touches them. Refused where that would be."""
    (planned,) = plan.moves
    move = await examine(fleet, journal, NO_RUN, planned, policy, plan.policy)
    found = await check.ask(move)
    facts = next(c for c in move.source.facts.containers if c.name == move.name)
    ways = (move.source.facts.link, move.target.facts.link, move.rates, move.shared)
    estimate = estimate_move(facts, *ways, move.manner)
    pair = planned.source, planned.target
    rates = plan.policy.rates_unbounded(*pair, move.rates.way)  # those that were seen were not held back
    others_s = estimate.blackout_s - estimate.files_pause_s
    seen_s, learnt_from = pause_range_s(journal, plan.cluster, *pair, others_s, rates, move.mode, move.plain)
    caution, passes = "", passes_of_move(facts, *ways, move.manner)
    if move.mode is Mode.RESTART:
        seen_s = (move.rates.constant_s(Mode.RESTART), others_s)
    elif move.mode is Mode.PRE_COPY and (why := expected_rounds(facts, *ways, move.manner).why_not):
        end = "it would be given up" if move.way_out == GIVE_UP else "what is left goes in the pause"
        caution = f"{why}, as fast as it was seen to write: {end} (--not-convergent)"
    packed_s = 0.0 if move.mode is Mode.RESTART else tmpfs_s(facts)
    packed_s_range = packed_s * TMPFS_AT_LEAST, packed_s * TMPFS_AT_MOST
    low_s, high_s = (round(sum(each), 3) for each in zip(seen_s, passes.last_s_range, packed_s_range, strict=True))
    written_on = f"passes do not bring the pause to what is wanted: {passes.why_not}" if passes.why_not else ""
    lost = published.lost(move.descriptor.published, planned.target)
    own, there = move.descriptor.id_base, move.descriptor_there.id_base
    shifted = f"its ids are shifted from {own} to {there} on arrival, where another has its own" if move.shifts else ""
    return Forecast(
        container=planned.container,
        source=planned.source,
        target=planned.target,
        mode=move.mode,
        mode_why=move.mode_why,
        memory_way=planned.memory_way,
        channel=move.channel,
        bandwidth_bytes_per_s=policy.bandwidth_bytes_per_s,
        memory_bytes=estimate.memory_bytes,
        memory_rounds=0 if move.mode is Mode.RESTART else estimate.rounds,
        files_bytes=estimate.files_bytes,
        file_passes_max=max(policy.seed_passes_max, passes.count) + 1,
        files_changing_bytes=facts.changing_bytes,
        files_mapped_bytes=facts.mapped_bytes,
        files_written_bytes_per_s=facts.files_written_bytes_per_s,
        files_pause_s=estimate.files_pause_s,
        tmpfs_bytes=facts.tmpfs_bytes,
        tmpfs_pause_s=packed_s,
        blackout_s=estimate.blackout_s,
        blackout_s_range=(low_s, high_s),
        duration_s=estimate.duration_s,
        learnt_from=learnt_from,
        written_bytes_per_s=move.written_bytes_per_s,
        caution="; ".join(filter(None, (caution, written_on, lost, shifted))),
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
    low_s, high_s = told.blackout_s_range
    basis = f"{format_seconds(low_s)} to {format_seconds(high_s)}, {_basis(told)}"
    if anew:
        basis = f"{format_seconds(low_s)} and as long as it takes to end, which --stop-timeout bounds"
    how = f"{_how(told)}, {CHANNELS[told.channel]}"
    return [
        f"{told.container}: {told.source} -> {told.target}, {told.mode} ({told.mode_why})",
        f"memory: none is sent; it is stopped, {ANEW} on {told.target}, and connections end"
        if anew
        else f"memory: {format_bytes(_paged_bytes(told))}, {WAYS[told.memory_way]}, {how}",
        _files(told),
        *_in_memory(told),
        *([f"bandwidth: at most {format_rate(most)}"] if (most := told.bandwidth_bytes_per_s) else []),
        f"pause: {'up to ' if anew else ''}{format_seconds(told.blackout_s)} ({basis})",
        f"duration: {format_seconds(told.duration_s)}",
        *([f"caution: {told.caution}"] if told.caution else []),
        "against it: nothing; nothing was touched" if not told.findings else "against it:",
        *(f"- {finding}" for finding in told.findings),
    ]


def _files(told: Forecast) -> str:
    """What of its files is sent, and what the last pass has to look at."""
    whole = f"files: {format_bytes(told.files_bytes)}, in up to {told.file_passes_max} passes"
    last_s = told.files_pause_s - told.tmpfs_pause_s
    if last_s < 0.001:
        return f"{whole}, the last while it is paused"
    rate, mapped = told.files_written_bytes_per_s, told.files_mapped_bytes
    how = f"that it writes at {format_bytes(rate)}/s" if rate else "that has changed in the last ten seconds"
    parts = [f"{format_bytes(told.files_changing_bytes)} {how}"] if told.files_changing_bytes else []
    parts += [f"{format_bytes(mapped)} mapped shared and writable"] if mapped else []
    took = format_seconds(last_s)
    return f"{whole}, the last while it is paused, which takes {took} for {' and '.join(parts)}"


def _paged_bytes(told: Forecast) -> int:
    """Memory that goes as its mode says: files in it, where they have a line of their own, go in the pause in each."""
    return told.memory_bytes - (told.tmpfs_bytes if told.tmpfs_pause_s else 0)


def _in_memory(told: Forecast) -> Iterator[str]:
    """Files that are no files on a disk."""
    whole = f"files in memory (tmpfs: /tmp, /run and the like): {format_bytes(told.tmpfs_bytes)}"
    if told.tmpfs_pause_s:
        yield f"{whole}, packed while it is paused, which takes {format_seconds(told.tmpfs_pause_s)}"
    elif told.mode == Mode.RESTART and told.tmpfs_bytes:
        yield f"{whole}, which end with it"


def _how(told: Forecast) -> str:
    """When and how often memory is sent."""
    if told.mode == Mode.POST_COPY:
        return "sent once, while it runs there already"
    if told.mode != Mode.PRE_COPY:
        return "sent once, while it is paused"
    rate = told.written_bytes_per_s
    written = "if it writes little of it" if rate is None else f"as it was seen to write {format_bytes(rate)}/s"
    return f"in about {told.memory_rounds} rounds, the last while it is paused, {written}"


def _basis(told: Forecast) -> str:
    """What the range rests on."""
    if not told.learnt_from:
        return f"by rates of an idle lab: none was seen from {told.source} to {told.target} yet"
    return f"nine of ten, by {counted(told.learnt_from, 'migration')} of this pair"
