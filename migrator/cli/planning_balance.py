"""migrator plan rebalance, plan consolidate: the search's terms as options, a clock and Ctrl-C that end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import click

from migrator.cli.intents import facts_asked, planning, policy_asked
from migrator.cli.numbers import FiniteRange
from migrator.cli.planning import show

ITERATIONS = 10_000
_seconds_option = click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    metavar="S",
    help="End the search after this time instead; the plan notes the iterations that repeat it.",
)


@click.command("rebalance")
@click.option(
    "--iterations",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"End the search after so many steps (default: {ITERATIONS}); equal facts give an equal plan.",
)
@_seconds_option
@click.option(
    "--min-gain",
    "min_gain_percent",
    type=FiniteRange(0, 10_000),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="What a move must even out beyond its cost, in percent of one node.",
)
@planning
@click.pass_context
def plan_rebalance(
    ctx: click.Context, /, iterations: int | None, seconds: float | None, min_gain_percent: float, **given: Any
) -> int:
    """Plan to even out the load: containers go from full nodes to others where that is worth the move."""
    from migrator.inventory.snapshot import digest
    from migrator.planner.balance import Terms
    from migrator.planner.rebalance import rebalance

    _one_end(iterations, seconds)
    cluster, notes = facts_asked(ctx, **given)
    many = ITERATIONS if seconds is None else 2**62
    with _ending(seconds) as stop:
        terms = Terms(many if iterations is None else iterations, min_gain_percent / 100, stop)
        made = rebalance(cluster, digest(cluster), policy_asked(ctx, cluster, given), terms)
    return show(made, notes, **given)


@click.command("consolidate")
@click.option(
    "--iterations",
    type=click.IntRange(min=0),
    metavar="N",
    help="End the search after so many sets of nodes (default: when nothing more is tried).",
)
@_seconds_option
@planning
@click.pass_context
def plan_consolidate(ctx: click.Context, /, iterations: int | None, seconds: float | None, **given: Any) -> int:
    """Plan to empty as many nodes as possible: their containers go where the others have room."""
    from migrator.inventory.snapshot import digest
    from migrator.planner.consolidate import Until, consolidate

    _one_end(iterations, seconds)
    cluster, notes = facts_asked(ctx, **given)
    with _ending(seconds) as stop:
        until = Until(2**62 if iterations is None else iterations, stop)
        made = consolidate(cluster, digest(cluster), policy_asked(ctx, cluster, given), until)
    return show(made, notes, **given)


def _one_end(iterations: int | None, seconds: float | None) -> None:
    from migrator.errors import BadInput

    if iterations is not None and seconds is not None:
        raise BadInput("--iterations or --seconds, not both")


@contextmanager
def _ending(seconds: float | None) -> Iterator[Callable[[], bool]]:
    """Tells when the time is over or Ctrl-C was pressed: then the best plan so far is the answer. A second ends it."""
    from migrator.cli.signals import SIGNALS

    interrupted = Event()
    end = None if seconds is None else time.monotonic() + seconds

    def leave_word() -> None:
        interrupted.set()
        SIGNALS.early()

    SIGNALS.working(leave_word)
    try:
        yield lambda: interrupted.is_set() or (end is not None and time.monotonic() >= end)
    finally:
        SIGNALS.early()
