"""plan reboot on the command line: the table, the document, the file, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code, Finding
from migrator.checker.reboot import check_reboot
from migrator.cli.plan_reboot import folded_names
from migrator.inventory import plan_file, reboot_file, snapshot
from migrator.model import what_if
from tests.cli.test_plan_commands import one_line
from tests.properties.fleets import GIB, cluster, ct, node

PLANS = Path(__file__).parents[2] / "plans"
RACK = PLANS / "rack.snapshot.json"
GOLDEN = ("plan", "reboot", "--label", "rack=r1", "--leave-stopped", "--snapshot", str(RACK))


@pytest.fixture
def half_full(tmp_path):
    fleet = [node(f"n{n}", ct(f"c{n}", 100 + n, memory=3 * GIB), labels={"rack": "ab"[n % 2]}) for n in range(4)]
    snapshot.save(cluster(*fleet), tmp_path / "half.json")
    return tmp_path / "half.json"


@pytest.fixture
def parted(tmp_path):
    """Two on n0 that must not be together: a drain parts them, and one of them cannot come back."""
    apart = {"anti-affinity": "web"}
    pair = (ct("a", 20, labels=apart, memory=GIB), ct("b", 21, labels=apart, memory=GIB))
    fleet = [node("n0", *pair), *(node(f"n{n}", ct(f"c{n}", 100 + n, memory=3 * GIB)) for n in (1, 2, 3))]
    snapshot.save(cluster(*fleet), tmp_path / "parted.json")
    return tmp_path / "parted.json"


@pytest.fixture
def one_silent(tmp_path):
    snapshot.save(cluster(node("n1", ct("a")), node("n2"), node("n3", error="no route")), tmp_path / "silent.json")
    return tmp_path / "silent.json"


def test_the_printed_groups_of_an_example_are_the_golden_text(migrator):
    code, out, err = migrator(*GOLDEN)
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == (PLANS / "reboot-r1.txt").read_text().splitlines()


def test_the_groups_of_an_example_are_the_golden_file_and_hold_on_its_snapshot(migrator, tmp_path):
    code, out, err = migrator(*GOLDEN, "-o", tmp_path / "x.json")
    notes = [line for line in (PLANS / "reboot-r1.txt").read_text().splitlines() if line.startswith("note: ")]
    assert (code, err.splitlines()) == (0, notes)
    assert out.startswith(f"{tmp_path / 'x.json'}: reboot rack=r1: 2 groups of 4 nodes, fewer cannot do; ")
    assert (tmp_path / "x.json").read_bytes() == (PLANS / "reboot-r1.json").read_bytes()
    loaded, facts = reboot_file.load(PLANS / "reboot-r1.json"), snapshot.load(RACK)
    assert check_reboot(facts, loaded) == ()


def test_the_document_is_the_files_content(migrator):
    code, out, err = migrator(*GOLDEN, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((PLANS / "reboot-r1.json").read_text())


def test_the_plan_of_a_group_taken_out_of_the_document_passes_check(migrator, half_full, tmp_path):
    _, out, _ = migrator("plan", "reboot", "--all", "--snapshot", half_full, "--json")
    for group in json.loads(out)["groups"]:
        (tmp_path / "group.json").write_text(json.dumps(group["plan"]))
        code, said, _ = migrator("check", tmp_path / "group.json", "--snapshot", half_full)
        assert (code, "holds: reboot --all, group" in said) == (0, True)


def test_the_groups_hold_one_after_the_other_with_their_returns_though_not_all_can_come_back(
    migrator, parted, tmp_path
):
    facts, reboots, plan = parted, tmp_path / "reboot.json", tmp_path / "plan.json"
    code, out, err = migrator("plan", "reboot", "--all", "--snapshot", facts, "-o", reboots)
    assert code == 0, err
    assert "1 container cannot come back and will be elsewhere in the end: " in err
    assert "stays on n" in err
    assert "for all drains and returns one after the other, the reboots themselves not counted" in out
    loaded = reboot_file.load(reboots)
    for number, group in enumerate(loaded.groups, 1):
        marks = [word for name in group.empties for word in ("--uncordon", name)]
        for words, open_again in (((), ()), (("--return",), marks)):
            plan.unlink(missing_ok=True)
            assert migrator("plan", "group", reboots, number, *words, "-o", plan)[0] == 0
            code, out, err = migrator("check", plan, "--snapshot", facts, *open_again)
            assert (code, err) == (0, "")
            after = tmp_path / f"after-{number}{'-'.join(words)}.json"
            if plan_file.load(plan).moves:
                assert migrator("export", "snapshot", plan, "--snapshot", facts, "-o", after)[0] == 0
                opened = what_if.uncordoned(snapshot.load(after), group.empties)
                snapshot.save(opened, facts := tmp_path / f"open-{after.name}")


def test_check_replays_every_group_and_its_return_and_names_the_first_that_does_not_hold(migrator, parted, tmp_path):
    reboots = tmp_path / "reboot.json"
    migrator("plan", "reboot", "--all", "--snapshot", parted, "-o", reboots)
    code, out, err = migrator("check", reboots, "--snapshot", parted)
    assert (code, err) == (0, "")
    assert out.startswith(f"{reboots}: holds: reboot --all: ")
    assert "the checker passes every group and its return" in out
    loaded = reboot_file.load(reboots)
    facts = snapshot.load(parted)
    nodes = [replace(n, cordon="operator") if n.name not in loaded.groups[0].empties else n for n in facts.nodes]
    snapshot.save(cluster(*nodes), tmp_path / "marked.json")
    code, out, err = migrator("check", reboots, "--snapshot", tmp_path / "marked.json")
    assert code == 3
    assert "target-cordoned" in out
    assert "reboot --all: group 1: " in one_line(err)
    document = json.loads(migrator("check", reboots, "--snapshot", parted, "--json")[1])
    assert (document["findings"], document["plan"]) == ([], str(reboots))


def test_show_tells_a_line_for_each_group_with_its_return_and_who_stays_away(migrator, parted, tmp_path):
    reboots = tmp_path / "reboot.json"
    migrator("plan", "reboot", "--all", "--snapshot", parted, "-o", reboots)
    code, out, err = migrator("plan", "show", reboots)
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == ["GROUP", "NODES", "DRAIN", "RETURN", "AWAY"]
    count = len(reboot_file.load(reboots).groups)
    assert [line.split()[0] for line in lines[:count]] == [str(number) for number in range(1, count + 1)]
    assert sum(int(line.split()[-1]) for line in lines[:count]) == 1
    assert "checker" not in out
    document = json.loads(migrator("plan", "show", reboots, "--json")[1])
    assert [len(group["away"]) for group in document["groups"]].count(1) == 1
    code, out, err = migrator("plan", "show", reboots, "--svg", tmp_path / "x.svg")
    assert (code, out, "1 -o PLAN" in one_line(err)) == (2, "", True)


def test_a_group_is_taken_out_and_is_a_plan_file_that_every_command_takes(migrator, half_full, tmp_path):
    reboots, plan = tmp_path / "reboot.json", tmp_path / "group.json"
    migrator("plan", "reboot", "--all", "--snapshot", half_full, "-o", reboots)
    code, out, err = migrator("plan", "group", reboots, 2, "-o", plan)
    assert (code, err) == (0, "")
    assert plan_file.load(plan) == reboot_file.load(reboots).groups[1]
    assert migrator("check", plan, "--snapshot", half_full)[0] == 0
    for words, said in (((reboots, 9), "there is no group 9: it has 2"), ((plan, 1), "is not a file of reboot groups")):
        code, out, err = migrator("plan", "group", *words)
        assert (code, out, said in one_line(err)) == (2, "", True)
    assert migrator("plan", "group", reboots, 1, "-o", reboots)[0] == 2


def test_a_file_of_groups_given_for_a_plan_says_how_to_take_one_out(migrator, half_full, tmp_path):
    reboots = tmp_path / "reboot.json"
    migrator("plan", "reboot", "--all", "--snapshot", half_full, "-o", reboots)
    for words in (
        ("apply", reboots),
        ("plan", "return", reboots),
        ("export", "ganeti", reboots, "--of", half_full, "-o", tmp_path / "x"),
    ):
        code, out, err = migrator(*words)
        assert (code, out) == (2, "")
        assert "1 -o PLAN" in one_line(err)


def test_all_nodes_or_those_with_a_label_and_never_both(migrator, half_full):
    words = ("plan", "reboot", "--snapshot", half_full)
    nodes = [g["nodes"] for g in json.loads(migrator(*words, "--label", "rack=a", "--json")[1])["groups"]]
    assert nodes == [["n0", "n2"]]
    for wrong in ((), ("--all", "--label", "rack=a"), ("--label", "rack"), ("--label", "rack=z")):
        code, out, err = migrator(*words, *wrong)
        assert (code, out) == (2, "")
        one_line(err)


def test_a_node_that_is_refused_is_exit_3_and_the_other_groups_are_shown_and_written(migrator, one_silent, tmp_path):
    words = ("plan", "reboot", "--all", "--snapshot", one_silent)
    code, out, err = migrator(*words, "-o", tmp_path / "x.json")
    assert code == 3
    *notes, wrong = err.splitlines()
    assert notes == ["note: n3 did not answer and is left out", "note: n2 holds no container already"]
    assert wrong.endswith("1 of 3 nodes cannot be emptied (n3): drain n3: n3: no answer: no route")
    assert "n3       -          n3    no answer: no route" in out
    assert [plan.empties for plan in reboot_file.load(tmp_path / "x.json").groups] == [("n1",), ("n2",)]
    code, out, err = migrator(*words, "--json")
    document = json.loads(out)
    assert (code, document["exit_code"], len(document["groups"])) == (3, 3, 2)
    assert document["refused"] == [
        {"change": "", "node": "n3", "reasons": [{"node": "n3", "text": "no answer: no route"}], "refusals": []}
    ]


def test_without_any_group_no_file_is_written(migrator, tmp_path):
    snapshot.save(cluster(node("n1", ct("a"))), tmp_path / "one.json")
    code, out, err = migrator("plan", "reboot", "--all", "--snapshot", tmp_path / "one.json", "-o", tmp_path / "x.json")
    assert code == 3
    assert "there is no other node" in out
    assert "1 of 1 node cannot be emptied (n1)" in one_line(err)
    assert not (tmp_path / "x.json").exists()


def test_options_and_what_if_reach_every_group(migrator, half_full):
    words = ("plan", "reboot", "--all", "--snapshot", half_full, "--json")
    document = json.loads(migrator(*words, "--headroom", "10", "--parallel", "3", "--max-blackout", "6000")[1])
    assert document["policy"]["blackout_s_max"] == 6000
    assert [group["plan"]["policy"] for group in document["groups"]] == [document["policy"]] * len(document["groups"])
    assert reboot_file.parse(json.dumps(document), "x.json").policy.moves_per_node_max == 3
    document = json.loads(migrator(*words, "--without", "n3", "--add-node", "x1=n0")[1])
    assert sorted(name for group in document["groups"] for name in group["nodes"]) == ["n0", "n1", "n2", "x1"]
    assert "what if n3 did not exist" in document["groups"][0]["plan"]["notes"]


def test_groups_that_the_checker_does_not_pass_are_not_shown(migrator, half_full, tmp_path, monkeypatch):
    found = Finding(Code.OVER_LIMITS, "container c0: n2 is short of 1 CPU", "c0", "n2")
    monkeypatch.setattr("migrator.cli.plan_reboot.unproved", lambda *_: [found])
    words = ("plan", "reboot", "--all", "--snapshot", half_full)
    code, out, err = migrator(*words, "-o", tmp_path / "x.json")
    assert code == 3
    assert "over-limits" in out
    assert "GROUP" not in out
    assert "the checker does not pass it: container c0: n2 is short of 1 CPU" in one_line(err)
    assert not (tmp_path / "x.json").exists()
    document = json.loads(migrator(*words, "--json")[1])
    assert (document["exit_code"], [f["code"] for f in document["findings"]]) == (3, ["over-limits"])


def test_each_plan_given_to_the_checker_is_the_one_that_is_written(migrator, half_full, tmp_path, monkeypatch):
    checked = []

    def spy(facts, plan, policy):
        checked.append(plan_file.dump(plan))
        return check(facts, plan, policy)

    monkeypatch.setattr("migrator.checker.reboot.check", spy)
    migrator("plan", "reboot", "--all", "--snapshot", half_full, "-o", tmp_path / "x.json")
    made = reboot_file.load(tmp_path / "x.json")
    plans = (plan for pair in zip(made.groups, made.returns, strict=True) for plan in pair)
    assert checked == [plan_file.dump(plan) for plan in plans]


def test_long_lists_of_nodes_are_folded():
    assert folded_names(("a", "b")) == "a, b"
    assert folded_names([f"n{n:03}" for n in range(500)]) == "n000, n001, n002, n003, n004, n005 ... n499 (500 nodes)"


def test_how_memory_goes_is_told_once_of_all_groups(migrator, tmp_path):
    nodes = [node(f"n{n}", ct(f"c{n}", 20 + n, memory=3 * GIB), stream_out="", stream_in="") for n in range(4)]
    snapshot.save(cluster(*nodes), tmp_path / "facts.json")
    code, out, _ = migrator("plan", "reboot", "--all", "--snapshot", tmp_path / "facts.json")
    assert code == 0
    assert [line for line in out.splitlines() if "memory way" in line] == [
        "note: memory way: 8 of 8 moves counted as streamed, though a node does not tell whether it can "
        "(memory_way: images in the policy counts images instead)"
    ]
