"""The options that say how memory goes, for every command that moves containers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from migrator.cli.numbers import FiniteRange
from migrator.model.modes import AUTO, WAYS_OUT, Mode

F = TypeVar("F", bound=Callable[..., Any])

_mode_option = click.option(
    "--mode",
    type=click.Choice([AUTO, *map(str, Mode)]),
    help="How memory goes (default: auto, the shortest pause of what can lose nothing). pre-copy: in rounds while it "
    "runs, where the kernel tracks what is written; post-copy: it runs on the target while its memory follows; "
    "restart: it is stopped and begins anew there; these two taken only by name, or where the policy allows them.",
)
_target_option = click.option(
    "--target-blackout",
    "target_blackout_s",
    type=FiniteRange(min=0.05, max=600),
    metavar="SECONDS",
    help="Passes over files, and rounds of pre-copy, are enough when a pause under this is predicted (default: 0.2 s "
    "over its fixed part).",
)
_not_convergent_option = click.option(
    "--not-convergent",
    type=click.Choice(WAYS_OUT),
    help="When memory is written faster than pre-copy sends it (default: give-up; go-on where auto chose pre-copy): "
    "leave it where it is, go on with a longer pause, or hold its CPU time back in steps and then give up.",
)


_stop_option = click.option(
    "--stop-timeout",
    "stop_timeout_s",
    type=FiniteRange(min=0, max=600),
    metavar="SECONDS",
    help="With restart: how long it may take to end by itself, before it is killed (default: 10, or as planned).",
)


class Rate(click.ParamType[int]):
    """A speed as links have it, to bytes a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from migrator.model.units import parse_bytes_per_s

        try:
            return value if isinstance(value, int) else parse_bytes_per_s(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_bandwidth_option = click.option(
    "--bandwidth",
    "bandwidth_bytes_per_s",
    type=Rate(),
    metavar="RATE",
    help="The most that one move sends a second, memory and files, such as 1Gbit or 200Mbit (default: all there is).",
)


# Options that one mode alone looks at.
_OF_ONE_MODE = {
    "not_convergent": ("--not-convergent", Mode.PRE_COPY),
    "stop_timeout_s": ("--stop-timeout", Mode.RESTART),
}


def _refuse_idle(given: dict[str, Any]) -> None:
    """BadInput for an option that the mode named beside it does not look at."""
    from migrator.errors import BadInput

    mode = given.get("mode")
    for name, (option, its_mode) in _OF_ONE_MODE.items():
        if given.get(name) is not None and mode not in (None, AUTO, its_mode):
            raise BadInput(
                f"{option}: it is for {its_mode}, and means nothing with --mode {mode}; leave out one of them"
            )


def memory_options(command: F) -> F:
    @functools.wraps(command)
    def checked(*args: Any, **given: Any) -> Any:
        _refuse_idle(given)
        return command(*args, **given)

    return _with_options(cast(F, checked))


def _with_options(command: F) -> F:
    for option in (_bandwidth_option, _stop_option, _not_convergent_option, _target_option, _mode_option):
        command = option(command)
    return command
