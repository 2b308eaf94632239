"""plan move and return on the command line: who goes where by name, rings, the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.inventory import plan_file, snapshot
from migrator.journal.events import Phase
from migrator.journal.store import Journal, Migration
from migrator.model.what_if import after
from migrator.protocol.states import FORWARD, State
from tests.cli.words import FIT, one_line
from tests.properties.fleets import MIB, cluster, ct, node

PLANS = Path(__file__).parents[2] / "plans"
THREE = str(PLANS / "three-nodes.snapshot.json")
BEFORE_COMMIT = FORWARD[1 : FORWARD.index(State.COMMITTED)]


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


def test_a_ring_that_nobody_has_room_for_is_refused_with_what_would_do(migrator, full):
    words = ("plan", "move", "a=n2", "b=n1", "--snapshot")
    code, out, err = migrator(*words, full / "small.json", "--json")
    said = "a, b wait for each other's room, and no node has room to put one of them aside"
    assert (code, json.loads(out)["reasons"][0]["text"]) == (3, said)
    assert json.loads(out)["change"].startswith("with 143.0 MiB more memory on n3")
    assert said in one_line(err)
    assert {stuck["container"] for stuck in json.loads(out)["refusals"]} == {"a", "b"}


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


def test_a_source_without_room_for_images_is_named_and_not_the_target(migrator, tmp_path):
    full = node("n1", ct("a", anon_bytes=1000 * MIB), memory_available_bytes=100 * MIB, stream_out="no Python")
    snapshot.save(cluster(full, node("n3")), tmp_path / "facts.json")
    code, _, err = migrator("plan", "move", "a=n3", "--snapshot", tmp_path / "facts.json")
    assert code == 3
    assert "n1: free memory on n1 964.0 MiB short for its images" in err
    assert "possible with 964.0 MiB more free memory on n1" in one_line(err)
    assert "n3" not in err.split("possible")[0].split(":", 2)[2]
