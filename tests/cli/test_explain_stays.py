"""explain of a container that a plan leaves where it is: why, and which violations stay with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.inventory import snapshot
from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import Standing
from migrator.model.rules import Pin, Rule, Spread, Window
from tests.properties.fleets import GIB, cluster, ct, node

WEB = {"app": "web"}
RACKS = [{"rack": "r1"}, {"rack": "r2"}, {"rack": "r3"}]


def told(migrator, path: Path, nodes: list[NodeFacts], rules: tuple[Rule, ...], words: str, name: str) -> list[str]:
    """The lines of explain of one container, of the plan that these words make of these nodes."""
    facts, plan = path / "facts.json", path / "plan.json"
    snapshot.save(replace(cluster(*nodes), policy=Standing(rules=rules)), facts)
    assert migrator("plan", *words.split(), "--snapshot", facts, "-o", plan)[0] == 0
    code, out, err = migrator("explain", plan, name, "--snapshot", facts)
    assert (code, err) == (0, "")
    document = json.loads(migrator("explain", plan, name, "--snapshot", facts, "--json")[1])
    assert document["stays"]["container"] == name
    return out.splitlines()


def fleet() -> list[NodeFacts]:
    return [
        node("n1", ct("a", 101)),
        node("n2", ct("b", 102), ct("old", 103, state="stopped", alive=False)),
        node("n3"),
    ]


@pytest.mark.parametrize(
    ("words", "name", "why"),
    [
        ("drain n1", "b", "drain n1 moves what is on n1, and n2 is not emptied"),
        ("move a=n3", "b", "it was not asked for"),
        ("move a=n3 b=n2", "b", "it is on n2 already, as asked for"),
        ("drain n2 --leave-stopped", "old", "it is stopped, and stopped containers of n2 stay there (--leave-stopped)"),
        ("consolidate", "b", "n2 is not emptied, and nothing moves between nodes that are kept"),
    ],
)
def test_why_it_stays_is_told_from_what_was_asked_for(migrator, tmp_path, words: str, name: str, why: str):
    lines = told(migrator, tmp_path, fleet(), (), words, name)
    assert f"why it stays: {why}" in lines


def test_rules_that_keep_a_container_are_named(migrator, tmp_path):
    rules = (Pin("b"), Window("b", ("mon 01:00-02:00",)))
    lines = told(migrator, tmp_path, fleet(), rules, "drain n1 --start 2026-03-02T12:00", "b")
    assert "why it stays: rule 1 (pin): it is not moved" in lines
    assert "why it stays: rule 2 (window): it moves only mon 01:00-02:00 UTC" in lines


def test_of_a_rebalance_the_score_says_why_its_move_is_not_made(migrator, tmp_path):
    nodes = [node("n1", ct("a", 101, memory=GIB), ct("b", 102, memory=GIB)), node("n2", ct("c", 103, memory=GIB))]
    (why,) = [line for line in told(migrator, tmp_path, nodes, (), "rebalance", "a") if line.startswith("why")]
    assert why.startswith("why it stays: score of the fleet: ")
    assert why.endswith(" with it on n2, the best of 1: no more even than it is")
    nodes = [node("n1", ct("a", 101), ct("b", 102)), node("n2")]
    words = "rebalance --min-gain 10000"
    (why,) = [line for line in told(migrator, tmp_path, nodes, (), words, "a") if line.startswith("why")]
    assert "of a node, and has to be worth its cost of " in why


@pytest.mark.parametrize("pinned", [False, True])
def test_a_violation_that_the_plan_leaves_is_told_with_what_would_mend_it(migrator, tmp_path, pinned: bool):
    nodes = [
        node("n1", ct("a", 101, labels=WEB), ct("b", 102, labels=WEB), labels=RACKS[0]),
        node("n2", ct("c", 103), labels=RACKS[1]),
        node("n3", labels=RACKS[2]),
    ]
    rules = (Spread("app", "rack", 1), *((Pin("a"),) if pinned else ()))
    lines = told(migrator, tmp_path, nodes, rules, "drain n2", "a")
    (line,) = [line for line in lines if line.startswith("rule 1 (spread) is broken and stays so: ")]
    assert ("no move of this one alone would mend it" in line) is pinned
    assert ("; mended with it on n3: migrator plan move " in line) is not pinned


def test_a_group_that_stays_together_is_told_too(migrator, tmp_path):
    group = {"anti-affinity": "web"}
    nodes = [node("n1", ct("a", 101, labels=group), ct("b", 102, labels=group)), node("n2", ct("c", 103)), node("n3")]
    lines = told(migrator, tmp_path, nodes, (), "drain n2", "a")
    text = "a, b of group anti-affinity=web are together on n1 and stay so; mended with it on n3"
    assert any(line.startswith(text) for line in lines)


def test_a_container_that_is_nowhere_is_an_error(migrator, fits, tmp_path):
    assert migrator("plan", "drain", "n1", "--snapshot", fits, "-o", tmp_path / "p.json")[0] == 0
    code, _, err = migrator("explain", tmp_path / "p.json", "nobody", "--snapshot", fits)
    assert (code, "'nobody' does not move in this plan, and is on no node" in err) == (2, True)


def test_of_a_file_of_reboot_groups_each_is_told_that_moves_the_container_and_why_none_does(migrator, tmp_path):
    nodes = [
        node("n1", ct("a", 101), labels=RACKS[0]),
        node("n2", ct("b", 102), labels=RACKS[0]),
        node("n3", ct("c", 103), labels=RACKS[1]),
    ]
    facts, groups = tmp_path / "facts.json", tmp_path / "groups.json"
    snapshot.save(replace(cluster(*nodes), policy=Standing(rules=(Pin("b"),))), facts)
    words = ("--snapshot", facts)
    assert migrator("plan", "reboot", "--label", "rack=r1", *words, "-o", groups)[0] == 3
    code, out, err = migrator("explain", groups, "a", "--snapshot", facts)
    assert (code, err) == (0, "")
    heads = [line for line in out.splitlines() if not line.startswith("  ")]
    assert heads == ["group 1:", "return of group 1:"]
    document = json.loads(migrator("explain", groups, "a", "--snapshot", facts, "--json")[1])
    assert [told["move"]["target"] for told in document["moves"]] == ["n2", "n1"]
    assert "b: stays on n2: n2 is in no group: " in migrator("explain", groups, "b", "--snapshot", facts)[1]
    assert migrator("explain", groups, "c", "--snapshot", facts)[1] == (
        "c: stays on n3: n3 is in no group: it was not asked for\n"
    )
    code, _, err = migrator("explain", groups, "nobody", "--snapshot", facts)
    assert (code, "moves with no group of these, and is on no node" in err) == (2, True)
