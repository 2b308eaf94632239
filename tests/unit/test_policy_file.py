"""The policy file: what it says is the policy, and what is wrong with it is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import BadInput
from migrator.inventory import policy_file
from migrator.model.plan_policy import Headroom, Standing, Weights
from migrator.model.rules import (
    Affinity,
    Ban,
    Budget,
    Crowd,
    DomainsMin,
    Fence,
    Lonely,
    Pin,
    Priority,
    Spread,
    SurviveLoss,
    Window,
)

TEXT = """
headroom_percent: 10
headroom: {cpu: 0, disk: 20}
anti_affinity: [svc]
rules:
  - {rule: ban, containers: app=db, nodes: [n1, rack=r2]}
  - {rule: fence, containers: web-1, nodes: [disk=fast]}
  - {rule: pin, containers: app=licensed}
  - {rule: spread, label: app, domain: rack, at_most: 2}
  - {rule: containers-per-node, at_most: 40}
  - {rule: affinity, label: tier, domain: rack}
  - {rule: spread, label: svc, domain: rack, at_most: 1, continuous: false, soft: true, weight: 2}
  - {rule: survive-node-loss, resources: [memory]}
  - {rule: disruption-budget, label: app, at_most: 1}
  - {rule: priority, containers: app=db, level: 10}
  - {rule: window, containers: app=db, open: ["mon-fri 22:00-04:00"], zone: Europe/Berlin}
  - {rule: spread, label: app, domain: zone, at_least: 3}
  - {rule: lonely, containers: app=vault}
"""


def test_every_rule_is_read(tmp_path: Path):
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    assert policy_file.load(path) == Standing(
        headroom_percent=10,
        headroom=Headroom(cpu=0, disk=20),
        anti_affinity=("svc",),
        rules=(
            Ban("app=db", ("n1", "rack=r2")),
            Fence("web-1", ("disk=fast",)),
            Pin("app=licensed"),
            Spread("app", "rack", 2),
            Crowd(40),
            Affinity("tier", "rack"),
            Spread("svc", "rack", 1, continuous=False, soft=True, weight=2.0),
            SurviveLoss(resources=("memory",)),
            Budget("app", 1),
            Priority("app=db", 10),
            Window("app=db", ("mon-fri 22:00-04:00",), "Europe/Berlin"),
            DomainsMin("app", "zone", 3),
            Lonely("app=vault"),
        ),
    )


def test_an_empty_file_says_nothing(tmp_path: Path):
    path = tmp_path / "policy.yaml"
    path.write_text("")
    assert policy_file.load(path) == Standing()


def test_resources_are_weighed_and_those_that_are_not_named_count_once(tmp_path: Path):
    path = tmp_path / "policy.yaml"
    path.write_text("weights: {cpu: 16, containers: 0}")
    assert policy_file.load(path) == Standing(weights=Weights(cpu=16.0, containers=0.0))
    path.write_text("weights: {cpu: -1}")
    with pytest.raises(BadInput, match=r"weights.cpu: is to be at least 0, not -1"):
        policy_file.load(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rule: pin", "rule: glue", "rule 3: there is no 'glue'; there are 'ban', 'fence'"),
        ("at_most: 2", "at_most: 0", "rule 4 (spread): at_most: is to be at least 1, not 0"),
        ("[n1, rack=r2]", "[]", "rule 1 (ban): nodes: is to have at least 1 in it"),
        ("headroom_percent: 10", "head_room: 10", "y.yaml:2: head_room: there is no such key"),
        ("disk: 20", "disk: 99", "y.yaml:3: headroom.disk: is to be at most 90, not 99"),
        ("disk: 20", "inodes: 20", "headroom.inodes: there is no such key"),
        ("app=licensed", "'-x=y'", "rule 3 (pin): containers: holds what is not possible there, not"),
        ("rules:", "rules: [", "not YAML"),
        ("weight: 2", "weight: 0", "y.yaml:12: rule 7 (spread): weight: is to be"),
        ("weight: 2", "weight: 1e300", "weight: is to be a number; '1e300' is text, write 1.000000e+300"),
        ("weight: 2", "weight: '2'", "weight: is to be a number; '2' is text, write 2"),
        ("weight: 2", "weight: .nan", "y.yaml:12: rule 7 (spread): weight: is to be"),
        ("soft: true, weight: 2", "weight: 2", "rule 7 (spread): a weight is for a rule with soft: true"),
        ("[memory]", "[ram]", "rule 8 (survive-node-loss): resources.0: is to be 'cpu', 'memory' or 'disk', not 'ram'"),
        (
            "label: app, at_most: 1",
            "label: app, at_most: 1, soft: true",
            "rule 9 (disruption-budget): it costs nothing but time",
        ),
        ("level: 10", "level: -1", "rule 10 (priority): level"),
        (
            "zone: Europe/Berlin",
            "zone: Europe/Atlantis",
            "rule 11 (window): zone: there is no time zone 'Europe/Atlantis'",
        ),
        ("mon-fri 22", "mon-fri 25", "rule 11 (window): open.0: 'mon-fri 25:00-04:00': the hours of a window"),
        ("at_least: 3", "at_least: 1", "rule 12 (spread): at_least: is to be at least 2, not 1"),
        (
            "at_least: 3",
            "at_least: 3, at_most: 2",
            "rule 12 (spread): give at_most (containers in one domain) or",
        ),
        (", at_least: 3", "", "rule 12 (spread): give at_most"),
        ("label: tier", "tier: x", "rule 6 (affinity): "),
        ("rule: pin,", "rule: pin, continuous: false,", "y.yaml:8: rule 3 (pin): continuous: there is no such key"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, old: str, new: str, said: str):
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(BadInput) as caught:
        policy_file.load(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "rules: [{rule: pin, containers: a}]\nrules: [{rule: pin, containers: b}]\n",
            "y.yaml:2: rules: is there twice",
        ),
        ("rules:\n- {rule: pin, containers: a,\n   containers: b}\n", "y.yaml:3: containers: is there twice"),
        ("[" * 5000, "y.yaml: not YAML: one thing lies in another in another, too deep to be read"),
        ("headroom_percent: " + "9" * 5000 + "\n", "y.yaml: not YAML: a number in it has too many digits"),
        ("- a\n", "y.yaml:1: the file: is to be a mapping"),
        ("text", "y.yaml:1: the file: is to be a mapping"),
        ("rules: [pin]\n", "y.yaml:1: rule 1: is to be a mapping"),
        ("rules: [{containers: a}]\n", "y.yaml:1: rule 1: 'rule' is missing"),
    ],
)
def test_a_key_that_is_there_twice_or_no_mapping_is_refused_with_its_line(tmp_path: Path, text: str, said: str):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        policy_file.load(path)
    assert said in str(caught.value)


def test_what_was_said_comes_back_from_a_document(tmp_path: Path):
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    said = policy_file.load(path)
    assert policy_file.of_document(json.loads(json.dumps(policy_file.to_document(said))), "x") == said


def test_rules_of_a_second_file_come_after_those_of_the_first():
    first, second = Standing(rules=(Pin("a"),)), Standing(rules=(Pin("b"),))
    assert first.then(second).rules == (Pin("a"), Pin("b"))
    assert first.then(replace(second, replace_rules=True)).rules == (Pin("b"),)


def test_what_the_second_says_goes_before_and_what_it_does_not_say_stays():
    first = Standing(headroom_percent=10, blackout_s_max=3.0, headroom=Headroom(cpu=0, disk=20))
    assert first.then(Standing()) == first
    both = first.then(Standing(blackout_s_max=5.0, headroom=Headroom(disk=30)))
    assert both == Standing(headroom_percent=10, blackout_s_max=5.0, headroom=Headroom(cpu=0, disk=30))
    assert first.then(Standing(headroom_percent=50)).headroom is None  # said of all, later


def test_how_memory_goes_between_nodes_that_do_not_tell_is_one_of_two_ways(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("memory_way: images")
    assert policy_file.load(path) == Standing(memory_way="images")
    assert policy_file.of_document(policy_file.to_document(Standing(memory_way="images")), "x").memory_way == "images"
    path.write_text("memory_way: pigeon")
    with pytest.raises(BadInput, match=r":1: memory_way: "):
        policy_file.load(path)


@pytest.mark.parametrize("key", ["memory_way", "headroom_percent", "rules", "mode"])
def test_a_key_without_a_value_is_refused(tmp_path: Path, key: str):
    path = tmp_path / "policy.yaml"
    path.write_text(f"leave_stopped: true\n{key}:\n")
    with pytest.raises(BadInput, match=f"policy.yaml:2: {key}: is empty; give a value, or leave the line out"):
        policy_file.load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("headroom: {cpu: }", "1: headroom.cpu"),
        ("weights: {memory: }", "1: weights.memory"),
        ("rules:\n- {rule: spread, label: a, domain: b, at_most: , at_least: 2}", "2: rule 1 (spread): at_most"),
        ("rules:\n- {rule: pin, containers: a}\n-", "3: rule 2"),
        ("anti_affinity:\n- a\n-", "3: anti_affinity.1"),
    ],
)
def test_a_key_without_a_value_is_no_key_left_out(tmp_path, text, said):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as wrong:
        policy_file.load(path)
    assert str(wrong.value) == f"{path}:{said}: is empty; give a value, or leave the line out"
