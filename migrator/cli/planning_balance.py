"""migrator plan rebalance, plan consolidate: the search's terms as options, a clock and Ctrl-C that end it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.intents import facts_asked, planning, policy_asked
from migrator.cli.numbers import FiniteRange
from migrator.cli.planning import show

if TYPE_CHECKING:
    from migrator.model.plan import Plan, Refusal

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
        terms = Terms(many if iterations is None else iterations, min_gain_percent / 100, stop.asked)
        made = rebalance(cluster, digest(cluster), policy_asked(ctx, cluster, given), terms)
    unfound = _unfound(made, stop)
    return show(made, (*notes, *unfound), unfound="".join(unfound), **given)


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
        until = Until(2**62 if iterations is None else iterations, stop.asked)
        made = consolidate(cluster, digest(cluster), policy_asked(ctx, cluster, given), until)
    unfound = _unfound(made, stop)
    return show(made, (*notes, *unfound), unfound="".join(unfound), **given)


def _one_end(iterations: int | None, seconds: float | None) -> None:
    from migrator.errors import BadInput

    if iterations is not None and seconds is not None:
        raise BadInput("--iterations or --seconds, not both")


class _Stop:
    """What ends a search: its time, or a signal."""

    def __init__(self, seconds: float | None) -> None:
        self.interrupted = Event()
        self._end = None if seconds is None else time.monotonic() + seconds

    def asked(self) -> bool:
        return self.interrupted.is_set() or (self._end is not None and time.monotonic() >= self._end)


def _unfound(made: Plan | Refusal, stop: _Stop) -> tuple[str, ...]:
    """Why a plan without a move is no answer: the search was interrupted before it found one. Else empty."""
    from migrator.model.plan import Plan

    if not isinstance(made, Plan) or made.moves or made.empties or not stop.interrupted.is_set():
        return ()
    if not any(note.startswith("stopped early") for note in made.notes):
        return ()  # the signal came when all was looked at
    return ("interrupted before anything was found: that nothing moves here does not say that nothing is to be done",)


@contextmanager
def _ending(seconds: float | None) -> Iterator[_Stop]:
    """Tells when the time is over or Ctrl-C was pressed: then the best plan so far is the answer. A second ends it."""
    from migrator.cli.signals import SIGNALS

    stop = _Stop(seconds)

    def leave_word() -> None:
        stop.interrupted.set()
        SIGNALS.early()

    SIGNALS.working(leave_word)
    try:
        yield stop
    finally:
        SIGNALS.early()
