"""plan, check, apply and drain on the command line: exit codes, one line for each mistake, one document for --json."""

from __future__ import annotations

import importlib
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.cli.signals import NUMBERS, SIGNALS
from migrator.inventory import plan_file, snapshot
from migrator.model.plan_policy import Standing
from migrator.model.rules import Ban
from tests.cli.words import one_line
from tests.properties.fleets import GIB, MIB, cluster, ct, node

PLANS = Path(__file__).parents[2] / "plans"
THREE = str(PLANS / "three-nodes.snapshot.json")


def test_planning_from_a_snapshot_needs_no_cluster_file(migrator, fits):
    code, out, err = migrator("plan", "drain", "n1", "--snapshot", fits, "--json")
    assert (code, err) == (0, "")
    assert [move["container"] for move in json.loads(out)["moves"]] == ["a", "b"]


def test_a_refused_plan_is_exit_3_and_writes_nothing(migrator, tight, tmp_path):
    code, out, err = migrator("plan", "drain", "n1", "--snapshot", tight, "-o", tmp_path / "x.json")
    assert code == 3
    assert "n3    cordoned (by operator)" in out
    assert "drain n1: 2 containers cannot move: a (n2: memory 135.0 MiB short (keeping 5 % free)" in one_line(err)
    assert ("(keeping 5 % free); and 1 more); b (" in err, "n3: cordoned" in err) == (True, False)
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
        "memory_way": "stream",
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
    assert "stopped early; --iterations 0 (and no --seconds) repeats this exactly" in hasty["notes"]
    assert "not both" in migrator(*words, "--iterations", 1, "--seconds", 1)[2]


def test_the_search_of_a_consolidation_ends_by_count_or_by_time(migrator, tmp_path):
    fleet = [node(f"n{n}", ct(f"c{n}", 100 + n)) for n in range(4)]
    snapshot.save(cluster(*fleet), tmp_path / "four.json")
    words = ("plan", "consolidate", "--snapshot", tmp_path / "four.json", "--json")
    whole, none = (json.loads(migrator(*words, *more)[1]) for more in ((), ("--iterations", 0)))
    assert (len(whole["empties"]), none["empties"]) == (3, [])
    hasty = json.loads(migrator(*words, "--seconds", 0.000001)[1])
    assert "stopped early; --iterations 0 (and no --seconds) repeats this exactly" in hasty["notes"]
    assert "not both" in migrator(*words, "--iterations", 1, "--seconds", 1)[2]


@pytest.fixture
def signals_of_a_program():
    """Signals as the program takes them, which a test of a command otherwise does not."""
    kept = {number: signal.getsignal(number) for number in NUMBERS}
    SIGNALS.install()
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_of_a_program")
@pytest.mark.parametrize("intent", ["rebalance", "consolidate"])
def test_a_search_that_is_interrupted_before_it_finds_anything_is_not_taken_for_nothing_to_do(
    migrator, tmp_path, monkeypatch, intent
):
    nodes = [node("n1", *(ct(f"c{n}", 100 + n) for n in range(4))), node("n2", ct("d", 110)), node("n3", ct("e", 111))]
    snapshot.save(cluster(*nodes), tmp_path / "facts.json")
    module = f"migrator.planner.{intent}"
    search = getattr(importlib.import_module(module), intent)

    def interrupted(*words):
        signal.raise_signal(signal.SIGINT)
        return search(*words)

    monkeypatch.setattr(f"{module}.{intent}", interrupted)
    words = ("plan", intent, "--snapshot", tmp_path / "facts.json", "-o", tmp_path / "p.json")
    code, _, err = migrator(*words)
    text = "interrupted before anything was found: that nothing moves here does not say that nothing is to be done"
    assert (code, err.splitlines()[-1]) == (4, f"migrator: {intent}: {text}")
    plan = json.loads((tmp_path / "p.json").read_text())
    assert (plan["moves"], text in plan["notes"]) == ([], True)
    code, out, _ = migrator(*words, "--json")
    assert (code, json.loads(out)["exit_code"], json.loads(out)["moves"]) == (4, 4, [])


@pytest.mark.parametrize("intent", ["rebalance", "consolidate", "move", "return"])
def test_the_help_of_an_intent_is_the_golden_text(migrator, intent):
    code, out, _ = migrator("plan", intent, "--help")
    assert (code, out) == (0, (Path(__file__).parent / f"help-plan-{intent}.txt").read_text())


def test_how_containers_are_moved_is_kept_in_the_plan_and_what_can_lose_memory_is_noted(migrator, fits, tmp_path):
    policy, made = tmp_path / "policy.yaml", tmp_path / "p.json"
    policy.write_text("allow: [{containers: app=cache, modes: [post-copy]}]\n")
    assert migrator("plan", "drain", "n1", "--snapshot", fits, "--policy", policy, "-o", made)[0] == 0
    document = json.loads(made.read_text())
    assert document["policy"]["allow"] == [{"containers": "app=cache", "modes": ["post-copy"]}]
    assert "mode" not in document["policy"]
    assert plan_file.load(made).policy.modes_allowed("x", {"app": "cache"}) == ("post-copy",)
    assert plan_file.load(made).policy.modes_allowed("x", {"app": "db"}) == ()
    assert any(note.startswith("mode: post-copy for those that the policy allows it") for note in document["notes"])
    assert migrator("plan", "drain", "n1", "--snapshot", fits, "--mode", "post-copy", "-o", made)[0] == 0
    assert plan_file.load(made).policy.mode == "post-copy"


def test_a_policy_allows_no_mode_that_there_is_not(migrator, fits, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("allow: [{containers: app=cache, modes: [hope]}]\n")
    code, _, err = migrator("plan", "drain", "n1", "--snapshot", fits, "--policy", policy)
    assert (code, "allow[0].modes[0]" in err or "allow.0.modes.0" in err) == (2, True), err


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


def test_a_headroom_of_nothing_is_said_too(migrator, fits):
    document = json.loads(migrator("plan", "drain", "n1", "--snapshot", fits, "--headroom", "0", "--json")[1])
    assert document["policy"]["headroom_percent"] == 0


def test_nodes_that_are_kept_for_one_reason_are_told_together_and_each_in_the_document(migrator, tmp_path):
    facts = tmp_path / "facts.json"
    snapshot.save(cluster(*(node(f"n{n}", ct(f"c{n}", memory=3 << 30, anon_bytes=1 << 30)) for n in range(6))), facts)
    words = ("plan", "consolidate", "--snapshot", facts, "--max-blackout", "1")
    _, out, _ = migrator(*words)
    (line,) = [line for line in out.splitlines() if "cannot leave" in line]
    assert line.startswith("note: 6 nodes keep a container that cannot leave: its pause is predicted at ")
    assert line.endswith("allow it with --max-blackout: n0 (c0), n1 (c1), n2 (c2) and 3 more")
    _, out, _ = migrator(*words, "--json")
    assert sum("cannot leave: its pause" in note for note in json.loads(out)["notes"]) == 6
