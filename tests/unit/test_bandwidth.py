"""A bound on what each move sends: kept with the plan, counted in its predictions, and known to the checker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.inventory import plan_file, policy_file, snapshot
from migrator.inventory.plan_document import dump, policy_document
from migrator.model.estimate import Manner, estimate_move
from migrator.model.facts import Link
from migrator.model.modes import Mode
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy, Standing
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES
from migrator.model.units import format_rate, parse_bytes_per_s
from migrator.planner.drain import drain
from migrator.protocol import checks
from tests.properties.fleets import MIB, cluster, ct, node

BOUND = 10_000_000
FLEET = cluster(node("n1", ct("a", anon_bytes=100 * MIB), ct("b", anon_bytes=50 * MIB)), node("n2"))


def made(policy: PlanPolicy) -> Plan:
    plan = drain(FLEET, ("n1",), snapshot.digest(FLEET), policy)
    assert isinstance(plan, Plan)
    return plan


def test_no_rate_is_above_it_and_what_is_slower_stays() -> None:
    rates = DEFAULT_RATES["stream"]
    assert rates.at_most(None) is rates
    bounded = rates.at_most(BOUND)
    assert (bounded.send_bytes_per_s, bounded.files_bytes_per_s, bounded.pause_s) == (BOUND, BOUND, rates.pause_s)
    assert rates.at_most(10**12) == rates


def test_a_plan_predicts_longer_pauses_and_says_why() -> None:
    free, bounded = made(PlanPolicy()), made(PlanPolicy(bandwidth_bytes_per_s=BOUND))
    longer = bounded.moves[0].estimate.blackout_s - free.moves[0].estimate.blackout_s
    assert longer > bounded.moves[0].estimate.memory_bytes / BOUND * 0.9
    assert bounded.makespan_s > free.makespan_s
    assert any("at most 80Mbit" in note for note in bounded.notes)
    assert not any("bandwidth" in note for note in free.notes)


def test_the_checker_finds_predictions_that_forget_it_and_none_in_a_plan_that_was_made_with_it() -> None:
    policy = PlanPolicy(bandwidth_bytes_per_s=BOUND)
    assert check(FLEET, made(policy), policy) == ()
    forgetful = replace(made(PlanPolicy()), policy=policy)
    assert {finding.code for finding in check(FLEET, forgetful, policy)} == {Code.ESTIMATE}


def test_what_was_learnt_stays_what_it_was_in_a_plan_that_is_bounded() -> None:
    fast = replace(DEFAULT_RATES["stream"], send_bytes_per_s=2_000_000_000, runs=7)
    plan = made(PlanPolicy(learnt={"n1": {"n2": fast}}, bandwidth_bytes_per_s=BOUND))
    assert plan.policy.learnt == {"n1": {"n2": fast}}


def test_a_plan_file_holds_it_where_there_is_one(tmp_path: Path) -> None:
    assert "bandwidth_bytes_per_s" not in policy_document(PlanPolicy())
    plan = made(PlanPolicy(bandwidth_bytes_per_s=BOUND))
    assert plan_file.parse(dump(plan), "x").policy.bandwidth_bytes_per_s == BOUND


def test_a_policy_file_and_a_snapshot_say_it_as_links_are_said(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("bandwidth: 80Mbit\n")
    said = policy_file.load(path)
    assert said == Standing(bandwidth_bytes_per_s=BOUND)
    document = json.loads(json.dumps(policy_file.to_document(said)))
    assert document == {"rules": [], "bandwidth": "80Mbit"}
    assert policy_file.of_document(document, "x") == said


@pytest.mark.parametrize("text", ["1Gbit", "200Mbit", "1536kbit", "8bit", "100000Gbit"])
def test_a_rate_is_told_as_it_is_written(text: str) -> None:
    assert format_rate(parse_bytes_per_s(text)) == text


@pytest.mark.parametrize(
    ("says", "refused"), [("Python 3.10 or newer is not there; install python3", True), ("pipes are small", False)]
)
def test_it_is_refused_where_nothing_could_hold_images_back(says: str, refused: bool) -> None:
    web, seen = FLEET.node("n1").containers[0].descriptor, checks.Neighbour({}, criu_works=True)
    seen.answered.update(dict.fromkeys(web.ips, checks.Answered(())) if web else {})
    assert web is not None
    source, target = replace(FLEET.node("n1"), stream_out=says), FLEET.node("n2")
    rates = DEFAULT_RATES["images"]
    told = [
        checks.findings(web, source, target, seen, Policy(bandwidth_bytes_per_s=most), rates, False, Manner(mode))
        for most, mode in ((BOUND, Mode.STOP_AND_COPY), (BOUND, Mode.RESTART), (None, Mode.STOP_AND_COPY))
    ]
    assert [any(each.startswith("--bandwidth") for each in found) for found in told] == [refused, False, False]


def test_an_estimate_counts_the_slowest_of_bound_and_links() -> None:
    (web,) = (c for c in FLEET.node("n1").containers if c.name == "a")
    bounded = PlanPolicy(bandwidth_bytes_per_s=BOUND).rates("n1", "n2", "stream")
    slow = estimate_move(web, Link(up_bytes_per_s=BOUND // 2), Link(), bounded)
    assert slow.blackout_s == pytest.approx(bounded.pause_s + web.anon_bytes / (BOUND // 2), abs=0.01)
