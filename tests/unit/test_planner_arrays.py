"""Copies of a fleet in arrays are filled each by itself."""

from __future__ import annotations

from migrator.model.container import Descriptor
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.arrays import Targets
from migrator.planner.placement import Mover
from tests.properties.fleets import GIB, cluster, ct, node

WEB = {"anti-affinity": "web"}
FLEET = cluster(node("n0", ct("a", labels=WEB), ct("b", labels=WEB)), node("n1"), node("n2", memory=16 * GIB))


def mover(name: str) -> Mover:
    container = FLEET.node("n0").container(name)
    assert container is not None
    assert isinstance(container.descriptor, Descriptor)
    return Mover(container, container.descriptor, FLEET.node("n0"))


def test_closed_nodes_take_nothing_and_do_not_count_as_the_largest():
    targets = Targets(FLEET.nodes[1:], PlanPolicy(headroom_percent=0))
    assert targets.closing([1]).fitting(mover("a")).tolist() == [True, False]
    assert targets.closing([1]).largest[1] == 8 * GIB
    assert targets.closing([0, 1]).largest.tolist() == [0, 0, 0]
    assert targets.fitting(mover("a")).tolist() == [True, True]


def test_what_comes_to_a_copy_does_not_come_to_the_original_nor_to_other_copies():
    targets = Targets(FLEET.nodes[1:], PlanPolicy(headroom_percent=0))
    before = targets.room.tolist()
    first, second = targets.closing(), targets.closing()
    first.place(mover("a"), 0, 1.0)
    assert first.fitting(mover("b")).tolist() == [False, True]
    for untouched in (targets, second):
        assert untouched.fitting(mover("b")).tolist() == [True, True]
        assert untouched.room.tolist() == before
        assert untouched.inflow_s.tolist() == [0.0, 0.0]
