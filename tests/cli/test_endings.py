"""Whenever a signal comes, and whoever stops reading: a command ends with an exit code of its own, and in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migrator.journal.store import Journal

# A command whose work goes through a fleet of nothing; at one moment of its life it is sent a signal.
COMMAND = """
import asyncio, atexit, os, sys
import click
from migrator.cli import main, shared
from migrator.executor.fleet import Fleet
from migrator.inventory.cluster_file import ClusterFile, NodeEntry

number, moment, only_looks = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "looks"
ending = getattr(shared, sys.argv[4]) if sys.argv[4:] else shared.OF_RUNS

def at(now):
    if now == moment:
        os.kill(os.getpid(), number)

class Node:
    async def close(self):
        at("closing the connections")
        await asyncio.sleep(0.05)

async def work():
    async with Fleet(ClusterFile(name="c", nodes=[NodeEntry(name="n1")]), lambda entry: Node()) as fleet:
        at("at work")
        await asyncio.sleep(0.2)
        return 7

class Loop(asyncio.SelectorEventLoop):
    def close(self):
        at("closing the loop")
        super().close()
        at("after the loop")

class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        at("making the loop")
        return Loop()

@click.command()
@click.pass_context
def act(ctx):
    at("at the beginning")
    code = shared.run_async(work(), only_looks=only_looks, ending=ending)
    at("telling")
    click.echo("told")
    return code

asyncio.set_event_loop_policy(Policy())
main.cli.get_command = lambda ctx, name: act
atexit.register(at, "at exit")
sys.argv[1:] = ["act"]
main.main()
"""


def ended(number: signal.Signals, moment: str, looks: bool = False, *ending: str) -> tuple[int, str, str]:
    argv = [sys.executable, "-W", "error", "-c", COMMAND, str(int(number)), moment, "looks" if looks else "acts"]
    argv += ending
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@BOTH
@pytest.mark.parametrize(
    "moment",
    ["never", "closing the connections", "closing the loop", "after the loop", "telling", "at exit"],
)
def test_a_signal_after_the_work_changes_nothing_of_how_it_ended(number: signal.Signals, moment: str) -> None:
    assert ended(number, moment) == (7, "told\n", "")


@BOTH
def test_a_signal_at_the_beginning_ends_it_with_one_line(number: signal.Signals) -> None:
    assert ended(number, "at the beginning") == (4, "", "migrator: stopped before anything was done\n")


@BOTH
@pytest.mark.parametrize("moment", ["making the loop", "at work"])
def test_a_signal_at_work_stops_it_in_order_and_with_one_line(number: signal.Signals, moment: str) -> None:
    code, out, err = ended(number, moment)
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1
    assert "what was not committed is rolled back" in err


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("OF_MAKING", "what did not run yet is taken back; see: migrator ct list"),
        ("OF_CLONES", "the clone is taken back, its source goes on; see: migrator ct list"),
        ("OF_PUSHES", "what was sent is kept, and the same again goes on; see: migrator template list"),
    ],
)
def test_what_is_no_run_says_what_is_left_of_itself(ending: str, said: str) -> None:
    assert ended(signal.SIGINT, "at work", False, ending) == (4, "", f"migrator: interrupted: {said}\n")


@BOTH
@pytest.mark.parametrize("moment", ["making the loop", "at work", "telling"])
def test_what_only_looks_has_done_nothing_whenever_it_is_stopped(number: signal.Signals, moment: str) -> None:
    assert ended(number, moment, looks=True) == (4, "", "migrator: stopped before anything was done\n")


def test_under_nohup_a_closed_terminal_stops_nothing() -> None:
    argv = [sys.executable, "-W", "error", "-c", COMMAND, str(int(signal.SIGHUP)), "at work", "acts"]
    ignoring = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731  as nohup starts a program
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, preexec_fn=ignoring)
    assert (done.returncode, done.stdout) == (7, "told\n")


def process(*words: str, journal: Path, cluster: Path | None = None, **more: int) -> subprocess.Popen[str]:
    env = {**os.environ, "MIGRATOR_JOURNAL": str(journal), "MIGRATOR_CLUSTER": str(cluster)}
    argv = [sys.executable, "-c", "from migrator.cli.main import main; main()", *words]
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(argv, text=True, env=env, **more)


@BOTH
@pytest.mark.parametrize("words", [("migrate", "web", "--to", "n1"), ("drain", "n1", "--yes"), ("nodes",)])
def test_before_the_first_write_to_the_journal_it_ends_with_one_line_and_no_run(
    tmp_path: Path, number: signal.Signals, words: tuple[str, ...]
) -> None:
    cluster, journal = tmp_path / "cluster.yaml", tmp_path / "journal.db"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the connection, and says nothing
        port = silent.getsockname()[1]
        cluster.write_text(f"nodes: [{{name: n1, address: 127.0.0.1, ssh: {{port: {port}, user: root}}}}]\n")
        with process(*words, journal=journal, cluster=cluster) as command:
            silent.accept()
            time.sleep(0.1)
            command.send_signal(number)
            out, err = command.communicate(timeout=30)
    assert (command.returncode, out, len(err.splitlines())) == (4, "", 1)
    assert err.startswith("migrator: ")
    assert not journal.exists() or Journal(journal).runs() == []


@pytest.fixture
def long_journal(tmp_path: Path) -> Path:
    """A journal whose list of runs does not fit into a pipe."""
    journal = Journal(tmp_path / "journal.db")
    for number in range(1000):
        journal.create_run(f"r{number:04}", f"move a container with a name of some length, number {number}", {})
    journal.close()
    return tmp_path / "journal.db"


@pytest.mark.parametrize("words", [("runs", "-n", "1000"), ("runs", "-n", "1000", "--json"), ("show", "r0001"), ()])
def test_who_has_read_enough_costs_no_error(long_journal: Path, words: tuple[str, ...]) -> None:
    with process(*words, journal=long_journal) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        err = command.stderr.read()
    assert command.returncode == (0 if words else 2)
    assert "Broken" not in err
    assert "Traceback" not in err


def test_an_error_keeps_its_code_when_nobody_reads_what_it_says(long_journal: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with process("show", "nosuch", journal=long_journal, stderr=write) as command:
        os.close(write)
        out, _ = command.communicate(timeout=30)
    assert (command.returncode, out) == (2, "")


def test_a_move_goes_on_when_nobody_reads_of_its_progress() -> None:
    lines = "from migrator.cli import streams; import click, sys; streams.forgive(); sys.stdin.readline()"
    code = f"{lines}\nfor _ in range(3): click.echo('web: fenced', err=True)\nprint('went on'); streams.flush()"
    argv = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as command:
        assert command.stderr is not None
        command.stderr.close()
        command.stderr = None
        out, _ = command.communicate("\n", timeout=30)
    assert (command.returncode, out) == (0, "went on\n")
