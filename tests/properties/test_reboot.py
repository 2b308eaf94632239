"""Reboot groups on random fleets: nobody is left out, every group is a good plan, and there are few of them."""

from __future__ import annotations

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.reboot import check_reboot
from migrator.inventory import reboot_file
from migrator.model import what_if
from migrator.model.facts import Cluster
from migrator.model.plan_policy import PlanPolicy
from migrator.model.reboot import Reboot
from migrator.planner.reboot import reboot
from tests.properties.fleets import fleets, larger_fleets, policies
from tests.properties.oracle import can_drain, carry_out, fewest_groups

some = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
fewer = settings(some, max_examples=30)  # where every example is carried out, or planned twice
tiny_fleets = fleets(5, st.integers(0, 2), st.integers(0, 2))


def made(cluster: Cluster, policy: PlanPolicy) -> Reboot:
    return reboot(cluster, [node.name for node in cluster.nodes], "-", policy, "--all")


@some
@given(st.one_of(tiny_fleets, larger_fleets), policies)
def test_every_node_is_in_one_group_or_refused_with_a_reason(cluster: Cluster, policy: PlanPolicy) -> None:
    found = made(cluster, policy)
    grouped = [name for plan in found.groups for name in plan.empties]
    refused = [one.node for one in found.refused]
    assert sorted(grouped + refused) == [node.name for node in cluster.nodes]
    assert all(one.refusal.reasons or one.refusal.containers for one in found.refused)


@some
@given(st.one_of(tiny_fleets, larger_fleets), policies)
def test_the_checker_passes_every_group_and_its_return_one_after_the_other(
    cluster: Cluster, policy: PlanPolicy
) -> None:
    assert check_reboot(cluster, made(cluster, policy)) == ()


@fewer
@given(larger_fleets, policies, st.data())
def test_however_a_group_is_drained_everything_fits_and_its_nodes_end_empty(
    cluster: Cluster, policy: PlanPolicy, data: st.DataObject
) -> None:
    now, found = cluster, made(cluster, policy)
    for plan, back in zip(found.groups, found.returns, strict=True):
        end = carry_out(now, plan, lambda count: data.draw(st.integers(0, count - 1)))
        assert isinstance(end, Cluster), end
        assert [end.node(name).containers for name in plan.empties] == [()] * len(plan.empties)
        again = carry_out(what_if.rebooted(now, plan), back, lambda count: data.draw(st.integers(0, count - 1)))
        assert isinstance(again, Cluster), again
        now = what_if.returned(now, plan, back)


@fewer
@given(st.one_of(tiny_fleets, larger_fleets), policies)
def test_equal_facts_make_equal_groups_and_they_come_back_from_their_file(cluster: Cluster, policy: PlanPolicy) -> None:
    first, second = made(cluster, policy), made(cluster, policy)
    assert reboot_file.dump(first) == reboot_file.dump(second)
    assert reboot_file.parse(reboot_file.dump(first), "x.json") == first


@settings(some, max_examples=250)
@given(tiny_fleets, policies)
def test_a_node_is_refused_exactly_when_no_sequence_of_moves_empties_it(cluster: Cluster, policy: PlanPolicy) -> None:
    refused = {one.node for one in made(cluster, policy).refused}
    assert refused == {node.name for node in cluster.nodes if not can_drain(cluster, node.name, policy)}


@settings(some, max_examples=250)
@given(tiny_fleets, policies)
def test_on_tiny_fleets_there_is_at_most_one_group_more_than_the_fewest_and_the_bound_is_no_more(
    cluster: Cluster, policy: PlanPolicy
) -> None:
    found = made(cluster, policy)
    names = [name for plan in found.groups for name in plan.empties]
    fewest = fewest_groups(cluster, sorted(names), policy)
    event(f"{len(names)} nodes: {len(found.groups)} groups, fewest {fewest}, bound {found.groups_min}")
    assert found.groups_min <= fewest <= len(found.groups) <= fewest + 1
