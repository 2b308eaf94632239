"""What a refusal tells an operator to change, tried with the very words that it tells."""

from __future__ import annotations

import re

import pytest

from migrator.inventory import snapshot
from migrator.model.facts import Link
from tests.cli.words import one_line
from tests.properties.fleets import GIB, MIB, cluster, ct, node

WEB, DB = {"app": "web"}, {"app": "db"}
A, B = {"labels": {"rack": "A"}}, {"labels": {"rack": "B"}}
HELD = (ct("w1", labels=WEB), ct("w2", labels=WEB), ct("d1", labels=DB))
START = ("--start", "2026-03-02T12:00:00+00:00")


@pytest.fixture
def plan(migrator, tmp_path):
    """Plans with a fleet and rules, as lines of YAML; returns the command's end."""

    def run(fleet, rules, *words):
        snapshot.save(fleet, tmp_path / "facts.json")
        (tmp_path / "policy.yaml").write_text(
            "rules:\n" + "".join(f"- {{{rule}}}\n" for rule in rules) if rules else ""
        )
        given = ("--policy", tmp_path / "policy.yaml") if rules else ()
        return migrator("plan", *words, "--snapshot", tmp_path / "facts.json", *given)

    return run


def flags(told: str) -> list[str]:
    """The options of the first change that would do for the whole plan."""
    first = told.split("; possible ")[1].split(", or with", maxsplit=1)[0]
    return [word for flag in re.findall(r"--[a-z-]+ [^ ,:;)]+", first) for word in flag.split()]


def test_what_an_evacuation_is_told_to_change_makes_it_possible(plan):
    full = cluster(node("a1", *HELD, **A), node("b1", memory=GIB // 2, **B), node("b2", memory=GIB // 2, **B))
    words = ("evacuate", "--label", "rack=A")
    code, _, err = plan(full, (), *words)
    assert (code, "extra-1=a1" in err) == (3, False)
    more = re.findall(r"--add-node [^ )]+", err)
    assert more
    assert plan(full, (), *words, *[word for flag in more for word in flag.split()])[0] == 0


def test_rules_that_have_to_be_waived_together_are_told_together(plan):
    fleet = cluster(node("a1", *HELD, **A), node("a2", ct("x1"), **A), node("b1", ct("w3", labels=WEB), **B))
    rules = ("rule: fence, containers: x1, nodes: [a2]", "rule: lonely, containers: d1", "rule: pin, containers: w1")
    code, _, err = plan(fleet, rules, "drain", "a1")
    assert (code, flags(one_line(err))) == (3, ["--waive", "2", "--waive", "3"])
    assert plan(fleet, rules, "drain", "a1", "--waive", "2", "--waive", "3")[0] == 0
    more = ("rule: ban, containers: app=db, nodes: [a2, b1]", "rule: pin, containers: w2")
    code, _, err = plan(fleet, (*rules, *more), "drain", "a1")
    assert (code, sorted(flags(one_line(err))[1::2])) == (3, ["2", "3", "4", "5"])


def test_a_change_of_room_and_a_rule_are_told_together_where_both_are_needed(plan):
    fleet = cluster(node("a1", *HELD), node("b1", memory=GIB // 2))
    code, _, err = plan(fleet, ("rule: pin, containers: d1",), "drain", "a1")
    assert code == 3
    told = one_line(err).split("; possible ")[1]
    assert "without rule 1 (pin): --waive 1" in told
    assert " and with " in told or " and without " in told


def test_a_container_that_a_rule_and_the_room_both_keep_is_told_both(plan):
    fleet = cluster(node("a1", ct("w1", memory=GIB)), node("b1", ct("o"), memory=GIB))
    rules = ("rule: ban, containers: o, nodes: [a1]", "rule: pin, containers: w1")
    code, _, err = plan(fleet, rules, "drain", "a1")
    assert code == 3
    told = one_line(err).split("; possible ")[1]
    assert told.startswith("without rule 2 (pin): --waive 2 and with ")
    assert re.search(r"and with [\d.]+ [MG]iB more memory on b1", told)
    assert plan(fleet, rules, "drain", "a1", "--waive", "2")[0] == 3
    roomy = cluster(fleet.nodes[0], node("b1", ct("o"), memory=3 * GIB))
    assert [plan(roomy, rules, "drain", "a1", *more)[0] for more in ((), ("--waive", "2"))] == [3, 0]


@pytest.mark.parametrize("words", [("reboot", "--label", "rack=A"), ("reboot", "--all")])
@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ((), "more memory on b1"),
        (("rule: fence, containers: app=db, nodes: [a1]",), "--waive 1"),
        (("rule: survive-node-loss, resources: [memory]",), "--waive 1"),
    ],
)
def test_a_reboot_that_is_refused_tells_the_changes_as_a_drain_does(plan, words, rules, told):
    large = ct("big", memory=3 * GIB)
    room = {"memory": 4 * GIB} if not rules else {}
    if "survive" in str(rules):
        fleet = cluster(node("a1", ct("p", memory=3 * GIB), **A), node("b1", ct("q", memory=3 * GIB), **B))
    else:
        fleet = cluster(node("a1", large, ct("d1", labels=DB), **A), node("b1", ct("o", memory=2 * GIB), **room, **B))
    code, out, err = plan(fleet, rules, *words)
    assert code == 3
    assert told in one_line(err)
    assert re.search(r"^a1(, b1)? could be emptied ", out, re.MULTILINE)


def test_what_stays_behind_on_the_way_back_is_told_with_what_it_lacks_and_the_option(migrator, tmp_path):
    facts, there, plan = (tmp_path / name for name in ("facts.json", "there.json", "plan.json"))
    full = (ct("a", cpu_milli=1000), ct("b", cpu_milli=1000))
    snapshot.save(cluster(node("n1", *full, cpu_milli=2000), node("n2"), node("n3")), facts)
    assert migrator("plan", "drain", "n1", "--snapshot", facts, "-o", plan)[0] == 0
    snapshot.save(cluster(node("n1", cpu_milli=2000), node("n2", full[0]), node("n3", full[1])), there)
    code, out, _ = migrator("plan", "return", plan, "--snapshot", there)
    assert code == 0
    (note,) = (line for line in out.splitlines() if line.startswith("note: container b stays"))
    assert "more CPU on n1" in note
    assert "--headroom 0" in note
    assert "note: " not in migrator("plan", "return", plan, "--snapshot", there, "--headroom", "0")[1]


def test_windows_that_never_meet_are_said_not_to_and_each_that_would_do_to_waive_is_told(plan):
    fleet = cluster(node("a1", ct("d1")), node("b1"))
    rules = [f'rule: window, containers: d1, open: ["{day} 00:00-01:00"]' for day in ("mon", "tue")]
    code, _, err = plan(fleet, rules, "drain", "a1", *START)
    assert code == 3
    assert "mon 00:00-01:00 UTC and tue 00:00-01:00 UTC are never open at one time for so long" in err
    assert "--waive 1, or without rule 2 (window): --waive 2" in err
    short = 'rule: window, containers: d1, open: ["mon 00:00-00:01"]'
    slow = cluster(
        node("a1", ct("d1", anon_bytes=200 * GIB, memory=300 * GIB), memory=900 * GIB), node("b1", memory=900 * GIB)
    )
    err = plan(slow, [short, rules[1]], "drain", "a1", *START, "--max-blackout", "9000")[2]
    assert "mon 00:00-00:01 UTC is never open for so long" in err or "are never open for so long" in err


def test_each_line_tells_what_its_container_needs_by_itself(plan):
    fleet = cluster(node("a1", *HELD), node("b1", ct("o")))
    code, out, err = plan(fleet, ("rule: containers-per-node, at_most: 1",), "drain", "a1", "--waive", "anti-affinity")
    assert code == 3
    assert "d1, w1, w2 could move " in out
    assert "with one node more like b1 (--add-node extra-1=b1)" in out
    assert "nodes more" not in out.split("each of these is a change by itself")[0]
    assert "with 3 nodes more like b1" in err


def test_a_longer_pause_and_room_are_told_together_where_one_container_lacks_both(plan):
    slow = Link(100_000_000, 100_000_000)
    held = ct("a", memory=GIB, anon_bytes=GIB)
    fleet = cluster(node("n1", held, link=slow), node("n2", memory=GIB, link=slow))
    words = ("drain", "n1", "--max-blackout", "5", "--headroom", "0")
    code, _, err = plan(fleet, (), *words)
    assert code == 3
    told = one_line(err).split("; possible ")[1]
    assert told.startswith("with a pause of 11.0 s allowed (--max-blackout 11) and with 320.0 MiB more memory and ")
    grown = cluster(node("n1", held, link=slow), node("n2", memory=GIB + 320 * MIB, link=slow))
    assert plan(grown, (), *words)[0] == 3
    assert plan(grown, (), *words[:2], "--max-blackout", "11", "--headroom", "0")[0] == 0
