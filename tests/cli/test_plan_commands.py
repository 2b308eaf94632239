"""plan, check, apply and drain on the command line: exit codes, one line for each mistake, one document for --json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.demo.fleets import fleet_text
from migrator.inventory import plan_file, snapshot
from migrator.journal.events import Phase
from migrator.journal.store import Journal, Migration
from migrator.model.plan_policy import Standing
from migrator.model.rules import Ban
from migrator.model.what_if import after
from migrator.protocol.states import FORWARD, State
from tests.properties.fleets import GIB, MIB, cluster, ct, node
from tests.unit.test_imports import GANETI

PLANS = Path(__file__).parents[2] / "plans"
THREE = str(PLANS / "three-nodes.snapshot.json")
FIT = cluster(node("n1", ct("a"), ct("b")), node("n2"), node("n3"))
TIGHT = cluster(node("n1", ct("a"), ct("b")), node("n2", memory=300 * MIB), node("n3", cordon="operator"))


BEFORE_COMMIT = FORWARD[1 : FORWARD.index(State.COMMITTED)]


@pytest.fixture
def fits(tmp_path):
    snapshot.save(FIT, tmp_path / "fits.json")
    return tmp_path / "fits.json"


@pytest.fixture
def tight(tmp_path):
    snapshot.save(TIGHT, tmp_path / "tight.json")
    return tmp_path / "tight.json"


def one_line(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("migrator: ")
    return lines[0]


def test_planning_from_a_snapshot_needs_no_cluster_file(migrator, fits):
    code, out, err = migrator("plan", "drain", "n1", "--snapshot", fits, "--json")
    assert (code, err) == (0, "")
    assert [move["container"] for move in json.loads(out)["moves"]] == ["a", "b"]


def test_a_refused_plan_is_exit_3_and_writes_nothing(migrator, tight, tmp_path):
    code, out, err = migrator("plan", "drain", "n1", "--snapshot", tight, "-o", tmp_path / "x.json")
    assert code == 3
    assert "n3    cordoned (by operator)" in out
    assert "drain n1: 2 containers cannot move: a (n2: memory 135.0 MiB short (keeping 5 % free)" in one_line(err)
    assert not (tmp_path / "x.json").exists()


def test_a_refusal_as_json_is_one_document_with_every_reason(migrator, tight):
    code, out, _ = migrator("plan", "drain", "n1", "--snapshot", tight, "--json")
    document = json.loads(out)
    assert (code, document["exit_code"]) == (3, 3)
    assert [stuck["container"] for stuck in document["refusals"]] == ["a", "b"]
    assert {reason["node"] for reason in document["refusals"][0]["reasons"]} == {"n2", "n3"}


def test_a_node_that_does_not_exist_is_exit_2_and_lists_those_there_are(migrator, fits):
    code, _, err = migrator("plan", "drain", "n7", "--snapshot", fits)
    assert code == 2
    assert "there is no node 'n7' in cluster 'test'; it has n1, n2, n3" in one_line(err)


def test_draining_every_node_is_refused(migrator, fits):
    code, _, err = migrator("plan", "drain", "n1", "n2", "n3", "--snapshot", fits)
    assert code == 3
    assert "there is no other node" in one_line(err)


def test_check_finds_a_container_that_moved_and_says_where(migrator, fits, tmp_path):
    migrator("plan", "drain", "n1", "--snapshot", fits, "-o", tmp_path / "x.json")
    snapshot.save(cluster(node("n1", ct("b")), node("n2"), node("n3", ct("a"))), tmp_path / "later.json")
    code, out, err = migrator("check", tmp_path / "x.json", "--snapshot", tmp_path / "later.json")
    assert code == 3
    assert "container-moved" in out
    assert "container a is on n3, not on n1 as planned" in one_line(err)
    code, out, _ = migrator("check", tmp_path / "x.json", "--snapshot", tmp_path / "later.json", "--json")
    assert (code, json.loads(out)["findings"][0]["code"]) == (3, "container-moved")


def test_check_of_a_good_plan_as_json_has_no_findings(migrator, fits, tmp_path):
    migrator("plan", "drain", "n1", "--snapshot", fits, "-o", tmp_path / "x.json")
    code, out, _ = migrator("check", tmp_path / "x.json", "--snapshot", fits, "--json")
    assert (code, json.loads(out)["findings"]) == (0, [])


def test_options_reach_the_plan_and_travel_in_it(migrator, fits):
    words = ["--anti-affinity", "app", "--headroom", "10", "--parallel", "3", "--max-blackout", "9"]
    _, out, _ = migrator("plan", "drain", "n1", "--snapshot", fits, "--json", *words)
    assert json.loads(out)["policy"] == {
        "anti_affinity": ["app"],
        "blackout_s_max": 9.0,
        "headroom": {"cpu": None, "disk": None, "memory": None},
        "headroom_percent": 10,
        "leave_stopped": False,
        "moves_per_node_max": 3,
        "overlapping_pauses": False,
        "rules": [],
        "start": "",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ((PLANS / "drain-n1.json").read_text().replace('"target": "n3"', '"target": "n2"', 1), "edited after planning"),
        ((PLANS / "drain-n1.json").read_text().replace('"stays"', '"leaves"', 1), "leaves: there is no such key"),
    ],
    ids=["cut", "edited", "unknown-key"],
)
@pytest.mark.parametrize("command", [["check", "--snapshot", THREE], ["apply"]], ids=["check", "apply"])
def test_a_damaged_plan_file_is_exit_2_in_one_line_naming_the_file(migrator, tmp_path, text, said, command):
    path = tmp_path / "x.json"
    path.write_text(text)
    code, out, err = migrator(*command, path)
    assert (code, out) == (2, "")
    assert said in one_line(err)
    assert str(path) in one_line(err)


def test_apply_without_a_cluster_file_is_exit_2(migrator):
    code, _, err = migrator("apply", PLANS / "drain-n1.json")
    assert code == 2
    assert "there is no such cluster file" in one_line(err)


def test_drain_without_a_terminal_asks_for_yes(migrator, tmp_path):
    (tmp_path / "none.yaml").write_text("nodes: [{name: n1, address: 127.0.0.1, ssh: {port: 1, user: root}}]\n")
    code, _, err = migrator("drain", "n1")
    assert code == 2
    assert "use --yes" in one_line(err)


def test_a_container_larger_than_any_node_is_refused_with_the_shortfall(migrator, tmp_path):
    big = cluster(node("n1", ct("big", disk=200 * GIB)), node("n2"))
    snapshot.save(big, tmp_path / "big.json")
    code, _, err = migrator("plan", "drain", "n1", "--snapshot", tmp_path / "big.json")
    assert code == 3
    assert "n2: disk 105.0 GiB short (keeping 5 % free)" in one_line(err)


def test_an_imported_file_is_planned_with_by_the_marks_in_it(migrator, tmp_path):
    fleet, saved = tmp_path / "fleet.data", tmp_path / "fleet.json"
    fleet.write_text(GANETI)
    code, out, _ = migrator("import", "ganeti", fleet, "-o", saved, "--link", "10Gbit")
    assert (code, out.splitlines()[0]) == (0, f"{saved}: 3 nodes, 4 containers")
    code, out, _ = migrator("plan", "drain", "--cordoned", "--max-blackout", "600", "--snapshot", saved, "--json")
    assert (code, json.loads(out)["empties"]) == (0, ["n1"])
    assert migrator("import", "ganeti", tmp_path / "none", "-o", saved)[0] == 2
    assert "--link: not a link speed" in one_line(migrator("import", "ganeti", fleet, "-o", saved, "--link", "x")[2])


def test_a_plan_is_exported_as_the_file_that_its_fleet_was_imported_from(migrator, tmp_path):
    fleet, saved, plan, end = (tmp_path / name for name in ("fleet.data", "fleet.json", "plan.json", "end.data"))
    fleet.write_text(GANETI)
    assert migrator("import", "ganeti", fleet, "-o", saved)[0] == 0
    drain = ("plan", "drain", "--cordoned", "--max-blackout", "600", "--snapshot", saved, "-o", plan)
    assert migrator(*drain)[0] == 0
    code, out, _ = migrator("export", "ganeti", plan, "--of", fleet, "-o", end)
    assert (code, out) == (0, f"{end}: {fleet} after 2 moves\n")
    assert "|n1||" not in end.read_text()
    code, out, _ = migrator("export", "ganeti", plan, "--of", fleet, "--first", "0", "-o", end, "--json")
    assert (code, json.loads(out)) == (0, {"file": str(end), "moves": 0})
    assert end.read_text() == GANETI
    moved = tmp_path / "moved.data"
    moved.write_text(GANETI.replace("|n1||", "|n2||"))
    code, _, err = migrator("export", "ganeti", plan, "--of", moved, "-o", end)
    assert (code, end.read_text()) == (3, GANETI)
    assert "give the file that the plan's snapshot was imported from" in one_line(err)
    assert migrator("export", "ganeti", plan, "--of", tmp_path / "none", "-o", end)[0] == 2


def test_a_failure_domain_is_evacuated_by_its_label(migrator, tmp_path):
    racks = [node(f"{rack}{n}", ct(f"c-{rack}{n}"), labels={"rack": rack}) for rack in "ab" for n in (1, 2)]
    snapshot.save(cluster(*racks), tmp_path / "racks.json")
    words = ("plan", "evacuate", "--label", "rack=a", "--snapshot", tmp_path / "racks.json")
    code, out, _ = migrator(*words, "--json")
    document = json.loads(out)
    assert (code, document["intent"], document["empties"]) == (0, "evacuate rack=a", ["a1", "a2"])
    assert {move["target"] for move in document["moves"]} == {"b1", "b2"}
    assert "no node has label rack=z" in one_line(migrator(*words[:3], "rack=z", *words[4:])[2])
    assert migrator(*words[:3], "rack", *words[4:])[0] == 2


def test_what_if_a_node_were_gone_or_another_there(migrator, tight):
    words = ("plan", "drain", "n1", "--snapshot", tight)
    assert migrator(*words)[0] == 3
    code, out, _ = migrator(*words, "--add-node", "x1=n1", "--json")
    assert (code, {move["target"] for move in json.loads(out)["moves"]}) == (0, {"x1"})
    assert "there is no node 'n9'" in one_line(migrator(*words, "--without", "n9")[2])
    assert migrator(*words, "--without", "n1")[0] == 2
    code, out, _ = migrator(*words, "--add-node", "x1=n1", "--without", "n2", "--json")
    assert (code, {move["target"] for move in json.loads(out)["moves"]}) == (0, {"x1"})


def test_a_plan_of_what_is_not_there_is_for_looking_only(migrator, tight, tmp_path):
    migrator("plan", "drain", "n1", "--snapshot", tight, "--add-node", "x1=n1", "-o", tmp_path / "p.json")
    assert "what if" in (tmp_path / "p.json").read_text()
    assert migrator("check", tmp_path / "p.json", "--snapshot", tight)[0] == 3


@pytest.fixture
def lopsided(tmp_path):
    full = [ct(f"c{n}", 100 + n) for n in range(6)]
    snapshot.save(cluster(node("n1", *full), node("n2"), node("n3")), tmp_path / "lopsided.json")
    return tmp_path / "lopsided.json"


def test_a_rebalance_evens_out_and_its_plan_holds(migrator, lopsided, tmp_path):
    words = ("plan", "rebalance", "--snapshot", lopsided)
    code, out, err = migrator(*words, "-o", tmp_path / "p.json")
    assert (code, err.splitlines()[1]) == (0, "note: nothing more is worth it after 4 iterations")
    assert out.startswith(f"{tmp_path / 'p.json'}: rebalance: 4 moves, ")
    assert migrator("check", tmp_path / "p.json", "--snapshot", lopsided)[0] == 0
    assert "with 6 -> 5 containers" in migrator(*words)[1]


def test_the_search_of_a_rebalance_ends_by_count_or_by_time(migrator, lopsided):
    words = ("plan", "rebalance", "--snapshot", lopsided, "--json")
    assert len(json.loads(migrator(*words, "--iterations", 1)[1])["moves"]) == 1
    assert json.loads(migrator(*words, "--min-gain", 10_000)[1])["moves"] == []
    hasty = json.loads(migrator(*words, "--seconds", 0.000001)[1])
    assert "stopped early; --iterations 0 repeats this exactly" in hasty["notes"]
    assert "not both" in migrator(*words, "--iterations", 1, "--seconds", 1)[2]


def test_containers_are_moved_to_the_nodes_that_are_named(migrator, fits, tmp_path):
    words = ("--snapshot", fits)
    code, out, _ = migrator("plan", "move", "a", "--to", "n3", *words, "--json")
    document = json.loads(out)
    assert (code, document["intent"], document["empties"]) == (0, "move a=n3", [])
    assert [(m["container"], m["target"], m["reason"]) for m in document["moves"]] == [("a", "n3", "asked for")]
    code, out, _ = migrator("plan", "move", "b=n2", "a=n3", *words, "-o", tmp_path / "p.json")
    assert out.startswith(f"{tmp_path / 'p.json'}: move a=n3 b=n2: 2 moves")
    assert migrator("check", tmp_path / "p.json", *words)[0] == 0
    assert "container a is on n1 already" in migrator("plan", "move", "a=n1", *words)[1]


def test_a_move_that_cannot_be_is_refused_with_the_reason(migrator, tight):
    words = ("--snapshot", tight)
    assert "n3: cordoned (by operator)" in migrator("plan", "move", "a=n3", *words)[2]
    code, _, err = migrator("plan", "move", "a", "--to", "n2", *words)
    assert (code, "n2: memory 135.0 MiB short" in err) == (3, True)
    assert "there is no container 'z'" in one_line(migrator("plan", "move", "z=n2", *words)[2])
    assert "there is no node 'n9'" in one_line(migrator("plan", "move", "a=n9", *words)[2])
    for wrong in (("a",), ("a=",), ("a=n2", "a=n3"), ("a=n2", "--to", "n3")):
        assert migrator("plan", "move", *wrong, *words)[0] == 2


def test_two_that_must_not_be_together_are_not_moved_together(migrator, tmp_path):
    web = {"anti-affinity": "web"}
    apart = cluster(node("n1", ct("a", labels=web)), node("n2", ct("b", labels=web)), node("n3"))
    snapshot.save(apart, tmp_path / "x.json")
    code, _, err = migrator("plan", "move", "a=n3", "b=n3", "--snapshot", tmp_path / "x.json")
    assert (code, "b comes there too, and they must not be together" in err) == (3, True)
    assert "anti-affinity: b of group" in migrator("plan", "move", "a=n2", "--snapshot", tmp_path / "x.json")[2]
    code, out, _ = migrator("plan", "move", "a=n2", "b=n3", "--snapshot", tmp_path / "x.json", "--json")
    assert (code, [m["waits_for"] for m in json.loads(out)["moves"]]) == (0, [[], ["b"]])


def test_what_a_plan_moved_is_brought_back_and_what_is_elsewhere_is_left_alone(migrator, fits, tmp_path):
    migrator("plan", "drain", "n1", "--snapshot", fits, "-o", tmp_path / "p.json")
    plan = plan_file.load(tmp_path / "p.json")
    moved = after(FIT, plan)
    snapshot.save(moved, tmp_path / "cordoned.json")
    words = ("plan", "return", tmp_path / "p.json", "--snapshot")
    assert "n1: cordoned" in migrator(*words, tmp_path / "cordoned.json")[2]
    snapshot.save(replace(moved, nodes=tuple(replace(n, cordon=None) for n in moved.nodes)), tmp_path / "open.json")
    code, out, _ = migrator(*words, tmp_path / "open.json", "--json")
    document = json.loads(out)
    assert (code, document["intent"]) == (0, "return drain n1")
    assert {(m["container"], m["target"]) for m in document["moves"]} == {("a", "n1"), ("b", "n1")}
    code, out, _ = migrator(*words, fits, "--json")
    assert (code, json.loads(out)["moves"]) == (0, [])
    assert "container a is on n1 already" in json.loads(out)["notes"]


@pytest.mark.parametrize("intent", ["rebalance", "consolidate", "move", "return"])
def test_the_help_of_an_intent_is_the_golden_text(migrator, intent):
    code, out, _ = migrator("plan", intent, "--help")
    assert (code, out) == (0, (Path(__file__).parent / f"help-plan-{intent}.txt").read_text())


def test_rules_of_a_policy_file_are_kept_in_the_plan_and_checked_with_it(migrator, fits, tmp_path):
    policy, made = tmp_path / "policy.yaml", tmp_path / "p.json"
    policy.write_text("headroom_percent: 20\nheadroom: {cpu: 1}\nrules: [{rule: ban, containers: a, nodes: [n2]}]\n")
    words = ("plan", "drain", "n1", "--snapshot", fits, "--policy", policy)
    assert migrator(*words, "-o", made)[0] == 0
    document = json.loads(made.read_text())
    assert document["policy"]["headroom_percent"] == 20
    kept = {"containers": "a", "nodes": ["n2"], "rule": "ban", "soft": False, "weight": 1.0}
    assert document["policy"]["rules"] == [kept]
    assert {m["container"]: m["target"] for m in document["moves"]}["a"] == "n3"
    assert migrator("check", made, "--snapshot", fits)[0] == 0
    assert document["policy"]["headroom"]["cpu"] == 1
    told = json.loads(migrator(*words, "--headroom", "7", "--json")[1])["policy"]
    assert (told["headroom_percent"], told["headroom"]["cpu"]) == (7, None)
    policy.write_text("rules: [{rule: pin, containers: a}]\n")
    code, _, err = migrator(*words)
    assert (code, "a (n2: rule pin: a stays where it is" in err) == (3, True)


def test_rules_of_the_cluster_file_hold_from_its_snapshot_and_a_policy_file_adds_to_them_or_replaces_them(
    migrator, tmp_path
):
    facts, policy = tmp_path / "facts.json", tmp_path / "policy.yaml"
    standing = Standing(headroom_percent=20, rules=(Ban("a", ("n2",)),))
    snapshot.save(replace(cluster(node("n1", ct("a")), node("n2"), node("n3")), policy=standing), facts)
    words = ("plan", "drain", "n1", "--snapshot", facts, "--json")
    alone = json.loads(migrator(*words)[1])
    assert ([m["target"] for m in alone["moves"]], alone["policy"]["headroom_percent"]) == (["n3"], 20)
    policy.write_text("rules: [{rule: ban, containers: a, nodes: [n3]}]\n")
    code, _, err = migrator(*words, "--policy", policy)
    assert (code, err.count("rule ban")) == (3, 2)
    policy.write_text("replace_rules: true\nrules: [{rule: ban, containers: a, nodes: [n3]}]\n")
    other = json.loads(migrator(*words, "--policy", policy, "--headroom", "7")[1])
    assert ([m["target"] for m in other["moves"]], other["policy"]["headroom_percent"]) == (["n2"], 7)


def test_a_time_that_is_none_is_one_line_and_a_time_window_is_planned_from_it(migrator, fits, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text('rules: [{rule: window, containers: a, open: ["mon 22:00-04:00"]}]\n')
    words = ("plan", "drain", "n1", "--snapshot", fits, "--policy", policy, "--json")
    code, _, err = migrator(*words, "--start", "tonight")
    assert (code, "--start: 'tonight' is no time" in err) == (2, True)
    code, _, err = migrator(*words, "--start", "9999-12-31T23:59")
    assert (code, "--start: '9999-12-31T23:59' is no time" in err, err.count("\n")) == (2, True, 1)
    document = json.loads(migrator(*words, "--start", "2026-03-02T12:00+00:00")[1])
    assert document["policy"]["start"] == "2026-03-02T12:00:00+00:00"
    assert {m["container"]: m.get("start_s") for m in document["moves"]}["a"] == 36_000.0
    assert json.loads(migrator(*words)[1])["policy"]["start"]


def test_plan_show_tells_by_the_clock_when_each_move_is_under_way_if_the_start_is_known(migrator, fits, tmp_path):
    policy, made, svg = tmp_path / "policy.yaml", tmp_path / "p.json", tmp_path / "p.svg"
    policy.write_text('rules: [{rule: window, containers: a, open: ["mon 22:00-04:00"]}]\n')
    words = ("--snapshot", fits, "--policy", policy, "--start", "2026-03-02T12:00+01:00", "-o", made)
    assert migrator("plan", "drain", "n1", *words)[0] == 0
    shown = migrator("plan", "show", made, "--snapshot", fits)[1]
    assert "if it starts at 2026-03-02T12:00:00+01:00, it is done about 2026-03-02 23:00:0" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("a ")]
    assert "  2026-03-02 23:00:00  2026-03-02 23:00:0" in row
    migrator("plan", "show", made, "--snapshot", fits, "--svg", svg)
    assert "from 2026-03-02 23:00:00 to 2026-03-02 23:00:0" in svg.read_text()


@pytest.fixture
def full(tmp_path):
    """Two full nodes, and a third that has room for one of their containers."""
    nodes = [node("n1", ct("a"), memory=480 * MIB), node("n2", ct("b"), memory=480 * MIB), node("n3", memory=480 * MIB)]
    snapshot.save(cluster(*nodes), tmp_path / "full.json")
    small = cluster(*nodes[:2], node("n3", memory=300 * MIB))
    snapshot.save(small, tmp_path / "small.json")
    return tmp_path


def test_two_full_nodes_exchange_their_containers_and_the_way_back_is_planned_too(migrator, full):
    words, made = ("--snapshot", full / "full.json"), full / "p.json"
    assert migrator("plan", "move", "a=n2", "b=n1", *words, "-o", made)[0] == 0
    assert migrator("check", made, *words)[0] == 0
    moves = json.loads(made.read_text())["moves"]
    assert [(m["container"], m.get("leg", 1), m["target"], m["waits_for"]) for m in moves] == [
        ("a", 1, "n3", []),
        ("b", 1, "n1", ["a"]),
        ("a", 2, "n2", ["b"]),
    ]
    snapshot.save(after(snapshot.load(full / "full.json"), plan_file.load(made)), full / "after.json")
    code, out, _ = migrator("plan", "return", made, "--snapshot", full / "after.json", "--json")
    assert (code, len(json.loads(out)["moves"])) == (0, 3)
    assert {m["container"]: m["target"] for m in json.loads(out)["moves"]} == {"a": "n1", "b": "n2"}


def test_a_container_that_is_put_aside_is_shown_and_explained_with_both_its_moves(migrator, full):
    words, made = ("--snapshot", full / "full.json"), full / "p.json"
    out = migrator("plan", "move", "a=n2", "b=n1", *words)[1]
    assert "a to n3: put aside, so that others can move: n1 is needed, n2 has no room yet" in out
    assert "a#2 to n2: asked for" in out
    migrator("plan", "move", "a=n2", "b=n1", *words, "-o", made)
    timeline = json.loads(migrator("plan", "show", made, *words, "--json")[1])["timeline"]
    assert list(timeline) == ["a", "a#2", "b"]
    assert timeline["a#2"]["start_s"] >= timeline["b"]["end_s"] >= timeline["b"]["start_s"] >= timeline["a"]["end_s"]
    assert migrator("plan", "show", made, *words, "--svg", full / "p.svg")[0] == 0
    code, out, _ = migrator("explain", made, "a", *words)
    assert (code, "a: n1 -> n3 -> n2, of the plan" in out) == (0, True)
    assert "why over n3: put aside" in out
    assert "waits for: b (n2 -> n1)" in out
    assert "wait for it: b" in out
    document = json.loads(migrator("explain", made, "a", *words, "--json")[1])
    assert (document["move"]["target"], [stop["move"]["target"] for stop in document["stop_overs"]]) == ("n2", ["n3"])


def test_a_node_that_is_over_its_capacity_already_is_told_by_the_plan_and_by_the_check(migrator, tmp_path):
    there = node("n3", ct("x", memory=300 * MIB), ct("y", 101, memory=300 * MIB), memory=400 * MIB)
    fleet = cluster(node("n1", ct("a", 102)), node("n2"), there)
    snapshot.save(fleet, tmp_path / "s.json")
    words, made = ("--snapshot", tmp_path / "s.json"), tmp_path / "p.json"
    out = migrator("plan", "drain", "n1", *words)[1]
    assert "note: n3 has promised more than it has already (600.0 MiB of 400.0 MiB memory), and that stays so" in out
    migrator("plan", "drain", "n1", *words, "-o", made)
    code, out, _ = migrator("check", made, *words)
    assert (code, "note: n3 holds 600.0 MiB of memory by limits and has 400.0 MiB already" in out) == (0, True)
    assert "holds: drain n1" in out
    assert "n3 holds" in json.loads(migrator("check", made, *words, "--json")[1])["notes"][0]
    assert "is mended by this plan" in migrator("plan", "drain", "n3", *words)[1]


def test_a_ring_that_nobody_has_room_for_is_refused_with_what_would_do(migrator, full):
    words = ("plan", "move", "a=n2", "b=n1", "--snapshot")
    code, out, err = migrator(*words, full / "small.json", "--json")
    said = "a, b wait for each other's room, and no node has room to put one of them aside"
    assert (code, json.loads(out)["reasons"][0]["text"]) == (3, said)
    assert json.loads(out)["change"].startswith("with 143.0 MiB more memory on n3")
    assert said in one_line(err)
    assert {stuck["container"] for stuck in json.loads(out)["refusals"]} == {"a", "b"}


def test_a_headroom_of_nothing_is_said_too(migrator, fits):
    document = json.loads(migrator("plan", "drain", "n1", "--snapshot", fits, "--headroom", "0", "--json")[1])
    assert document["policy"]["headroom_percent"] == 0


def test_what_a_run_has_moved_is_brought_back_from_where_it_is_now(migrator, tmp_path, monkeypatch):
    moved = cluster(node("n1"), node("n2", ct("a"), ct("b")), node("n3"))
    snapshot.save(moved, tmp_path / "now.json")
    journal = Journal(tmp_path / "j.db")
    journal.create_run("20260101-000000-aaaa", "drain n1", {})
    for number, (name, decision) in enumerate({"a": State.COMMITTED, "b": State.ABORTED}.items()):
        made = Migration(name, "20260101-000000-aaaa", name, "n1", "n2", number + 1, 1, None, {})
        journal.add_migration(made)
        for state in BEFORE_COMMIT if decision is State.COMMITTED else BEFORE_COMMIT[:1]:
            journal.record(name, (state, Phase.BEGIN, {}))
            journal.record(name, (state, Phase.END, {}))
        journal.decide(name, number + 1, decision)
    monkeypatch.setenv("MIGRATOR_JOURNAL", str(tmp_path / "j.db"))
    code, out, err = migrator("plan", "return", "2026", "--snapshot", tmp_path / "now.json", "--json")
    document = json.loads(out)
    assert (code, err, document["intent"]) == (0, "", "return drain n1")
    assert [(m["container"], m["target"]) for m in document["moves"]] == [("a", "n1")]


def test_a_run_or_plan_file_that_is_not_there_is_one_line(migrator, tmp_path, monkeypatch):
    monkeypatch.setenv("MIGRATOR_JOURNAL", str(tmp_path / "j.db"))
    for what in ("nothing.json", "20260101"):
        code, out, err = migrator("plan", "return", what, "--snapshot", THREE)
        assert (code, out) == (2, "")
        assert what in one_line(err)


def test_an_uplink_of_each_rack_is_in_the_imported_snapshot(migrator, tmp_path):
    fleet, facts = tmp_path / "fleet.data", tmp_path / "facts.json"
    fleet.write_text(fleet_text(8, 20, 1, racks=2))
    words = ("import", "ganeti", fleet, "-o", facts, "--link", "10Gbit")
    assert migrator(*words, "--uplink", "rack=20Gbit")[0] == 0
    links = snapshot.load(facts).links
    assert [(link.name, len(link.nodes), link.up_bytes_per_s) for link in links] == [
        ("r1-up", 4, 2_500_000_000),
        ("r2-up", 4, 2_500_000_000),
    ]
    for wrong, said in (("rack", "is not LABEL=SPEED"), ("row=1Gbit", "no node has a label"), ("rack=fast", "fast")):
        code, _, err = migrator(*words, "--uplink", wrong)
        assert (code, said in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "drain", "n1", "--max-blackout"),
        ("drain", "n1", "--max-blackout"),
        ("apply", "x.json", "--max-blackout"),
        ("migrate", "a", "--to", "n2", "--max-blackout"),
        ("plan", "rebalance", "--seconds"),
        ("plan", "rebalance", "--min-gain"),
        ("bench", "roadef", "m", "a", "-o", "x", "--seconds"),
        ("lab", "up", "--cpus"),
        ("ct", "create", "a", "--node", "n1", "--template", "t", "--ip", "10.0.0.1", "--cpus"),
        ("import", "proxmox", "x", "-o", "y", "--cpu-ratio"),
    ],
)
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_not_a_number_to_count_with_is_bad_input_everywhere(migrator, words, number):
    code, out, err = migrator(*words, number)
    assert (code, out) == (2, "")
    assert words[-1] in one_line(err)


def test_a_fleet_without_a_node_that_can_be_planned_with_is_one_line(migrator, tmp_path):
    empty, silent = tmp_path / "empty.json", tmp_path / "silent.json"
    snapshot.save(cluster(), empty)
    snapshot.save(cluster(node("n1", error="no route")), silent)
    for words in (("consolidate",), ("reboot", "--all"), ("rebalance",)):
        code, out, err = migrator("plan", *words, "--snapshot", empty)
        assert (code, out) == (2, "")
        assert "empty.json: nodes: there is none" in one_line(err)
        code, out, err = migrator("plan", *words, "--snapshot", silent, "--without", "n1")
        assert (code, one_line(err)) == (2, "migrator: --without: no node is left")
        assert migrator("plan", *words, "--snapshot", silent)[0] in (0, 3)


def test_a_plan_is_not_written_over_what_it_is_made_of(migrator, fits, tmp_path):
    policy, before = tmp_path / "policy.yaml", fits.read_bytes()
    policy.write_text("headroom_percent: 0\n")
    for output in (fits, policy, tmp_path / "." / "fits.json"):
        code, out, err = migrator("plan", "drain", "n1", "--snapshot", fits, "--policy", policy, "-o", output)
        assert (code, out) == (2, "")
        assert "is the file that is read; name another" in one_line(err)
    assert (fits.read_bytes(), policy.read_text()) == (before, "headroom_percent: 0\n")


def test_a_plan_for_what_if_is_looked_at_with_the_same_words(migrator, fits, tmp_path):
    plan = tmp_path / "x.json"
    asked = ("--snapshot", fits, "--without", "n2", "--without", "n3", "--add-node", "x=n1")
    assert migrator("plan", "drain", "n1", *asked, "-o", plan)[0] == 0
    for words in (("plan", "show", plan), ("explain", plan, "a"), ("check", plan)):
        code, out, err = migrator(*words, *asked)
        assert (code, err) == (0, "")
        assert "n3" not in out
        assert migrator(*words, "--snapshot", fits)[0] == 3


@pytest.mark.parametrize("name", ["a b", "x\ny", "ä", "x,y", "-x", "", "x" * 64])
def test_a_node_that_is_added_has_a_name_that_nodes_have(migrator, fits, name):
    code, out, err = migrator("plan", "drain", "n1", "--snapshot", fits, "--add-node", f"{name}=n1")
    assert (code, out) == (2, "")
    assert "--add-node" in one_line(err)


def test_a_silent_node_is_no_model_and_a_node_that_was_taken_away_is_said_to_be(migrator, fits, tmp_path):
    snapshot.save(cluster(node("n1", ct("a")), node("n2"), node("n3", error="no route")), tmp_path / "s.json")
    code, _, err = migrator("plan", "drain", "n1", "--snapshot", tmp_path / "s.json", "--add-node", "x=n3")
    assert (code, "n3 does not answer" in one_line(err)) == (2, True)
    for words in (("drain", "n1"), ("move", "b=n1")):
        code, _, err = migrator("plan", *words, "--snapshot", fits, "--without", "n1")
        assert (code, one_line(err)) == (2, "migrator: node 'n1' was taken away by --without n1")


def test_notes_are_said_on_stderr_too_where_the_plan_goes_into_a_file_and_many_of_one_kind_are_one_line(
    migrator, tmp_path
):
    pairs = [ct(f"p{n}-{m}", 100 + 2 * n + m, labels={"anti-affinity": f"g{n}"}) for n in range(5) for m in range(2)]
    facts, policy = tmp_path / "pairs.json", tmp_path / "policy.yaml"
    snapshot.save(cluster(node("n1", *pairs), node("n2", ct("a")), node("n3")), facts)
    policy.write_text(
        "rules:\n- {rule: ban, containers: a, nodes: [n3], soft: true}\n- {rule: pin, containers: nobody}\n"
    )
    words = ("plan", "drain", "n2", "--snapshot", facts, "--policy", policy, "--without", "n1", "--add-node", "x=n3")
    _, out, _ = migrator("plan", "drain", "n2", "--snapshot", facts, "--policy", policy)
    code, said, err = migrator(
        "plan", "drain", "n2", "--snapshot", facts, "--policy", policy, "-o", tmp_path / "x.json"
    )
    assert (code, "note: " in said) == (0, False)
    assert err.splitlines() == [line for line in out.splitlines() if line.startswith("note: ")]
    assert "note: 5 alike: p0-0, p0-1 of group anti-affinity=g0 are together on n1 already; p1-0" in err
    assert "; and 2 more" in err
    assert "note: rule 2 (pin): no container is nobody" in err
    assert len(plan_file.load(tmp_path / "x.json").notes) >= 6
    assert migrator(*words, "-o", tmp_path / "y.json", "--json")[2] == ""
