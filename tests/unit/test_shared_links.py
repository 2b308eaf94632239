"""Links that nodes share count in every prediction of a move: what it takes, whether its pause is allowed, where to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.checker.pauses import estimated
from migrator.model.facts import Cluster, Link, SharedLink
from migrator.model.links import Crossings
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.arrays import Targets
from migrator.planner.balance import Terms, price
from migrator.planner.construct import _busiest_source_s
from migrator.planner.drain import drain
from migrator.planner.movers import free_movers
from migrator.planner.moves import move
from migrator.planner.rebalance import rebalance
from tests.properties.fleets import GIB, cluster, ct, node

FAST = Link(1_000_000_000, 1_000_000_000)
UPLINK_BYTES_S = 100_000_000
PAUSE_S = DEFAULT_RATES["stream"].pause_s
ALONE_S = round(PAUSE_S + GIB / UPLINK_BYTES_S, 3)  # 11.2 s
RACK = SharedLink("rack", ("n1", "n2"), UPLINK_BYTES_S, UPLINK_BYTES_S)
PATIENT = PlanPolicy(headroom_percent=0, blackout_s_max=60)
STRICT = PlanPolicy(headroom_percent=0, blackout_s_max=5)


def fleet(*others: str, links: tuple[SharedLink, ...] = (RACK,), **given) -> Cluster:
    """Node n1 with one container of a GiB, and others."""
    held = ct("a", memory=GIB, anon_bytes=GIB, files_bytes=0)
    nodes = (node("n1", held, link=FAST, **given), *(node(name, link=FAST, **given) for name in others))
    return replace(cluster(*nodes), links=links)


def test_a_move_is_estimated_over_the_slowest_link_that_it_crosses():
    plan = drain(fleet("n3"), ["n1"], "-", PATIENT)
    assert isinstance(plan, Plan)
    assert plan.move("a").estimate.blackout_s == ALONE_S
    assert plan.move("a").estimate.duration_s == pytest.approx(ALONE_S + DEFAULT_RATES["stream"].setup_s)
    assert check(fleet("n3"), plan, PATIENT) == ()
    assert not any(note.startswith("pauses") for note in plan.notes)


def test_among_the_nodes_behind_a_link_it_does_not_count():
    plan = drain(fleet("n2"), ["n1"], "-", PATIENT)
    assert isinstance(plan, Plan)
    assert plan.move("a").estimate.blackout_s < 2


def test_a_pause_over_the_limit_by_a_shared_link_is_avoided_and_else_refused():
    behind = drain(fleet("n2", "n3"), ["n1"], "-", STRICT)
    assert isinstance(behind, Plan)
    assert behind.move("a").target == "n2"
    refused = drain(fleet("n3"), ["n1"], "-", STRICT)
    assert isinstance(refused, Refusal)
    assert "its pause is predicted at 10.9 s, over the limit of 5.00 s" in str(refused.containers[0].reasons[0])
    named = move(fleet("n3"), {"a": "n3"}, "-", STRICT, "move a to n3")
    assert isinstance(named, Refusal)
    assert "10.9 s" in str(named.containers[0].reasons[0])


def test_a_rebalance_sends_nothing_over_a_shared_link_that_is_too_slow():
    held = [ct(name, 20 + i, memory=GIB, anon_bytes=GIB) for i, name in enumerate("abcd")]
    nodes = (node("n1", *held, link=FAST), node("n2", link=FAST), node("n3", link=FAST))
    plan = rebalance(replace(cluster(*nodes), links=(RACK,)), "-", STRICT, Terms(1000, 0.01))
    assert {m.target for m in plan.moves} == {"n2"}


def test_the_checker_finds_a_pause_that_only_a_shared_link_makes_too_long():
    plan = drain(fleet("n3", links=()), ["n1"], "-", STRICT)
    assert isinstance(plan, Plan)
    found = {finding.code for finding in check(fleet("n3"), plan, STRICT)}
    assert {Code.PAUSE_TOO_LONG, Code.ESTIMATE} <= found


@pytest.mark.parametrize(
    "links",
    [
        (SharedLink("out", ("n1",), UPLINK_BYTES_S, None),),
        (SharedLink("in", ("n3",), None, UPLINK_BYTES_S),),
        (RACK, SharedLink("row", ("n1", "n2", "n4"), UPLINK_BYTES_S * 2, None)),
        (SharedLink("row", ("n1", "n2", "n4"), UPLINK_BYTES_S, None), SharedLink("rack", ("n1",), None, 1)),
    ],
)
def test_planner_and_checker_count_each_link_its_own_way(links):
    there = fleet("n2", "n3", "n4", links=links)
    plan = move(there, {"a": "n3"}, "-", PATIENT, "move a to n3")
    assert isinstance(plan, Plan)
    assert plan.move("a").estimate.blackout_s == ALONE_S
    assert estimated(there, plan, PATIENT) == {"a": plan.move("a").estimate}


def test_where_a_source_streams_to_others_it_is_not_counted_as_if_it_sent_images_to_itself():
    deaf = fleet("n2", links=(), stream_in="userfaultfd is for root alone")
    heard = replace(deaf, nodes=tuple(replace(n, stream_in="yes") if n.name == "n2" else n for n in deaf.nodes))
    (mover,) = free_movers(deaf, deaf.nodes[:1])
    dear, cheap = (Targets(facts.nodes[1:], PATIENT, facts) for facts in (deaf, heard))
    assert price(mover, cheap) < price(mover, dear)
    assert _busiest_source_s([mover], cheap) == pytest.approx(GIB / DEFAULT_RATES["stream"].send_bytes_per_s)
    assert _busiest_source_s([mover], dear) == pytest.approx(GIB / DEFAULT_RATES["images"].send_bytes_per_s)


def test_crossings_are_found_by_node():
    crossings = Crossings([RACK, SharedLink("row", ("n1", "n2", "n4"), 7, None)])
    assert crossings.speeds("n1", "n2") == ()
    assert crossings.speeds("n1", "n4") == (UPLINK_BYTES_S,)
    assert crossings.speeds("n1", "n9") == (UPLINK_BYTES_S, 7)
    assert crossings.speeds("n9", "n1") == (UPLINK_BYTES_S,)
