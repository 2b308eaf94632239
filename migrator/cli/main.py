"""The command line. This file knows the commands' names and first lines; a command is loaded when it is used."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any

import click

from migrator.cli import streams
from migrator.cli.signals import SIGNALS, Stopped

USAGE_CHARS_MAX = 300
GARBAGE_AFTER = 200_000  # objects made, which no quick command makes: looking through all of them takes 10 ms each time

# name: (module, attribute, first line of help). Help is listed from here, so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "lab": ("migrator.cli.lab", "lab", "Make and end labs: nodes made of namespaces or virtual machines."),
    "nodes": ("migrator.cli.nodes", "nodes", "Show the nodes of the cluster, their room and state."),
    "probe": ("migrator.cli.nodes", "probe", "Ask every node for its facts; print or save a snapshot."),
    "guard": ("migrator.cli.guard", "guard", "Show who is under pressure, and plan who should move."),
    "compat": ("migrator.cli.compat", "compat", "Show which nodes are alike enough, check by check."),
    "cordon": ("migrator.cli.nodes", "cordon", "Mark a node: nothing new is placed there."),
    "uncordon": ("migrator.cli.nodes", "uncordon", "Take the mark off a node."),
    "ct": ("migrator.cli.ct", "ct", "Create, list, start, stop and destroy containers."),
    "template": ("migrator.cli.template", "template", "Build, list, push and remove what containers stand on."),
    "rehearse": ("migrator.cli.rehearse", "rehearse", "Show that a container could be moved; it stays where it is."),
    "migrate": ("migrator.cli.migrate", "migrate", "Move one running container to another node."),
    "plan": ("migrator.cli.planning", "plan", "Decide what moves where, and write it down."),
    "explain": ("migrator.cli.explain", "explain", "Say why a container moves as a plan has it."),
    "check": ("migrator.cli.check", "check", "Replay a plan file against the facts."),
    "apply": ("migrator.cli.plan", "apply", "Carry a plan file out."),
    "drain": ("migrator.cli.plan", "drain", "Empty nodes: plan, show, ask, move, prove them empty."),
    "runs": ("migrator.cli.runs", "runs", "List what was run, the newest first."),
    "show": ("migrator.cli.runs", "show", "Show one run: every move, its states and times."),
    "resume": ("migrator.cli.runs", "resume", "Finish a run whose orchestrator was ended."),
    "rollback": (
        "migrator.cli.runs",
        "rollback",
        "End a run: what is not committed goes back to its source.",
    ),
    "cancel": ("migrator.cli.runs", "cancel", "Stop a run that is under way, and end it as rollback does."),
    "settle": ("migrator.cli.settle", "settle", "Decide for a stuck container which copy goes on."),
    "import": ("migrator.cli.imports", "imports", "Make a snapshot of another system's file."),
    "export": ("migrator.cli.exports", "exports", "Write what a plan ends in: a snapshot, or another system's file."),
    "bench": ("migrator.cli.bench", "bench", "Solve published problems, and be judged beside published answers."),
    "sim": ("migrator.cli.sim", "sim", "Play migrations with faults over simulated nodes."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        from migrator.cli.hints import pasteable
        from migrator.errors import MigratorError

        try:
            return super().invoke(ctx)
        except MigratorError as error:  # it knows commands by their words, and nothing of this one's options
            error.args = (pasteable(str(error)), *error.args[1:])
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cluster", metavar="FILE", help="Cluster file (else $MIGRATOR_CLUSTER, else ./cluster.yaml).")
@click.option("--journal", metavar="FILE", help="Journal (else $MIGRATOR_JOURNAL, else in the state directory).")
@click.version_option(package_name="migrator")
@click.pass_context
def cli(ctx: click.Context, cluster: str | None, journal: str | None) -> None:
    """Move running containers between Linux hosts without their clients noticing."""
    ctx.obj = {"cluster": cluster, "journal": journal}


def main(arguments: list[str] | None = None) -> None:
    """The entry point: every error a person can cause ends here, as one line and an exit code.

    Without arguments it is the whole process, and takes its signals and streams too.
    """
    if arguments is not None:
        sys.exit(_run(arguments))
    streams.forgive()
    SIGNALS.install()
    gc.set_threshold(GARBAGE_AFTER, 20, 20)
    code = _run(sys.argv[1:])
    SIGNALS.ignore()
    gc.freeze()  # at its end Python looks for garbage in all that was loaded, which takes 50 ms; all of it goes anyway
    sys.exit(code)


def _run(words: list[str]) -> int:
    from migrator.cli.output import fail

    as_json = "--json" in words[: words.index("--") if "--" in words else None]
    try:
        try:
            return _command(words, as_json)
        finally:
            SIGNALS.over()
            streams.flush()
    except Stopped:
        return fail(f"stopped {SIGNALS.how_it_is}", 4, as_json)
    except OSError as error:
        return fail(f"what was to be said could not be written: {error}; see: migrator runs", 4, as_json=False)


def _command(words: list[str], as_json: bool) -> int:
    from migrator.cli.output import fail
    from migrator.errors import MigratorError

    try:
        result: Any = cli.main(words, prog_name="migrator", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        where = f" (see: {error.ctx.command_path} --help)" if error.ctx else ""
        message = error.format_message()  # which holds the word that was wrong, however long it is
        shown = message if len(message) <= USAGE_CHARS_MAX else f"{message[:USAGE_CHARS_MAX]}..."
        return fail(f"{shown}{where}", 2, as_json)
    except click.Abort:
        return fail("stopped before anything was done", 4, as_json)
    except MigratorError as error:
        return fail(str(error), error.exit_code, as_json)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if os.environ.get("MIGRATOR_DEBUG"):
            raise
        said = f"{type(error).__name__}: {error}"
        return fail(f"unexpected: {said}; please report it with MIGRATOR_DEBUG=1; see: migrator runs", 4, as_json)
