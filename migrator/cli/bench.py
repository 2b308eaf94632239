"""migrator bench: problems that others have published answers to, so that the search can be judged beside theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.numbers import FiniteRange
from migrator.cli.output import json_option, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.cli.bench_workers import Answer
    from migrator.roadef.cost import Cost
    from migrator.roadef.instance import Instance

SECONDS = 300.0

_file = click.Path(dir_okay=False, path_type=Path)


@click.group("bench")
def bench() -> None:
    """Solve published problems, and be judged beside published answers."""


@bench.command("roadef")
@click.argument("model", type=_file, metavar="MODEL")
@click.argument("assignment", type=_file, metavar="ASSIGNMENT")
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    metavar="S",
    help=f"Answer after this time (default: {SECONDS:.0f}, if no --iterations are given).",
)
@click.option(
    "--iterations",
    type=click.IntRange(min=0),
    metavar="N",
    help="Take so many steps a worker; unless --seconds ends them, equal words then give an equal answer.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Of chance.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="Processes, each with a seed of its own; the best answer of all is kept.",
)
@click.option(
    "-o", "--output", required=True, type=_file, metavar="FILE", help="Write the new assignment here, if it is valid."
)
@json_option
def roadef(
    model: Path,
    assignment: Path,
    seconds: float | None,
    iterations: int | None,
    seed: int,
    workers: int,
    output: Path,
    as_json: bool,
) -> None:
    """Improve an assignment of Google's machine reassignment problem (ROADEF/EURO 2012).

    MODEL and ASSIGNMENT are files in the challenge's format, and so is the answer. Ctrl-C writes the best so far.
    """
    import time

    begin_s = time.monotonic()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is loaded: the products are small
    from migrator.cli.bench_workers import Task, run
    from migrator.errors import BadInput
    from migrator.inventory.files import read_text
    from migrator.roadef.cost import evaluate, first_fault
    from migrator.roadef.instance import parse_assignment, parse_model

    if not output.absolute().parent.is_dir():
        raise BadInput(f"{output}: cannot be written: there is no such directory")
    instance = parse_model(read_text(model), str(model))
    start = parse_assignment(read_text(assignment), str(assignment), instance)
    fault = first_fault(instance, start, start)
    if fault is not None:
        raise BadInput(f"{assignment}: breaks a rule already: {fault}")
    if seconds is None and iterations is None:
        seconds = SECONDS
    answers, interrupted = run(Task(instance, start, iterations, seconds, begin_s), seed, workers)
    best = _best(instance, start, answers)
    _write(instance, start, best, output)
    document = {
        "output": str(output),
        "interrupted": interrupted,
        "iterations": sum(answer.iterations for answer in answers),
        "seed": seed,
        "workers": workers,
        "seconds": round(time.monotonic() - begin_s, 3),
        "memory_bytes": sum(answer.memory_bytes for answer in answers),
        "moved": sum(old != new for old, new in zip(start, best, strict=True)),
        "processes": len(start),
        "before": _parts(evaluate(instance, start, start)),
        "after": _parts(evaluate(instance, start, best)),
    }
    if as_json:
        print_json(document)
    else:
        _tell(document)


def _best(instance: Instance, start: Sequence[int], answers: Sequence[Answer]) -> list[int]:
    """The cheapest valid answer by the judge's own count; the start is one."""
    from migrator.roadef.cost import evaluate, first_fault

    valid = [list(start), *(a.places for a in answers if first_fault(instance, start, a.places) is None)]
    return min(valid, key=lambda places: evaluate(instance, start, places).total)


def _write(instance: Instance, start: Sequence[int], places: Sequence[int], output: Path) -> None:
    from migrator.inventory.plan_document import write
    from migrator.roadef.instance import write_assignment

    write(write_assignment(places), output)


def _parts(cost: Cost) -> dict[str, int]:
    return {
        "total": cost.total,
        "load": cost.load,
        "balance": cost.balance,
        "process_moves": cost.process_moves,
        "service_moves": cost.service_moves,
        "machine_moves": cost.machine_moves,
    }


def _tell(document: dict[str, Any]) -> None:
    before, after = document["before"], document["after"]
    gain = before["total"] - after["total"]
    share = f" ({100 * gain / before['total']:.2f}%)" if before["total"] else ""
    click.echo(f"{document['output']}: cost {before['total']} -> {after['total']}, gain {gain}{share}")
    moves = after["process_moves"] + after["service_moves"] + after["machine_moves"]
    click.echo(f"load {after['load']}, balance {after['balance']}, moves {moves}")
    click.echo(f"{document['moved']} of {document['processes']} processes moved")
    early = ", interrupted" if document["interrupted"] else ""
    click.echo(
        f"{document['iterations']} iterations of {document['workers']} workers in {document['seconds']:.1f} s, "
        f"{document['memory_bytes'] / 1e6:.0f} MB{early}"
    )
