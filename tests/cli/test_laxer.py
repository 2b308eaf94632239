"""A plan under laxer rules than the cluster's: it holds under its own, and that is said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from migrator.checker.check import check
from migrator.checker.laxer import laxer_note
from migrator.inventory import plan_document
from migrator.inventory.snapshot import save
from migrator.model.facts import Cluster
from migrator.model.modes import Mode
from migrator.model.plan import Plan
from migrator.model.plan_policy import Headroom, PlanPolicy, Standing, Waived
from migrator.model.rules import Ban, Pin
from migrator.planner.drain import drain
from tests.properties.fleets import cluster, ct, node

FLEET = cluster(node("n1", ct("a")), node("n2"), node("n3"))
BAN = Ban("a", ("n2", "n3"))


def under(**said: object) -> Cluster:
    return replace(FLEET, policy=Standing(**said))  # type: ignore[arg-type]


def planned(**policy: object) -> Plan:
    plan = drain(FLEET, ["n1"], "-", PlanPolicy(**policy))  # type: ignore[arg-type]
    assert isinstance(plan, Plan)
    return plan


def test_a_rule_that_the_plan_does_not_know_is_named_with_what_it_forbids_of_it():
    stricter = under(rules=(BAN,))
    assert check(stricter, planned(), planned().policy) == ()
    note = laxer_note(stricter, planned())
    assert note.startswith("the cluster's rules differ from the plan's: ban a on n2, n3 is not in the plan; ")
    assert "it would not hold (container a to n2: a is never on n2, n3)" in note
    assert note.endswith("plan again, unless it was meant so")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"headroom_percent": 50}, "headroom 50%, 5% in the plan"),
        ({"headroom": Headroom(memory=50)}, "headroom of memory 50%, 5% in the plan"),
        ({"anti_affinity": ("svc",)}, "keeping apart by svc is not in the plan"),
        ({"blackout_s_max": 1.0}, "longest pause 1.00 s, 15.0 s in the plan"),
        ({"moves_per_node_max": 1}, "moves of one node at a time 1, 2 in the plan"),
        ({"bandwidth_bytes_per_s": 1 << 20}, "bandwidth 1.0 MiB/s, no bound in the plan"),
        ({"mode": Mode.RESTART}, "mode restart, auto in the plan"),
    ],
)
def test_each_bound_that_is_stricter_by_now_is_named(said: dict[str, object], words: str):
    assert f": {words}; only the plan's own are checked, " in laxer_note(under(**said), planned())


@pytest.mark.parametrize(
    "said", [{"overlapping_pauses": False, "leave_stopped": False}, {"overlapping_pauses": True, "leave_stopped": True}]
)
def test_what_the_plan_may_and_the_cluster_lets_nobody_is_named(said: dict[str, bool]):
    note = laxer_note(under(**said), planned(overlapping_pauses=True, leave_stopped=True))
    assert bool(note) is not said["leave_stopped"]


def test_a_plan_that_is_as_strict_or_stricter_or_whose_rules_were_waived_is_not_spoken_of():
    assert laxer_note(FLEET, planned()) == ""
    assert laxer_note(under(headroom_percent=5, rules=(Pin("b"),)), planned(rules=(Pin("b"), Ban("a", ("n2",))))) == ""
    waived = replace(planned(), policy=replace(planned().policy, waived=(Waived(1, "ban a on n2, n3"),)))
    assert laxer_note(under(rules=(BAN,)), waived) == ""


def test_check_says_it_and_holds_all_the_same(migrator, tmp_path):
    plan_document.save(planned(), tmp_path / "p.json")
    save(under(rules=(BAN,), headroom_percent=50), tmp_path / "s.json")
    words = ("check", tmp_path / "p.json", "--snapshot", tmp_path / "s.json")
    code, out, err = migrator(*words)
    assert (code, err) == (0, "")
    assert "note: the cluster's rules differ from the plan's: ban a on n2, n3 is not in the plan; headroom 50%" in out
    notes = json.loads(migrator(*words, "--json")[1])["notes"]
    assert [note.split(":")[0] for note in notes] == ["the cluster's rules differ from the plan's"]
