"""The facts that a plan ends in are a snapshot: plans go on from there, and what is done is not done again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from migrator.cli.hints import pasteable
from migrator.inventory import snapshot
from tests.cli.words import one_line
from tests.properties.fleets import cluster, ct, node

PLANS = Path(__file__).parents[2] / "plans"
RACK = PLANS / "rack.snapshot.json"


def where(facts: Path) -> dict[str, str]:
    return {c.name: node.name for node in snapshot.load(facts).nodes for c in node.containers}


def test_the_facts_after_a_plan_have_its_containers_where_it_takes_them_and_its_nodes_cordoned(migrator, tmp_path):
    plan, after = PLANS / "drain-n1.json", tmp_path / "after.json"
    facts = PLANS / "three-nodes.snapshot.json"
    code, out, err = migrator("export", "snapshot", plan, "--snapshot", facts, "-o", after)
    moves = json.loads(plan.read_text())["moves"]
    assert (code, out, err) == (0, f"{after}: the facts after {len(moves)} moves; n1 is cordoned\n", "")
    assert where(after) == where(facts) | {move["container"]: move["target"] for move in moves}
    assert snapshot.load(after).node("n1").cordon == "plan"
    code, out, _ = migrator("plan", "drain", "n1", "--snapshot", after, "--json")
    assert (code, json.loads(out)["moves"]) == (0, [])


def test_a_rebalance_after_a_rebalance_proposes_nothing(migrator, tmp_path):
    after = tmp_path / "after.json"
    assert migrator("export", "snapshot", PLANS / "rebalance-rack.json", "--snapshot", RACK, "-o", after)[0] == 0
    code, out, _ = migrator("plan", "rebalance", "--snapshot", after, "--json")
    assert (code, json.loads(out)["moves"]) == (0, [])


def test_what_a_plan_has_moved_is_brought_back_from_the_facts_after_it(migrator, tmp_path):
    after, back, home = (tmp_path / name for name in ("after.json", "back.json", "home.json"))
    plan = PLANS / "drain-r1-a-r1-b.json"
    assert migrator("export", "snapshot", plan, "--snapshot", RACK, "-o", after)[0] == 0
    code, out, _ = migrator("plan", "return", plan, "--snapshot", after)
    assert (code, "--uncordon r1-a to see" in out) == (3, True)
    free = ("--snapshot", after, "--uncordon", "r1-a", "--uncordon", "r1-b")
    assert migrator("plan", "return", plan, *free, "-o", back)[0] == 0
    assert migrator("check", back, *free)[0] == 0
    assert migrator("check", back, "--snapshot", after)[0] == 3
    assert migrator("export", "snapshot", back, *free, "-o", home)[0] == 0
    assert where(home) == where(RACK)
    assert [node.cordon for node in snapshot.load(home).nodes] == [node.cordon for node in snapshot.load(RACK).nodes]


def test_a_drain_goes_on_from_where_another_has_ended(migrator, tmp_path):
    facts, first, after = (tmp_path / name for name in ("facts.json", "first.json", "after.json"))
    snapshot.save(cluster(node("n1", ct("a")), node("n2", ct("b")), node("n3")), facts)
    assert migrator("plan", "drain", "n1", "--snapshot", facts, "-o", first)[0] == 0
    assert migrator("export", "snapshot", first, "--snapshot", facts, "-o", after)[0] == 0
    code, out, _ = migrator("plan", "drain", "n2", "--snapshot", after, "--json")
    assert code == 0
    assert {move["target"] for move in json.loads(out)["moves"]} == {"n3"}


def test_only_the_first_moves_are_done_where_that_is_asked(migrator, tmp_path):
    after = tmp_path / "after.json"
    plan = PLANS / "drain-n1.json"
    facts = PLANS / "three-nodes.snapshot.json"
    code, out, _ = migrator("export", "snapshot", plan, "--snapshot", facts, "--first", "1", "-o", after, "--json")
    assert code == 0
    assert json.loads(out)["moves"] == 1
    assert sum(there != where(facts)[name] for name, there in where(after).items()) == 1


def test_facts_that_a_plan_is_not_for_are_refused_and_nothing_is_written(migrator, fits, tmp_path):
    plan, after = PLANS / "drain-n1.json", tmp_path / "after.json"
    code, _, err = migrator("export", "snapshot", plan, "--snapshot", fits, "-o", after)
    assert (code, after.exists()) == (3, False)
    assert "the plan is for cluster" in one_line(err)
    assert migrator("export", "snapshot", plan, "--snapshot", fits, "-o", fits)[0] == 2
    facts = PLANS / "three-nodes.snapshot.json"
    code, _, err = migrator("export", "snapshot", plan, "--snapshot", facts, "--without", "n3", "-o", after)
    assert (code, after.exists()) == (3, False)
    assert "is not in these facts" in one_line(err)


def test_a_node_that_is_not_there_is_not_uncordoned(migrator, fits):
    code, _, err = migrator("plan", "drain", "n1", "--snapshot", fits, "--uncordon", "n9")
    assert (code, "there is no node 'n9'" in one_line(err)) == (2, True)


@pytest.mark.parametrize("more", [("--headroom", "7"), ("--policy", "rules of mine.yaml")])
def test_a_command_that_is_named_has_the_files_and_options_of_the_one_that_names_it(
    migrator, tmp_path, monkeypatch, more
):
    monkeypatch.chdir(tmp_path)
    Path("rules of mine.yaml").write_text("rules: []\n")
    facts = cluster(*(node(f"n{n}", ct(f"c{n}"), memory=500 << 20) for n in range(12)))
    snapshot.save(facts, tmp_path / "my facts.json")
    code, out, _ = migrator("plan", "reboot", "--all", "--snapshot", "my facts.json", *more)
    hint = next(line for line in out.splitlines() if "for the reasons: migrator" in line).partition("migrator ")[2]
    words = shlex.split(hint)
    assert (code, set(more) <= set(words)) == (3, True)
    assert migrator(*words)[0] == 3  # and not 2: it is understood, and the facts are found


def test_a_cluster_and_a_journal_that_were_named_are_named_again(migrator, tmp_path):
    code, _, err = migrator("--journal", tmp_path / "other db", "show", "none")
    assert (code, f"migrator --journal '{tmp_path / 'other db'}' runs" in one_line(err)) == (2, True)


def test_without_a_command_a_text_stays_as_it_is():
    assert pasteable("see: migrator runs") == "see: migrator runs"
