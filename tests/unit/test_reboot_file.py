"""Files of reboot groups: what is written comes back, each plan in it is a plan file, and an edit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrator.errors import BadInput
from migrator.inventory import plan_file, reboot_file
from migrator.model.plan_policy import PlanPolicy
from migrator.model.reboot import Reboot
from migrator.planner.reboot import reboot
from tests.properties.fleets import GIB, cluster, ct, node


def made() -> Reboot:
    nodes = [node(f"n{n}", ct(f"c{n}", 100 + n, memory=3 * GIB)) for n in range(3)]
    fleet = cluster(*nodes, node("n3", ct("huge", memory=99 * GIB)), node("n4", error="no route"))
    return reboot(fleet, [n.name for n in fleet.nodes], "sha256:facts", PlanPolicy(), "--all")


def refusal_of(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        reboot_file.parse(text, "x.json")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_groups_and_refusals_come_back_from_their_file(tmp_path: Path):
    path = tmp_path / "x.json"
    reboot_file.save(made(), path)
    assert reboot_file.load(path) == made()
    assert {one.node for one in made().refused} == {"n3", "n4"}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_the_plan_of_each_group_is_a_plan_file_by_itself():
    for group, plan in zip(reboot_file.to_document(made())["groups"], made().groups, strict=True):
        assert plan_file.parse(json.dumps(group["plan"]), "x.json") == plan


def test_an_edit_anywhere_is_refused():
    text = reboot_file.dump(made())
    for old, new in (('"target": "n', '"target": "x'), ('"groups_min": 3', '"groups_min": 2'), ('"n4"', '"n5"')):
        assert old in text
        assert refusal_of(text.replace(old, new, 1)).endswith("the file was edited after planning; plan again")


def test_totals_that_are_not_those_of_the_plan_are_refused():
    document = reboot_file.to_document(made())
    document["groups"][0]["moves"] += 1
    sealed = json.dumps(document | {"integrity": plan_file.integrity(document)})
    assert refusal_of(sealed) == "x.json: groups.0: its totals are not those of its plans"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "holds one object"),
        ("{", "not JSON"),
        ('{"version": 2, "kind": "reboot"}', "version: is 2, this program reads 1"),
        ('{"version": 1, "kind": "reboot"}', "is missing"),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(text: str, said: str):
    assert said in refusal_of(text)


def test_a_plan_file_is_no_file_of_groups_and_the_other_way_round_and_each_says_what_to_do():
    assert refusal_of(plan_file.dump(made().groups[0])).startswith("x.json: is not a file of reboot groups, which")
    with pytest.raises(BadInput, match=r"x.json: holds the groups of a reboot.*migrator plan group"):
        plan_file.parse(reboot_file.dump(made()), "x.json")
