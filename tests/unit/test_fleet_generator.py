"""Fleets made for benchmarks and tests: the given format, the given shape, and a drain that is possible."""

from __future__ import annotations

import pytest

from migrator.demo.fleets import SIZES_MIB, fleet_text
from migrator.inventory import ganeti
from migrator.model.facts import Cluster, Link
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.drain import drain

POLICY = PlanPolicy(blackout_s_max=86_400)


def made(nodes: int, emptied: int, seed: int = 1) -> Cluster:
    return ganeti.parse(fleet_text(nodes, 10 * nodes, emptied, seed), "made", Link(1_250_000_000, 1_250_000_000))


def test_the_same_seed_makes_the_same_fleet_and_another_makes_another() -> None:
    assert fleet_text(20, 200, 1) == fleet_text(20, 200, 1)
    assert fleet_text(20, 200, 1) != fleet_text(20, 200, 1, seed=2)


def test_a_fleet_has_the_shape_that_was_asked_for() -> None:
    fleet = made(100, 5)
    held = [c for node in fleet.nodes for c in node.containers]
    assert (len(fleet.nodes), len(held)) == (100, 1000)
    assert [node.name for node in fleet.nodes if node.cordon] == [f"n{number:05d}" for number in range(5)]
    assert {c.reserved.memory_bytes >> 20 for c in held} == set(SIZES_MIB)
    full = sum(c.reserved.memory_bytes for c in held) / sum(node.capacity.memory_bytes for node in fleet.nodes)
    assert 0.7 < full < 0.8


def test_racks_are_labels_of_the_nodes_and_change_nothing_else() -> None:
    racked = ganeti.parse(fleet_text(20, 100, 1, racks=4), "made", Link())
    plain = ganeti.parse(fleet_text(20, 100, 1), "made", Link())
    assert [n.labels["rack"] for n in racked.nodes[:5]] == ["r1", "r2", "r3", "r4", "r1"]
    assert [n.containers for n in racked.nodes] == [n.containers for n in plain.nodes]


def test_a_group_has_five_members_on_five_nodes() -> None:
    groups: dict[str, list[str]] = {}
    for node in made(50, 2).nodes:
        for container in node.containers:
            assert container.descriptor is not None
            groups.setdefault(container.descriptor.labels["svc"], []).append(node.name)
    assert all(len(nodes) == len(set(nodes)) == 5 for nodes in groups.values())


@pytest.mark.parametrize("seed", range(1, 4))
def test_the_marked_nodes_of_a_fleet_can_be_emptied(seed: int) -> None:
    fleet = made(100, 5, seed)
    plan = drain(fleet, [node.name for node in fleet.nodes if node.cordon], "sha256:x", POLICY)
    assert isinstance(plan, Plan)


def test_a_fleet_that_cannot_hold_its_containers_is_not_made() -> None:
    with pytest.raises(ValueError, match="no node takes"):
        fleet_text(2, 200, 0)
