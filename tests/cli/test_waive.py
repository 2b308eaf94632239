"""Rules that are waived: their numbers are those of the file, and the plan and all that is said of it tells them."""

from __future__ import annotations

import json

import pytest

from migrator.inventory import snapshot
from tests.cli.words import one_line
from tests.properties.fleets import cluster, ct, node

WEB, DB = {"app": "web"}, {"app": "db"}
RACKS = cluster(
    node("a1", ct("w1", labels=WEB), ct("w2", labels=WEB), ct("d1", labels=DB), labels={"rack": "A"}),
    node("a2", ct("x1"), labels={"rack": "A"}),
    node("b1", ct("w3", labels=WEB), labels={"rack": "B"}),
    node("b2", ct("d2", labels=DB), labels={"rack": "B"}),
)
POLICY = """rules:
- {rule: fence, containers: x1, nodes: [a2]}
- {rule: lonely, containers: d1}
- {rule: pin, containers: w1}
- {rule: ban, containers: w1, nodes: [b2], soft: true}
- {rule: spread, label: nothing, domain: rack, at_most: 1}
"""


@pytest.fixture
def planned(migrator, tmp_path):
    """Plans to empty a1 with these words, into a file that is returned with the command's end."""
    facts, policy, plan = (tmp_path / name for name in ("racks.json", "policy.yaml", "plan.json"))
    snapshot.save(RACKS, facts)
    policy.write_text(POLICY)

    def run(*words):
        return migrator("plan", "drain", "a1", "--snapshot", facts, "--policy", policy, "-o", plan, *words), facts, plan

    return run


def test_the_rules_that_are_left_keep_their_numbers_so_that_a_remedy_means_what_it_says(planned):
    (code, out, err), *_ = planned("--waive", "1")
    assert code == 3
    assert "--waive 2" in out + err
    assert "rule 1 (" not in out + err
    (code, _, err), *_ = planned("--waive", "1", "--waive", "2")
    assert (code, "without rule 3 (pin): --waive 3" in one_line(err)) == (3, True)
    (code, _, err), *_ = planned("--waive", "2", "--waive", "3")
    assert (code, "rule 5 (spread): no container has a label nothing" in err) == (0, True)


def test_what_was_waived_is_in_the_plan_and_in_all_that_is_said_of_it(planned, migrator):
    (_, out, _), facts, plan = planned("--waive", "2", "--waive", "3", "--waive", "anti-affinity")
    told = "waived: rule 2 (lonely d1), rule 3 (pin w1), keeping apart by anti-affinity"
    assert told in out
    for words in (("check", plan), ("plan", "show", plan), ("explain", plan, "w1")):
        assert told in migrator(*words, "--snapshot", facts)[1]
        document = json.loads(migrator(*words, "--snapshot", facts, "--json")[1])
        assert document["waived"] == [
            {"number": 2, "words": "lonely d1"},
            {"number": 3, "words": "pin w1"},
            {"number": 0, "words": "keeping apart by anti-affinity"},
        ]
    assert json.loads(plan.read_text())["policy"]["waived"] == document["waived"]


def test_a_number_that_no_rule_has_is_none_also_after_another_was_waived(planned):
    (code, _, err), *_ = planned("--waive", "1", "--waive", "6")
    assert (code, "there is no rule 6; there are 5 rules" in one_line(err)) == (2, True)
