"""migrator sim: thousands of migrations with faults, over simulated nodes and virtual time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli.output import json_option, print_json

if TYPE_CHECKING:
    from migrator.sim.play import Outcome
    from migrator.sim.run import Summary

SEEDS = 1000


@click.command()
@click.option("--seeds", type=click.IntRange(1), help=f"How many lives to play; {SEEDS} if not given.")
@click.option("--start", type=click.IntRange(0), help="The first seed; 0 if not given.")
@click.option("--seed", type=click.IntRange(0), help="Play this one alone.")
@click.option("--scenario", type=click.Path(path_type=Path), metavar="FILE", help="Play the one that a file keeps.")
@click.option("--trace", is_flag=True, help="With --seed or --scenario: print all that happens.")
@click.option("--fleet", is_flag=True, help="Drains of 20 nodes and 400 containers instead of single migrations.")
@click.option("--jobs", default=0, type=click.IntRange(0), help="Processes; one a core if not given.")
@json_option
def sim(
    seeds: int | None,
    start: int | None,
    seed: int | None,
    scenario: Path | None,
    trace: bool,
    fleet: bool,
    jobs: int,
    as_json: bool,
) -> int:
    """Play migrations with faults over simulated nodes; exit 0 only if nothing was that must not be.

    The planner, the executor, the protocol and the steps are the real ones.
    """
    _refuse_both(seeds is not None or start is not None, seed is not None, scenario is not None, trace)
    if seed is not None or scenario is not None:
        return _one(seed, scenario, trace, fleet, as_json)
    from migrator.sim.run import run_seeds

    count = seeds or SEEDS
    show = sys.stderr.isatty() and not as_json

    def progress(so_far: Summary) -> None:
        if show:
            click.echo(f"\r{so_far.runs} of {count}, {len(so_far.failures)} violated", nl=False, err=True)

    summary = run_seeds(start or 0, count, jobs, fleet, progress)
    if show:
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        print_json(summary.document())
    else:
        _print(summary, fleet)
    return 1 if summary.failures else 0


def _refuse_both(many: bool, seed: bool, scenario: bool, trace: bool) -> None:
    """Options of which one would be ignored are a mistake, told before anything is played."""
    if seed and scenario:
        raise click.UsageError("--seed and --scenario: give one of them")
    if many and (seed or scenario):
        raise click.UsageError("--seeds and --start play many lives, --seed and --scenario one: give either")
    if trace and not (seed or scenario):
        raise click.UsageError("--trace: say which life, with --seed or --scenario")


def _print(summary: Summary, large: bool) -> None:
    from migrator.sim.run import dump_scenario

    more = " --fleet" if large else ""
    for failure in summary.failures:
        click.echo(f"seed {failure.seed} violated:")
        for violation in failure.violations:
            click.echo(f"  {violation}")
        click.echo("  made smaller:")
        for line in failure.smallest.lines():
            click.echo(f"    {line}")
        click.echo(f"  keep it: {' '.join(dump_scenario(failure.smallest).split())}")
        click.echo(f"  replay: migrator sim --seed {failure.seed}{more} --trace")
    click.echo(
        f"{summary.runs} runs, {summary.steps} moments, {summary.stuck} stuck for a fault that explains it, "
        f"{len(summary.failures)} violated; {summary.runs_per_s:.0f} runs/s"
    )


def _one(seed: int | None, path: Path | None, trace: bool, large: bool, as_json: bool) -> int:
    from migrator.sim.loop import VirtualLoop
    from migrator.sim.play import play
    from migrator.sim.run import load_scenario
    from migrator.sim.scenario import fleet, generate

    made = fleet if large else generate
    scenario = load_scenario(path) if path is not None else made(seed or 0)
    outcome = play(scenario, VirtualLoop(), trace=trace)
    if as_json:
        print_json(_document(outcome))
    else:
        for line in [*outcome.trace, *scenario.lines()]:
            click.echo(line)
        for violation in outcome.violations:
            click.echo(f"violated: {violation}")
        for name, reason in outcome.stuck.items():
            click.echo(f"stuck, explained by a fault: {name}: {reason}")
        click.echo("violated" if outcome.violations else "nothing was violated")
    return 1 if outcome.violations else 0


def _document(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.scenario.seed,
        "scenario": outcome.scenario.lines(),
        "violations": [str(violation) for violation in outcome.violations],
        "stuck": outcome.stuck,
        "moments": outcome.steps,
        "trace": outcome.trace,
    }
