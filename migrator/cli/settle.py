"""migrator settle: an operator decides where nobody else can know."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Any

import click

from migrator.cli.output import json_option, print_json
from migrator.cli.shared import cluster_path, open_fleet, open_journal, run_async


@click.command()
@click.argument("container")
@click.option("--keep", required=True, metavar="NODE", help="The node whose copy goes on.")
@click.option("--run", "run", metavar="RUN", help="Which run's move, if there are several.")
@click.option("--fenced", metavar="NODE", help='The other node is cut off: short for --word "NODE is off".')
@click.option("--word", metavar="TEXT", help="Your word, in writing; what it must be is asked for. It is journaled.")
@json_option
@click.pass_context
def settle(
    ctx: click.Context, container: str, keep: str, run: str | None, fenced: str | None, word: str | None, as_json: bool
) -> None:
    """Decide for a stuck CONTAINER: the copy on one node goes on, the other is given up.

    Both nodes are asked first. Where one does not answer, or a living copy is given up, it takes your word for it.
    The decision is of a higher generation than anything seen; resume cleans the other node when it answers.
    """
    from migrator.cli.report import run_json
    from migrator.errors import BadInput
    from migrator.executor.settle import Wish, examine
    from migrator.executor.settle import settle as act
    from migrator.executor.wanted import check_container_name

    check_container_name(container)
    if fenced and word:
        raise BadInput("settle: give --fenced or --word, not both")
    said = f"{fenced} is off" if fenced else word or ""
    journal = open_journal(ctx)

    def wish() -> Wish:
        return Wish(container, keep, run, said, os.environ.get("SUDO_USER") or getpass.getuser())

    async def look() -> Any:
        async with open_fleet(ctx) as fleet:
            return await examine(fleet, journal, wish())

    async def work() -> str:
        async with open_fleet(ctx) as fleet:
            return await act(fleet, journal, wish(), str(cluster_path(ctx)))

    if not said and sys.stdin.isatty():
        case = run_async(look(), only_looks=True)
        if case.word:
            click.echo(f"{case.why}.", err=True)
            said = click.prompt(f'If that is so, type exactly "{case.word}"', err=True)
    settled = run_async(work())
    if as_json:
        print_json(run_json(journal, settled))
    else:
        click.echo(f"container {container} runs on {keep}, settled by run {settled}")
