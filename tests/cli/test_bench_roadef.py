"""migrator bench roadef: the challenge's files in, a valid assignment out; or one line, and nothing written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migrator.roadef.cost import evaluate, first_fault
from migrator.roadef.instance import parse_assignment, parse_model

# Three machines; the first is over its safety capacity with three processes, the third service has to stay near.
MODEL = """2
1 10
0 5
3
0 0 20 20 6 6 0 1 2
0 1 20 20 6 6 1 0 2
1 2 20 20 6 6 2 2 0
3
1 0
2 0
1 1 0
4
0 5 4 1
1 5 5 2
1 1 2 1
2 4 4 3
1
0 1 2
10
1 1 1
"""
START = "0 0 1 0\n"
BROKEN = [
    (
        "m",
        MODEL.replace("\n1 10\n0 5", "\n2 10\n0 5"),
        START,
        "m: line 2: resource 0: transient: '2' is not from 0 to 1",
    ),
    ("m", MODEL.replace("2 4 4 3", "9 4 4 3"), START, "m: line 16: process 3: service: '9' is not from 0 to 2"),
    ("m", MODEL.replace("1 1 0\n4", "1 1 7\n4"), START, "m: line 11: service 2: dependency: '7' is not from 0 to 2"),
    ("m", MODEL.replace("1 5 5 2", "1 5 -5 2"), START, "m: line 14: process 1: requirement: '-5' is not"),
    ("m", MODEL.replace("1 5 5 2", "1 5 x 2"), START, "m: line 14: process 1: requirement: 'x' is not"),
    ("m", MODEL.replace("6 6 0 1 2", "6 6 4 1 2"), START, "m: machine 0: a move to itself costs 4"),
    ("m", MODEL.replace("20 20 6 6 0", f"20 20 {2**41} 6 0"), START, "machine 0: safety capacity"),
    (
        "m",
        MODEL.replace("1 10\n0 5", f"1 {2**40}\n0 {2**40}").replace("20 20", f"20 {2**40}"),
        START,
        "not counted exactly",
    ),
    ("m", MODEL.replace("10\n1 1 1", "10\n1 1"), START, "m: ends before weights of moves"),
    ("m", MODEL + "7\n", START, "m: line 21: goes on after its end"),
    ("m", "", START, "m: ends before the number of resources"),
    ("m", "99999999\n1 1\n", START, "m: ends before its 99999999 resources"),
    ("a", MODEL, "0 0 1\n", "a: ends before machine of process 3"),
    ("a", MODEL, "0 0 1 3\n", "a: line 1: machine of process 3: '3' is not from 0 to 2"),
    ("a", MODEL, "0 0 1 0 0\n", "a: line 1: goes on after its end"),
    ("a", MODEL, "0 0 0 0\n", "a: breaks a rule already: service 1: two processes on one machine"),
    ("a", MODEL, "0 1 0 2\n", "a: breaks a rule already: service 2: a process is not near any of service 0"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "m").write_text(MODEL)
    (tmp_path / "a").write_text(START)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_answer_is_valid_cheaper_and_told_as_the_judge_counts_it(migrator, folder: Path):
    code, out, err = migrator("bench", "roadef", "m", "a", "--iterations", 2000, "-o", "new", "--json")
    assert (code, err) == (0, "")
    instance = parse_model(MODEL, "m")
    start = parse_assignment(START, "a", instance)
    places = parse_assignment((folder / "new").read_text(), "new", instance)
    assert first_fault(instance, start, places) is None
    told = json.loads(out)
    assert told["before"]["total"] == evaluate(instance, start, start).total
    assert told["after"]["total"] == evaluate(instance, start, places).total < told["before"]["total"]
    assert told["moved"] == sum(a != b for a, b in zip(start, places, strict=True))
    assert not told["interrupted"]
    assert [path.name for path in sorted(folder.iterdir())] == ["a", "m", "new"]


def test_equal_words_give_an_equal_answer_for_people_too(migrator, folder: Path):
    words = ("bench", "roadef", "m", "a", "--iterations", 640, "--seed", 3, "--workers", 2, "-o")
    first, second = (migrator(*words, name) for name in ("one", "two"))
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    assert first[1].splitlines()[0].replace("one", "two") == second[1].splitlines()[0]
    assert first[1].startswith("one: cost ")
    assert "1280 iterations of 2 workers" in first[1]


@pytest.mark.parametrize(("name", "model", "assignment", "said"), BROKEN, ids=[case[3][:60] for case in BROKEN])
def test_a_malformed_file_is_one_line_and_nothing_is_written(
    migrator, folder: Path, name: str, model: str, assignment: str, said: str
):
    (folder / "m").write_text(model)
    (folder / "a").write_text(assignment)
    code, out, err = migrator("bench", "roadef", "m", "a", "--iterations", 64, "-o", "new")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert not (folder / "new").exists()


def test_files_that_cannot_be_read_or_written_are_told_before_the_search(migrator, folder: Path):
    (folder / "binary").write_bytes(b"\xff\xfe")
    assert "none: cannot be read" in migrator("bench", "roadef", "none", "a", "-o", "new")[2]
    assert "binary: cannot be read: it is not text" in migrator("bench", "roadef", "m", "binary", "-o", "new")[2]
    code, _, err = migrator("bench", "roadef", "m", "a", "-o", "nowhere/new")
    assert (code, "there is no such directory" in err) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_writes_the_best_so_far(folder: Path, number: signal.Signals):
    words = ["bench", "roadef", "m", "a", "--seconds", "100", "-o", "new", "--json"]
    program = "from migrator.cli.main import main; main()"
    guard = f"if __name__ == '__main__':\n    {program}\n"
    (folder / "run.py").write_text(guard)
    with subprocess.Popen([sys.executable, "run.py", *words], stdout=subprocess.PIPE, text=True, cwd=folder) as running:
        while not _children(running.pid):  # the second worker is started once the search begins
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(number)
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert json.loads(out)["interrupted"]
    instance = parse_model(MODEL, "m")
    start = parse_assignment(START, "a", instance)
    assert first_fault(instance, start, parse_assignment((folder / "new").read_text(), "new", instance)) is None


def _children(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
    except OSError:
        return ""
