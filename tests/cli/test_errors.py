"""Whatever a person types: one line on stderr, the right exit code, never a traceback, and nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrator.cli.main import COMMANDS, _run
from migrator.errors import quoted

GOOD = "nodes:\n- {name: n1, address: 127.0.0.1, ssh: {port: 1, user: root}}\n"

MANY = [
    "--cluster",
    "{tmp}/good.yaml",
    "ct",
    "create",
    "a",
    "--node",
    "n1",
    "--template",
    "t",
    "--ip",
    "10.0.0.1/24",
    "--count",
    "2",
]
BAD = [
    (["bogus"], 2, "No such command 'bogus'"),
    (["--bogus"], 2, "No such option"),
    (["--cluster", "{tmp}/none.yaml", "nodes"], 2, "there is no such cluster file"),
    (["--cluster", "{tmp}", "nodes"], 2, "cannot be read"),
    (["--cluster", "{tmp}/binary", "nodes"], 2, "cannot be read"),
    (["--cluster", "{tmp}/good.yaml", "migrate", "a/b", "--to", "n1"], 2, "container name 'a/b'"),
    (["--cluster", "{tmp}/good.yaml", "migrate", "a'b", "--to", "n1"], 2, "container name"),
    (["--cluster", "{tmp}/good.yaml", "migrate", "", "--to", "n1"], 2, "container name ''"),
    (["--cluster", "{tmp}/good.yaml", "migrate", "web"], 2, "Missing option '--to'"),
    (["--cluster", "{tmp}/good.yaml", "migrate", "web", "--to", "n9"], 2, "no node 'n9'"),
    (["--cluster", "{tmp}/good.yaml", "migrate", "web", "--to", "n1", "--max-blackout", "-1"], 2, "--max-blackout"),
    ([*MANY, "--nic", "eth1=br1,10.1.0.7/24", "--", "true"], 2, "--nic: its addresses and ports are for one"),
    ([*MANY, "--publish", "8080:80", "--", "true"], 2, "leave out --count"),
    (["migrate", "web", "--to", "n1", "--mode", "restart", "--not-convergent", "go-on"], 2, "it is for pre-copy"),
    (["migrate", "web", "--to", "n1", "--mode", "pre-copy", "--stop-timeout", "1"], 2, "it is for restart"),
    (["drain", "n1", "--mode", "post-copy", "--not-convergent", "go-on"], 2, "nothing with --mode post-copy"),
    (["--cluster", "{tmp}/good.yaml", "plan", "drain", "n9"], 2, "no node 'n9'"),
    (["--cluster", "{tmp}/good.yaml", "check", "{tmp}/none.json"], 2, "none.json"),
    (["--cluster", "{tmp}/good.yaml", "apply", "{tmp}/good.yaml"], 2, "good.yaml"),
    (["--cluster", "{tmp}/good.yaml", "cordon", "n1"], 4, "node n1: cannot connect to 127.0.0.1"),
    (["--cluster", "{tmp}/good.yaml", "drain", "n1"], 2, "--yes"),
    (["--cluster", "{tmp}/good.yaml", "drain", "n1", "--yes"], 4, "no answer: node n1: cannot connect to 127.0.0.1"),
    (["--cluster", "{tmp}/good.yaml", "drain", "n1", "n9"], 2, "there is no node 'n9'"),
    (["--cluster", "{tmp}/none.yaml", "drain", "n1"], 2, "there is no such cluster file"),
    (["show", "nosuch"], 2, "there is no run 'nosuch'"),
    (["resume", "nosuch"], 2, "there is no run 'nosuch'"),
    (["rollback", ""], 2, "there is no run"),
    (["--journal", "{tmp}", "runs"], 2, "it is a directory"),
    (["--journal", "{tmp}/good.yaml", "runs"], 2, "not a journal"),
    (["--journal", "{tmp}/binary", "show", "r"], 2, "not a journal"),
    (["--journal", "{tmp}/good.yaml/journal.db", "runs"], 2, "good.yaml is not a directory"),
    (["--journal", "/dev/null", "runs"], 2, "it is no file"),
    (["lab", "up", "--name", "a/b"], 2, "--name"),
    (["lab", "up", "--nodes", "0"], 2, "--nodes"),
    (["lab", "up", "--memory", "lots"], 2, "--memory"),
    (["lab", "up", "--vms", "0"], 2, "--vms"),
    (["lab", "up", "--vms", "2", "--nodes", "2"], 2, "nodes of one kind"),
    (["lab", "up", "--vms", "2", "--kernels", "6.1,2.4"], 2, "there is no '2.4'"),
    (["lab", "up", "--vms", "1", "--kernels", "6.1,6.12"], 2, "names 2 for 1"),
    (["lab", "up", "--vms", "1", "--link-mbit", "10"], 2, "--link-mbit"),
    (["lab", "up", "--kernels", "6.1"], 2, "--kernels"),
    (["lab", "up", "--cgroups", "v2,v3"], 2, "there is no 'v3'; there are v2, hybrid, legacy"),
    (["lab", "up", "--vms", "2", "--cgroups", "hybrid"], 2, "--cgroups"),
    (["lab", "status", "--name", "nosuch"], 2, "there is no lab 'nosuch'"),
    (["ct", "start"], 2, "--all"),
    (["ct", "clone", "web", "web2", "--waive", "lsm"], 2, "--waive goes with --node"),
    (["ct", "set", "web", "--memory", "1G", "--waive", "lsm"], 2, "--waive goes with --move"),
    (["ct", "clone", "web", "web2", "--node", "n1", "--waive", "luck"], 2, "'luck' is no check of nodes"),
    (["sim", "--seed", "7", "--seeds", "2"], 2, "--seeds"),
    (["sim", "--seed", "7", "--seeds", "1000"], 2, "--seeds"),
    (["sim", "--seed", "7", "--start", "0"], 2, "--start"),
    (["sim", "--scenario", "{tmp}/good.yaml", "--seeds", "2"], 2, "--seeds"),
    (["sim", "--seed", "7", "--scenario", "{tmp}/good.yaml"], 2, "--scenario"),
    (["sim", "--trace"], 2, "--trace"),
]


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00nodes")
    monkeypatch.setenv("MIGRATOR_JOURNAL", str(tmp_path / "journal.db"))
    monkeypatch.setattr("sys.stdin", (tmp_path / "good.yaml").open())
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line(
    words: list[str], code: int, said: str, tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("{tmp}", str(tmp)) for word in words]
    assert _run(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("migrator: ")
    assert said in err


@pytest.mark.parametrize("words", [["show", "nosuch"], ["lab", "status", "--name", "nosuch"]])
def test_with_json_a_mistake_is_one_document(words: list[str], tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run([*words, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 2
    assert "nosuch" in document["error"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: migrator {command}")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["--help"]) == 0
    golden = Path(__file__).with_name("help.txt")
    assert capsys.readouterr().out == golden.read_text()


CREATE = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", "10.0.0.9")
LONG = "x" * 4000


@pytest.mark.parametrize(
    "words",
    [
        (*CREATE, "--env", "A=" + "\udcff" * 4000, "--", "true"),
        (*CREATE, "--env", LONG, "--", "true"),
        (*CREATE, "--label", LONG, "--", "true"),
        (*CREATE, "--memory", "9" * 4000, "--", "true"),
        (*CREATE, "--user", LONG, "--", "true"),
        (*CREATE, "--gateway", LONG, "--", "true"),
        (*CREATE, "--cpus", LONG, "--", "true"),
        (*CREATE, "--", "\udcff" * 4000),
        ("migrate", LONG, "--to", "n1"),
        ("cordon", LONG),
        ("show", LONG),
        (LONG,),
    ],
    ids=range(12),
)
def test_a_word_that_is_wrong_is_not_said_back_at_length(
    words: tuple[str, ...], tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["--cluster", str(tmp / "good.yaml"), *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert len(err) < 400


def test_what_is_quoted_is_whole_where_it_is_short() -> None:
    assert quoted("it's") == '"it\'s"'
    assert quoted("a" * 60) == f"'{'a' * 60}'"
    assert quoted("a" * 61) == f"'{'a' * 60}...' (61 characters)"
