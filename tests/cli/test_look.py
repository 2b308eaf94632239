"""plan show and explain: what a plan looks like, and one move of it in words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from migrator.cli.drawn import ROWS_MAX
from migrator.inventory import plan_file, snapshot
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.drain import drain
from migrator.planner.look import end_state, spans
from tests.properties.fleets import MIB, cluster, ct, node

PLANS = Path(__file__).parents[2] / "plans"
RACK = ("--snapshot", str(PLANS / "rack.snapshot.json"))
PLAN = str(PLANS / "drain-r1-a-r1-b.json")
REBOOT = str(PLANS / "reboot-r1.json")
REBALANCE = str(PLANS / "rebalance-rack.json")


def stripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("drain-r1-a-r1-b.show", ("plan", "show", PLAN, *RACK)),
        ("drain-r1-a-r1-b.explain", ("explain", PLAN, "job-04", *RACK)),
        ("rebalance-rack.explain", ("explain", REBALANCE, "job-09", *RACK)),
        ("reboot-r1.explain", ("explain", REBOOT, "db-1", *RACK)),
    ],
)
def test_what_is_printed_is_the_golden_text(migrator, name: str, words: tuple[str, ...]):
    code, out, err = migrator(*words)
    assert (code, err) == (0, "")
    assert stripped(out) == (PLANS / f"{name}.txt").read_text()


@pytest.mark.parametrize("columns", [80, 100])
def test_in_a_terminal_names_and_numbers_are_whole_and_bars_take_what_is_left(migrator, monkeypatch, columns: int):
    monkeypatch.setattr("migrator.cli.drawn.terminal_columns", lambda: columns)
    code, out, err = migrator("plan", "show", PLAN, *RACK)
    assert (code, err) == (0, "")
    assert stripped(out) == (PLANS / f"drain-r1-a-r1-b.show-{columns}.txt").read_text()
    assert max(map(len, out.splitlines()[:-1])) <= columns


def test_a_line_with_no_room_for_bars_has_its_names_and_numbers(migrator, monkeypatch):
    wide = migrator("plan", "show", PLAN, *RACK)[1]
    monkeypatch.setattr("migrator.cli.drawn.terminal_columns", lambda: 20)
    out = migrator("plan", "show", PLAN, *RACK)[1]
    words = [re.sub("[^\x00-\x7f]|->", "", line).split() for line in wide.splitlines()[:8]]
    assert [re.sub("->", "", line).split() for line in out.splitlines()[1:8]] == words[1:]
    assert not set("·█░") & set(out)


def test_the_timeline_keeps_waits_and_ends_with_the_makespan(migrator):
    code, out, _ = migrator("plan", "show", PLAN, *RACK, "--json")
    when, plan = json.loads(out)["timeline"], plan_file.load(Path(PLAN))
    assert code == 0
    assert max(span["end_s"] for span in when.values()) == pytest.approx(plan.makespan_s)
    for move in plan.moves:
        assert all(when[other]["end_s"] <= when[move.container]["start_s"] for other in move.waits_for)


def test_the_picture_is_well_formed_and_says_nothing_of_others_as_markup(migrator, tmp_path):
    picture = tmp_path / "plan.svg"
    assert migrator("plan", "show", PLAN, *RACK, "--svg", picture)[0] == 0
    root = ElementTree.fromstring(picture.read_text())
    assert len([e for e in root.iter() if e.tag.endswith("title")]) == len(plan_file.load(Path(PLAN)).moves)
    assert migrator("plan", "show", PLAN, *RACK, "--svg", tmp_path / "none" / "x.svg")[0] == 2


def test_a_large_plan_folds_and_says_so(migrator, tmp_path):
    many = [node(f"s{n:03}", ct(f"c{n:03}")) for n in range(ROWS_MAX + 5)]
    fleet = cluster(*many, *(node(f"t{n:03}") for n in range(50)))
    made = drain(fleet, [n.name for n in many], snapshot.digest(fleet), PlanPolicy())
    assert isinstance(made, Plan)
    plan_file.save(made, tmp_path / "p.json")
    snapshot.save(fleet, tmp_path / "s.json")
    folded = migrator("plan", "show", tmp_path / "p.json", "--snapshot", tmp_path / "s.json")[1]
    assert "and 5 more sources" in folded
    assert "more nodes change less" in folded
    whole = migrator("plan", "show", tmp_path / "p.json", "--snapshot", tmp_path / "s.json", "--all")[1]
    assert all(move.container in whole for move in made.moves)


def test_an_intent_of_many_nodes_is_told_by_the_first_and_the_last_of_them(migrator, tmp_path):
    names = [f"n{number:02}" for number in range(12)]
    facts, plan, svg = (tmp_path / name for name in ("facts.json", "plan.json", "plan.svg"))
    snapshot.save(cluster(*(node(name, ct(f"c{name}", 100 + i)) for i, name in enumerate(names)), node("z")), facts)
    told = "drain n00 n01 n02 n03 n04 n05 ... n11 (12 in all)"
    words = ("plan", "drain", *names, "--snapshot", facts)
    assert told in migrator(*words)[1]
    assert told in migrator(*words, "-o", plan)[1]
    for more in (("check", plan), ("plan", "show", plan), ("explain", plan, "cn00")):
        out = migrator(*more, "--snapshot", facts)[1]
        assert told in out
    assert migrator("plan", "show", plan, "--svg", svg, "--snapshot", facts)[0] == 0
    assert told in svg.read_text()
    assert f"return {told}" in migrator("plan", "return", plan, "--snapshot", facts)[1]
    assert json.loads(plan.read_text())["intent"] == f"drain {' '.join(names)}"
    assert told in migrator(*words, "--without", "z")[2]


def test_who_starts_or_pauses_late_is_told_whose_turn_it_is_before(migrator, tmp_path):
    facts, plan = tmp_path / "facts.json", tmp_path / "plan.json"
    snapshot.save(cluster(node("n1", ct("a", 100), ct("b", 101), ct("c", 102)), node("n2")), facts)
    told = {}
    for parallel in (2, 3):
        assert migrator("plan", "drain", "n1", "--snapshot", facts, "--parallel", parallel, "-o", plan)[0] == 0
        for name in "abc":
            told[parallel, name] = migrator("explain", plan, name, "--snapshot", facts)[1]
    assert "late" not in told[2, "a"] + told[2, "b"] + told[3, "c"]
    turn = "s late: n1 takes part in 2 moves at one time (--parallel), and its turn comes when a ends"
    assert turn in told[2, "c"]
    assert "turn to pause" not in told[2, "a"]
    pause = "waits for its turn to pause: until then a is paused on the link up from n1"
    assert pause in told[2, "b"]
    late = json.loads(migrator("explain", plan, "b", "--snapshot", facts, "--json")[1])["late"]
    assert late == [pause]


def test_a_plan_of_other_facts_is_refused_and_a_container_that_stays_is_bad_input(migrator):
    three = ("--snapshot", str(PLANS / "three-nodes.snapshot.json"))
    assert migrator("plan", "show", PLAN, *three)[0] == 3
    assert migrator("explain", PLAN, "job-04", *three)[0] == 3
    code, _, err = migrator("explain", PLAN, "nobody", *RACK)
    assert (code, "does not move in this plan" in err) == (2, True)


def test_the_node_that_was_chosen_is_not_among_those_that_a_container_cannot_go_to(migrator):
    for container in ("db-1", "job-02"):
        document = json.loads(migrator("explain", PLAN, container, *RACK, "--json")[1])
        out = migrator("explain", PLAN, container, *RACK)[1]
        target = document["move"]["target"]
        assert target not in [other["node"] for other in document["alternatives"]]
        assert f"not {target}" not in out
        assert "why there, when its place was chosen (large containers first): " in out
        assert "\nonce all the others have moved it would fit" in out


def test_one_of_several_moves_of_a_container_is_explained_by_its_name(migrator, tmp_path):
    full = {"anon_bytes": 10 * MIB, "memory": 700 * MIB}
    fleet = cluster(
        node("n1", ct("a", **full), memory=1000 * MIB),
        node("n2", ct("b", **full), memory=1000 * MIB),
        node("n3", memory=1000 * MIB),
    )
    snapshot.save(fleet, tmp_path / "s.json")
    given = ("--snapshot", tmp_path / "s.json")
    assert migrator("plan", "move", "a=n2", "b=n1", *given, "-o", tmp_path / "ring.json")[0] == 0
    twice = next(m for m in plan_file.load(tmp_path / "ring.json").moves if m.leg == 2)
    code, out, _ = migrator("explain", tmp_path / "ring.json", twice.name, *given)
    assert code == 0
    assert out == migrator("explain", tmp_path / "ring.json", twice.container, *given)[1]


def explained(migrator, tmp_path, rules: str, container: str, *words: str) -> str:
    """An explanation of one move of a plan of the rack under these rules."""
    (tmp_path / "rules.yaml").write_text(f"rules: {rules}\n")
    given = (*RACK, "--leave-stopped", "--policy", tmp_path / "rules.yaml")
    code, out, err = migrator("plan", *words, *given, "-o", tmp_path / "ruled.json")
    assert code == 0, out + err
    return migrator("explain", tmp_path / "ruled.json", container, *RACK)[1]


def test_the_rule_that_a_move_mends_is_its_reason(migrator, tmp_path):
    out = explained(migrator, tmp_path, "[{rule: ban, containers: app=web, nodes: [r1-a]}]", "web-1", "rebalance")
    assert "why it moves: mends rule 1 (ban): web-1 is on r1-a, never on r1-a" in out
    assert "rule 1 (ban) asks for it; if it stayed: web-1 is on r1-a" in out


def test_a_soft_rule_that_a_move_breaks_is_named(migrator, tmp_path):
    rule = "{rule: ban, containers: app=db, nodes: [r1-a, r2-a], soft: true, weight: 2}"
    out = explained(migrator, tmp_path, f"[{rule}]", "db-1", "drain", "r1-b")
    assert "soft rule 1 (ban, weight 2) is broken by it: db-1 is on r" in out


def test_a_time_window_that_a_move_waits_for_is_named(migrator, tmp_path):
    rule = "{rule: window, containers: app=db, open: ['22:00-04:00']}"
    out = explained(migrator, tmp_path, f"[{rule}]", "db-1", "drain", "r1-b", "--start", "2026-03-02T21:00:00+00:00")
    assert "rule 1 (window): it moves only 22:00-04:00 UTC; the plan is for a start at 2026-03-02T21:00" in out


def test_a_reason_of_a_rebalance_never_names_a_share_that_does_not_change(migrator):
    for move in plan_file.load(Path(REBALANCE)).moves:
        changes = re.findall(r"(\d+%) -> (\d+%) full", move.reason)
        assert not changes or any(before != after for before, after in changes)


def test_two_moves_over_one_link_share_it_and_two_over_two_do_not():
    fat = {"anon_bytes": 1000 * MIB, "files_bytes": 0}
    link = {"link": node("x").link.__class__(100_000_000, 100_000_000)}

    def makespan(*sources, overlapping_pauses=True):
        fleet = cluster(*sources, node("t1", **link), node("t2", **link))
        made = drain(
            fleet, [n.name for n in sources], "x", PlanPolicy(blackout_s_max=600, overlapping_pauses=overlapping_pauses)
        )
        assert isinstance(made, Plan)
        assert end_state(fleet, made).node(sources[0].name).containers == ()
        return max(span.end_s for span in spans(fleet, made).values())

    alone = makespan(node("s1", ct("a", **fat), **link))
    together = makespan(node("s1", ct("a", **fat), ct("b", **fat), **link))
    apart = makespan(node("s1", ct("a", **fat), **link), node("s2", ct("b", **fat), **link))
    assert apart == pytest.approx(alone)
    assert together == pytest.approx(alone + 1000 * MIB / 100_000_000, rel=0.02)
    both = node("s1", ct("a", **fat), ct("b", **fat), **link)
    assert makespan(both, overlapping_pauses=False) == pytest.approx(
        2 * alone - DEFAULT_RATES["stream"].setup_s, rel=0.001
    )


def test_the_scores_of_a_rebalances_alternatives_are_those_of_the_fleet_with_the_container_there(migrator):
    code, out, _ = migrator("explain", REBALANCE, "job-09", *RACK, "--json")
    told, plan = json.loads(out)["balance"], plan_file.load(Path(REBALANCE))
    assert code == 0
    assert f" -> {told['score']:.4f}" in plan.notes[0]
    others = [other["score"] for other in told["others"]]
    assert told["score"] < others[0] <= others[-1]
    assert told["score"] < told["left"]
    assert migrator("explain", PLAN, "job-04", *RACK, "--json")[1].count('"balance"') == 0
