"""The examples under plans/: each loads, and planning and printing them gives the files beside them to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.cli.main import main
from migrator.inventory import cluster_file, plan_file, snapshot

PLANS = Path(__file__).parents[2] / "plans"
THREE = ["--snapshot", str(PLANS / "three-nodes.snapshot.json")]
RACK = ["--snapshot", str(PLANS / "rack.snapshot.json"), "--leave-stopped"]
PLANNED = [
    ("drain-n1", ["plan", "drain", "n1", *THREE], "three-nodes"),
    ("drain-r1-a-r1-b", ["plan", "drain", "r1-b", "r1-a", *RACK], "rack"),
    ("rebalance-rack", ["plan", "rebalance", *RACK], "rack"),
]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def stripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.cluster.yaml")), ids=lambda path: path.name)
def test_every_example_cluster_file_loads_and_has_the_nodes_of_its_snapshot(path: Path):
    declared = cluster_file.load(path)
    facts = snapshot.load(path.with_name(path.name.replace(".cluster.yaml", ".snapshot.json")))
    assert facts.name == declared.name
    assert [node.name for node in facts.nodes] == sorted(node.name for node in declared.nodes)
    assert all(node.link == declared.link(declared.entry(node.name)) for node in facts.nodes)


@pytest.mark.parametrize(("name", "words", "fleet"), PLANNED, ids=lambda value: value if isinstance(value, str) else "")
def test_the_plan_of_an_example_is_the_golden_file(name: str, words: list[str], fleet: str, capsys, tmp_path: Path):
    code, out, err = run(capsys, *words, "-o", str(tmp_path / "x.json"))
    notes = json.loads((PLANS / f"{name}.json").read_text())["notes"]
    assert (code, err) == (0, "".join(f"note: {note}\n" for note in notes))
    assert out.startswith(f"{tmp_path / 'x.json'}: {words[1]}")
    assert (tmp_path / "x.json").read_bytes() == (PLANS / f"{name}.json").read_bytes()


@pytest.mark.parametrize(("name", "words", "fleet"), PLANNED, ids=lambda value: value if isinstance(value, str) else "")
def test_the_printed_plan_of_an_example_is_the_golden_text(name: str, words: list[str], fleet: str, capsys):
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert stripped(out) == (PLANS / f"{name}.txt").read_text()


@pytest.mark.parametrize(("name", "words", "fleet"), PLANNED, ids=lambda value: value if isinstance(value, str) else "")
def test_the_golden_plan_holds_on_its_snapshot(name: str, words: list[str], fleet: str, capsys):
    loaded = plan_file.load(PLANS / f"{name}.json")
    facts = snapshot.load(PLANS / f"{fleet}.snapshot.json")
    assert loaded.snapshot == snapshot.digest(facts)
    assert check(facts, loaded, loaded.policy) == ()
    code, out, _ = run(
        capsys, "check", str(PLANS / f"{name}.json"), "--snapshot", str(PLANS / f"{fleet}.snapshot.json")
    )
    assert code == 0
    assert f": holds: {words[1]}" in out


def test_a_refused_example_says_what_each_node_lacked(capsys):
    code, out, err = run(capsys, "plan", "drain", "n1", "n2", *THREE)
    assert code == 3
    assert stripped(out + err) == stripped((PLANS / "drain-n1-n2.refused.txt").read_text())


@pytest.mark.parametrize("seed", ["0", "1", "77"])
@pytest.mark.parametrize("name", ["drain-r1-a-r1-b", "rebalance-rack"])
def test_the_order_of_hashes_changes_nothing(name: str, seed: str):
    words = [*next(words for other, words, _ in PLANNED if other == name), "--json"]
    made = subprocess.run(
        [sys.executable, "-c", f"from migrator.cli.main import main; main({words!r})"],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    plan = plan_file.parse(made.stdout, "stdout")
    assert plan_file.dump(plan) == (PLANS / f"{name}.json").read_text()


def test_the_papers_name_every_field_and_every_finding():
    text = (PLANS.parent / "docs" / "plan-format.md").read_text()
    document = json.loads((PLANS / "drain-n1.json").read_text())
    words = [
        *document,
        *document["policy"],
        *document["moves"][0],
        *(f"estimate.{k}" for k in document["moves"][0]["estimate"]),
    ]
    assert [word for word in [*words, *Code] if f"`{word}`" not in text and word not in ("estimate",)] == []


def test_the_move_in_the_papers_is_one_of_the_golden_plan():
    text = (PLANS.parent / "docs" / "plan-format.md").read_text()
    shown = "".join(line[4:] + "\n" for line in text.splitlines() if line.startswith("    "))
    assert (
        json.loads(shown[: shown.index("\n}") + 2]) in json.loads((PLANS / "drain-r1-a-r1-b.json").read_text())["moves"]
    )
