"""For each thing the checker can find: a good plan, broken in just that way, is found to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, PlannedMove, Refusal
from migrator.model.volume import Mounted, Volume
from migrator.planner.drain import drain
from migrator.planner.moves import move as by_name
from migrator.planner.rebalance import Terms, rebalance
from tests.properties.breakages import BREAKS, VARIANTS, Broken, good, silence, source_of, with_guest, with_node
from tests.properties.fleets import ct


def test_there_is_a_way_to_break_every_rule() -> None:
    assert BREAKS.keys() == set(Code)


@pytest.mark.parametrize(("code", "break_it"), [*BREAKS.items(), *VARIANTS])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(good())
def test_a_plan_broken_in_one_way_is_found_broken_in_that_way(
    code: Code,
    break_it: Callable[[Cluster, Plan, PlannedMove], Broken],
    drawn: tuple[Cluster, Plan, PlannedMove],
) -> None:
    fleet, plan = break_it(*drawn)
    assert code in {finding.code for finding in check(fleet, plan, plan.policy)}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(good())
def test_a_soft_rule_is_no_finding_and_never_makes_a_plan_stale(drawn: tuple[Cluster, Plan, PlannedMove]) -> None:
    fleet, plan = silence(*drawn)
    assert {finding.code for finding in check(fleet, plan, plan.policy)} == {Code.SOFT_UNSAID}
    assert Code.SOFT_UNSAID.drifts
    said = replace(plan, notes=("soft rule 1 (ban, weight 1) is broken by this plan: ...",))
    assert check(fleet, said, plan.policy) == ()


@pytest.mark.parametrize(
    "facts",
    [
        {"arch": "aarch64"},
        {"cpu_flags": ("aes",)},
        {"criu": ""},
        {"runc": ""},
        {"rsync": ""},
        {"criu": "4.2"},
        {"runc": "1.1.14"},
        {"features": ("timens",)},
        {"cordon": "operator"},
        {"bridges": ("br1",)},
        {"inodes_available": 9},
    ],
    ids=str,
)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(good())
def test_a_target_of_another_kind_is_found_and_never_planned(
    facts: dict[str, Any], drawn: tuple[Cluster, Plan, PlannedMove]
) -> None:
    fleet, plan, move = drawn
    changed = with_node(fleet, move.target, **facts)
    found = Code.TARGET_CORDONED if "cordon" in facts else Code.INCOMPATIBLE
    assert found in {finding.code for finding in check(changed, plan, plan.policy)}
    again = drain(changed, ["n0"], "-", plan.policy)
    if isinstance(again, Plan):
        assert move.target not in {other.target for other in again.moves}
    even = rebalance(changed, "-", plan.policy, Terms(iterations=20, min_gain=0.0))
    assert move.target not in {other.target for other in even.moves if other.source == move.source}
    assert isinstance(by_name(changed, {move.container: move.target}, "-", plan.policy, "move"), Refusal)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(good())
def test_a_kernel_without_what_the_processes_use_is_found_and_never_planned(
    drawn: tuple[Cluster, Plan, PlannedMove],
) -> None:
    fleet, plan, move = drawn
    source = fleet.node(move.source)
    using = [replace(c, needs=("map_droppable",)) if c.name == move.container else c for c in source.containers]
    changed = with_node(fleet, move.source, containers=tuple(using))
    assert Code.INCOMPATIBLE in {finding.code for finding in check(changed, plan, plan.policy)}
    assert isinstance(drain(changed, ["n0"], "-", plan.policy), Refusal)
    able = changed
    for node in fleet.nodes:
        able = with_node(able, node.name, features=(*node.features, "map_droppable"))
    assert Code.INCOMPATIBLE not in {finding.code for finding in check(able, plan, plan.policy)}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(good())
def test_a_range_of_user_ids_that_cannot_be_shifted_is_found_and_never_planned_beside_its_like(
    drawn: tuple[Cluster, Plan, PlannedMove],
) -> None:
    fleet, plan, move = drawn
    for each in fleet.nodes:
        fleet = with_node(fleet, each.name, volumes={"docs": Mounted("/srv")})
    descriptor = source_of(fleet, move).descriptor
    assert descriptor is not None
    twin = ct("twin", descriptor.id_index)
    changed = with_guest(fleet, move.target, twin)
    assert Code.INCOMPATIBLE not in {finding.code for finding in check(changed, plan, plan.policy)}
    kept = replace(descriptor, volumes=(Volume("docs", "/srv/docs"),))
    holding = [
        replace(c, descriptor=kept) if c.name == move.container else c for c in fleet.node(move.source).containers
    ]
    changed = with_node(changed, move.source, containers=tuple(holding))
    assert Code.INCOMPATIBLE in {finding.code for finding in check(changed, plan, plan.policy)}
    again = drain(changed, ["n0"], "-", plan.policy)
    if isinstance(again, Plan):
        assert again.move(move.container).target != move.target
