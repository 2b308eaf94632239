"""What plans are made of: imported files, what-if, numbers, notes; and what is not written over."""

from __future__ import annotations

import json

import pytest

from migrator.cli.notes_text import print_notes
from migrator.demo.fleets import fleet_text
from migrator.inventory import plan_file, snapshot
from tests.cli.words import one_line
from tests.properties.fleets import cluster, ct, node
from tests.unit.test_imports import GANETI


def test_an_imported_file_is_planned_with_by_the_marks_in_it(migrator, tmp_path):
    fleet, saved = tmp_path / "fleet.data", tmp_path / "fleet.json"
    fleet.write_text(GANETI)
    code, out, _ = migrator("import", "ganeti", fleet, "-o", saved, "--link", "10Gbit")
    assert (code, out.splitlines()[0]) == (0, f"{saved}: 3 nodes, 4 containers")
    code, out, _ = migrator("plan", "drain", "--cordoned", "--max-blackout", "600", "--snapshot", saved, "--json")
    assert (code, json.loads(out)["empties"]) == (0, ["n1"])
    assert migrator("import", "ganeti", tmp_path / "none", "-o", saved)[0] == 2
    assert "--link: not a link speed" in one_line(migrator("import", "ganeti", fleet, "-o", saved, "--link", "x")[2])


def test_an_import_names_the_drain_that_its_slow_links_let_be_planned(migrator, tmp_path):
    fleet, saved = tmp_path / "fleet.data", tmp_path / "fleet.json"
    fleet.write_text(GANETI)
    _, out, _ = migrator("import", "ganeti", fleet, "-o", saved, "--link", "100Mbit")
    words = out.splitlines()[1].partition(": migrator ")[2].split()
    assert "--max-blackout" in words
    assert migrator(*words, "--json")[0] == 0


def test_an_import_says_of_long_pauses_that_no_plan_moves_what_has_one(migrator, tmp_path):
    fleet, saved = tmp_path / "fleet.data", tmp_path / "fleet.json"
    fleet.write_text(GANETI)
    told = [migrator("import", "ganeti", fleet, "-o", saved, "--link", link)[1] for link in ("100Mbit", "100Gbit")]
    text = " with a predicted pause over 15 s: no plan moves what has one, consolidate and rebalance included, without "
    assert [text in out for out in told] == [True, False]


def test_a_note_that_nearly_every_plan_has_comes_after_those_of_this_one(capsys):
    print_notes(["memory way: 3 of 3 moves counted as streamed", "n9 did not answer and is left out"])
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["n9", "memory"]


def test_a_plan_held_against_another_cluster_is_told_that_and_nothing_else(migrator, tmp_path):
    fleet, saved, other, plan = (tmp_path / name for name in ("fleet.data", "fleet.json", "other.json", "plan.json"))
    fleet.write_text(GANETI)
    migrator("import", "ganeti", fleet, "-o", saved)
    assert migrator("plan", "drain", "--cordoned", "--max-blackout", "600", "--snapshot", saved, "-o", plan)[0] == 0
    snapshot.save(cluster(node("elsewhere")), other)
    code, out, err = migrator("check", plan, "--snapshot", other)
    assert (code, len(out.splitlines())) == (3, 2)
    assert "wrong-cluster" in out
    assert "1 finding: the plan is for cluster" in one_line(err)


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
    assert "note: 5 alike: p0-0, p0-1 of group anti-affinity=g0 are together on n1 already and stay so; p1-0" in err
    assert "; and 2 more" in err
    assert "note: rule 2 (pin): no container is nobody" in err
    assert len(plan_file.load(tmp_path / "x.json").notes) >= 6
    assert migrator(*words, "-o", tmp_path / "y.json", "--json")[2] == ""
