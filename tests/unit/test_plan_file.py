"""Plan files: what is written comes back, and what was touched is refused with file, line and field."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.errors import BadInput
from migrator.inventory import plan_file
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy, Weights
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.drain import drain
from tests.properties.fleets import cluster, ct, node


def plan() -> Plan:
    fleet = cluster(node("n1", ct("a"), ct("b")), node("n2"), node("n3"))
    made = drain(fleet, ["n1"], "sha256:facts", PlanPolicy())
    assert isinstance(made, Plan)
    return made


def refusal_of(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        plan_file.parse(text, "x.json")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(old: str, new: str) -> str:
    text = plan_file.dump(plan())
    assert old in text
    return refusal_of(text.replace(old, new, 1))


def test_a_plan_comes_back_from_its_file(tmp_path: Path):
    path = tmp_path / "x.json"
    plan_file.save(plan(), path)
    assert plan_file.load(path) == plan()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_the_file_has_one_field_a_line_in_sorted_order():
    lines = plan_file.dump(plan()).splitlines()
    assert all(line.count('": ') <= 1 for line in lines)
    top = [line.split('"')[1] for line in lines if line.startswith(' "')]
    assert top == sorted(top)


def test_an_edited_target_is_refused():
    assert edited('"target": "n2"', '"target": "n3"').endswith(
        "integrity: does not match: the file was edited after planning; plan again"
    )


def test_a_move_that_was_taken_out_is_refused():
    document = json.loads(plan_file.dump(plan()))
    del document["moves"][0]
    assert "edited after planning" in refusal_of(json.dumps(document))


def test_another_layout_of_the_same_content_is_the_same_plan():
    assert plan_file.parse(json.dumps(json.loads(plan_file.dump(plan()))), "x.json") == plan()


def test_whole_numbers_may_be_written_without_a_point_as_jq_does():
    text = plan_file.dump(plan())
    assert '"blackout_s_max": 15.0' in text
    assert plan_file.parse(text.replace('"blackout_s_max": 15.0', '"blackout_s_max": 15'), "x.json") == plan()
    assert "edited after planning" in edited('"blackout_s_max": 15.0', '"blackout_s_max": 16')


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"target": "n2"', '"tarket": "n2"', "moves.0.tarket (move of a): there is no such key"),
        ('"target": "n2"', '"target": "n2", "more": 1', "moves.0.more (move of a): there is no such key"),
        (',\n   "target": "n2"', "", "moves.0.target (move of a): is missing"),
        ('"target": "n2"', '"target": 7', "moves.0.target (move of a): is to be text, not 7"),
        ('"target": "n2"', '"target": "n2; reboot"', "moves.0.target (move of a): "),
        ('"container": "a"', '"container": "../a"', "moves.0.container: "),
        ('"generation": 2', '"generation": -2', "moves.0.generation (move of a): "),
        ('"generation": 2', '"generation": true', "moves.0.generation (move of a): "),
        ('"blackout_s_max": 15.0', '"blackout_s_max": NaN', "policy.blackout_s_max: "),
        ('"cpu_milli": 100', '"cpu_milli": "100"', "moves.0.demand.cpu_milli (move of a): "),
        ('"version": 1', '"version": 2', "version: is 2, this program reads 1"),
        ('"moves_per_node_max": 2', '"moves_per_node_max": 0', "policy.moves_per_node_max: "),
        ('"intent": ', '"cluster": "x", "intent": ', "cluster: is there twice"),
    ],
)
def test_a_wrong_field_is_named(old: str, new: str, said: str):
    assert said in edited(old, new)


def test_the_line_of_a_wrong_field_is_named():
    text = plan_file.dump(plan()).replace('"target": "n2"', '"target": 7', 1)
    line = next(number for number, words in enumerate(text.splitlines(), 1) if '"target": 7' in words)
    assert refusal_of(text).startswith(f"x.json:{line}: moves.0.target (move of a): ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x.json:1: not JSON: "),
        ('{\n "version": 1,\n oops', "x.json:3: not JSON: "),
        ("[]", "x.json:1: a plan file holds one object"),
        ("{}", "x.json:1: version: is None, this program reads 1"),
        ('{"version": 1}', "is missing"),
        ("[" * 100_000, "x.json: not a plan: "),
        ('{"version": ' + "9" * 5000 + "}", "x.json: not a plan: "),
    ],
    ids=["empty", "cut", "list", "object", "bare", "deep", "digits"],
)
def test_what_is_no_plan_is_refused_in_one_line(text: str, said: str):
    assert said in refusal_of(text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "binary"):
        with pytest.raises(BadInput, match="cannot be read"):
            plan_file.load(tmp_path / name)


def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot be written"):
        plan_file.save(plan(), tmp_path / "no" / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_made_under_the_longest_pause_that_may_be_asked_for_is_read_again():
    made = plan()
    patient = replace(made, policy=replace(made.policy, blackout_s_max=86_400.0))
    assert plan_file.parse(plan_file.dump(patient), "x").policy.blackout_s_max == 86_400.0


def test_weights_are_in_the_file_only_where_something_is_weighed():
    made = plan()
    weighed = replace(made, policy=replace(made.policy, weights=Weights(cpu=16.0)))
    assert plan_file.parse(plan_file.dump(weighed), "x") == weighed
    assert '"weights"' in plan_file.dump(weighed)
    assert '"weights"' not in plan_file.dump(made)


def with_a_stop_over() -> Plan:
    first = plan().moves[0]
    second = replace(first, source=first.target, target="n3", waits_for=("a",), leg=2)
    return replace(plan(), moves=(first, second))


def test_a_container_that_moves_twice_comes_back_from_its_file_with_its_second_move_by_name():
    made = with_a_stop_over()
    assert plan_file.parse(plan_file.dump(made), "x.json") == made
    assert [move.name for move in made.moves] == ["a", "a#2"]
    assert made.move("a#2").target == "n3"


def test_a_first_move_has_no_leg_in_its_file_so_that_older_plans_are_plans():
    assert '"leg"' not in plan_file.dump(plan())
    assert plan_file.dump(with_a_stop_over()).count('"leg": 2') == 1


@pytest.mark.parametrize("name", ["a#1", "a#02", "a#", "#2", "a#2#2"])
def test_a_wait_for_what_no_move_is_called_is_refused(name: str):
    text = plan_file.dump(with_a_stop_over()).replace('    "a"\n', f'    "{name}"\n')
    assert "moves.1.waits_for.0 (move of a): " in refusal_of(text)


def test_a_plan_from_before_pauses_were_told_is_read_and_kept_to_one_pause_a_link():
    document = json.loads(plan_file.dump(plan()))
    for move in document["moves"]:
        del move["pause"]
    del document["policy"]["overlapping_pauses"]
    document["integrity"] = plan_file.integrity(document)
    old = plan_file.parse(json.dumps(document), "x.json")
    assert [move.pause for move in old.moves] == [None, None]
    assert not old.policy.overlapping_pauses
    found = check(cluster(node("n1", ct("a"), ct("b")), node("n2"), node("n3")), old, old.policy)
    assert [finding.text for finding in found] == ["the plan does not tell when its containers are paused"]
    assert all(finding.code.drifts for finding in found)


def test_the_rates_that_a_plan_was_estimated_with_come_back_from_its_file():
    fleet = cluster(node("n1", ct("a")), node("n2"))
    slow = replace(DEFAULT_RATES["stream"], send_bytes_per_s=10_000_000, runs=4)
    learnt = {"n1": {"n2": slow, "n9": slow}, "n2": {"n1": slow}}
    made = drain(fleet, ["n1"], "sha256:facts", PlanPolicy(learnt=learnt))
    assert isinstance(made, Plan)
    assert made.policy.learnt == {"n1": {"n2": slow}}  # what its moves rest on, and no more
    assert plan_file.parse(plan_file.dump(made), "x.json") == made
    assert "learnt" not in json.loads(plan_file.dump(plan()))["policy"]
    assert check(fleet, made, made.policy) == ()
    (default,) = drain(fleet, ["n1"], "sha256:facts", PlanPolicy()).moves  # type: ignore[union-attr]
    assert made.moves[0].estimate.blackout_s > default.estimate.blackout_s + 5


def test_a_pause_that_is_predicted_too_long_by_what_was_learnt_is_planned_elsewhere_and_found():
    fleet = cluster(node("n1", ct("a")), node("n2"), node("n3"))
    crawling = {"n1": {"n2": replace(DEFAULT_RATES["stream"], send_bytes_per_s=1_000_000, runs=4)}}
    made = drain(fleet, ["n1"], "sha256:facts", PlanPolicy(learnt=crawling))
    assert isinstance(made, Plan)
    assert [move.target for move in made.moves] == ["n3"]
    there = replace(made, moves=tuple(replace(move, target="n2") for move in made.moves))
    found = check(fleet, there, PlanPolicy(learnt=crawling))
    assert Code.PAUSE_TOO_LONG in {finding.code for finding in found}


def test_a_plan_from_before_memory_was_streamed_is_of_images():
    made = drain(cluster(node("n1", ct("a")), node("n2")), ["n1"], "sha256:facts", PlanPolicy())
    assert isinstance(made, Plan)
    document = json.loads(plan_file.dump(made))
    assert document["moves"][0].pop("memory_way") == document["policy"].pop("memory_way") == "stream"
    rates = {"pause_s": 0.4, "setup_s": 1.0, "runs": 3, "files_bytes_per_s": 1, "send_bytes_per_s": 7}
    document["policy"]["learnt"] = {"n1": {"n2": rates | {"dump_bytes_per_s": 8, "restore_bytes_per_s": 9}}}
    document["integrity"] = plan_file.integrity(document)
    old = plan_file.parse(json.dumps(document), "x.json")
    assert (old.moves[0].memory_way, old.policy.memory_way, old.policy.learnt["n1"]["n2"].way) == ("images",) * 3
    assert old.policy.rates("n1", "n2", "stream") == DEFAULT_RATES["stream"]


def test_a_way_of_memory_that_there_is_not_is_refused():
    text = plan_file.dump(plan()).replace('"memory_way": "stream"', '"memory_way": "pigeon"', 1)
    assert "memory_way (move of a): " in refusal_of(text)


def test_a_file_that_an_earlier_version_wrote_is_read_and_an_edit_of_it_is_not():
    document = json.loads(plan_file.dump(plan()))
    assert document["policy"]["blackout_s_max"] == 15.0
    del document["integrity"]
    content = json.dumps(document, sort_keys=True, separators=(",", ":"))  # 15.0 and 15 were two things then
    document["integrity"] = f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
    assert document["integrity"] != plan_file.integrity(document)
    assert plan_file.parse(json.dumps(document), "x.json") == plan()
    document["moves"][0]["target"] = "n9"
    assert "edited after planning" in refusal_of(json.dumps(document))
