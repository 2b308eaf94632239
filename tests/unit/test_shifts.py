"""Containers of equal ranges of user ids in plans: who comes second gets another range, and the plan says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from migrator.checker.check import check
from migrator.executor.ranges import range_beside
from migrator.journal.store import Migration
from migrator.model.facts import Cluster, ContainerFacts
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.ranges import another_range
from migrator.model.volume import Mounted, Volume
from migrator.planner.balance import Terms
from migrator.planner.drain import drain
from migrator.planner.moves import move as by_name
from migrator.planner.range_notes import shifts
from migrator.planner.rebalance import rebalance
from migrator.protocol.states import State
from migrator.runtime.bundle import descriptor_json
from tests.properties.fleets import GIB, cluster, ct, node
from tests.unit.test_bundle import WEB

POLICY = PlanPolicy(headroom_percent=0)


def kept(container: ContainerFacts) -> ContainerFacts:
    """The same with files on a shared volume, which bear its ids on all nodes."""
    assert container.descriptor is not None
    return replace(container, descriptor=replace(container.descriptor, volumes=(Volume("docs", "/srv/docs"),)))


def of(nodes: tuple[Any, ...]) -> Cluster:
    return cluster(*(replace(n, volumes={"docs": Mounted("/srv")}) for n in nodes))


def drained(*nodes: Any) -> Plan | Refusal:
    return drain(of(nodes), ("n1",), "-", POLICY)


def test_one_is_drained_to_where_its_range_is_anothers_and_the_plan_names_the_new_one() -> None:
    fleet = node("n1", ct("a", 20)), node("n2", ct("b", 20))
    plan = drained(*fleet)
    assert isinstance(plan, Plan), plan
    assert plan.move("a").target == "n2"
    new = another_range("a", {20})
    told = (
        f"its ids are shifted from {20 * 65536} to {new * 65536} on arrival, since container b has the same range on n2"
    )
    assert f"ids: container a: {told}" in plan.notes
    assert shifts(of(fleet), plan.moves) == {"a": told}
    assert not check(of(fleet), plan, POLICY)


def test_two_of_one_range_go_to_one_node_and_one_of_them_is_shifted() -> None:
    fleet = node("n1", ct("a", 20), ct("b", 20)), node("n2")
    plan = drained(*fleet)
    assert isinstance(plan, Plan), plan
    told = f"with the same range of ids from {20 * 65536} on, comes to n2 too; the ids of the one that comes second are"
    assert shifts(of(fleet), plan.moves) == {
        name: f"container {other}, {told} shifted on arrival" for name, other in (("a", "b"), ("b", "a"))
    }
    assert not check(of(fleet), plan, POLICY)


def test_two_of_one_range_change_places_and_neither_waits_for_the_other() -> None:
    fleet = of((node("n1", ct("a", 20)), node("n2", ct("b", 20))))
    plan = by_name(fleet, {"a": "n2", "b": "n1"}, "-", POLICY, "move a=n2 b=n1")
    assert isinstance(plan, Plan), plan
    assert [m.waits_for for m in plan.moves] == [(), ()]
    assert not check(fleet, plan, POLICY)


def test_a_rebalance_does_not_mind_equal_ranges() -> None:
    fleet = of((node("n1", *(ct(name, 20 + i, memory=GIB) for i, name in enumerate("abcd"))), node("n2", ct("e", 20))))
    twin = of((node("n1", *(ct(name, 20 + i, memory=GIB) for i, name in enumerate("abcd"))), node("n2", ct("e", 90))))
    with_it, without = (rebalance(each, "-", POLICY, Terms(iterations=20, min_gain=0.0)) for each in (fleet, twin))
    assert with_it.moves == without.moves
    assert any(m.container == "a" for m in with_it.moves)
    assert not check(fleet, with_it, POLICY)


def test_one_with_files_on_a_shared_volume_stays_apart_as_it_cannot_be_shifted() -> None:
    refused = drained(node("n1", kept(ct("a", 20))), node("n2", ct("b", 20)))
    assert isinstance(refused, Refusal)
    (reason,) = refused.containers[0].reasons
    assert "the same range of user ids" in str(reason)
    assert "shared volumes" in str(reason)
    assert "recreate one of them" in str(reason)


def test_one_that_comes_to_it_is_told_of_the_move_by_name() -> None:
    refused = drained(node("n1", ct("a", 20)), node("n2", kept(ct("b", 20))))
    assert isinstance(refused, Refusal)
    assert "moved there by its name it gets another (migrator migrate)" in str(refused.containers[0].reasons[0])


def test_one_that_cannot_be_shifted_goes_where_the_range_is_free_and_alone() -> None:
    roomy = node("n2"), node("n3")
    plan = drained(node("n1", kept(ct("a", 20)), ct("b", 20)), *roomy)
    assert isinstance(plan, Plan), plan
    assert plan.move("a").target != plan.move("b").target
    refused = drained(node("n1", kept(ct("a", 20)), ct("b", 20)), roomy[0])
    assert isinstance(refused, Refusal)


def test_one_that_cannot_be_shifted_waits_until_the_other_has_left() -> None:
    fleet = of((node("n1", kept(ct("a", 20))), node("n2", ct("b", 20)), node("n3")))
    plan = by_name(fleet, {"a": "n2", "b": "n3"}, "-", POLICY, "move a=n2 b=n3")
    assert isinstance(plan, Plan), plan
    assert plan.move("a").waits_for == ("b",)
    at_once = replace(plan, moves=tuple(replace(m, waits_for=()) for m in plan.moves))
    (found,) = check(fleet, at_once, POLICY)
    assert "the same range of user ids" in found.text


class Run:
    """A journal of one run, and a fleet as it is probed."""

    def __init__(self, fleet: Cluster, *moves: Migration) -> None:
        self.fleet, self.moves, self.probes = fleet, list(moves), 0

    def migrations(self, run: str) -> list[Migration]:
        return self.moves

    async def probe(self) -> Cluster:
        self.probes += 1
        return self.fleet


def coming(name: str, target: str = "n2", decision: State | None = None, **more: Any) -> Migration:
    document = {"descriptor": descriptor_json(replace(WEB, name=name)).decode(), **more}
    return Migration(f"r/{name}/1", "r", name, "n1", target, 5, 1, decision, document)


async def test_of_two_that_come_to_one_node_at_once_the_second_is_shifted() -> None:
    class Going:
        name, run, descriptor = WEB.name, "r", WEB
        descriptor_there = WEB

        class target:  # noqa: N801
            class node:  # noqa: N801
                name = "n2"

    async def range_of(*moves: Migration) -> int:
        run = Run(Cluster("c", ()), *moves)
        return await range_beside(run, run, Going)  # type: ignore[arg-type]

    own = WEB.id_index
    shifted = another_range(WEB.name, {own})
    assert await range_of(coming("other")) == shifted
    assert await range_of(coming("other"), coming("third", id_index_there=shifted)) == another_range(
        WEB.name, {own, shifted}
    )
    assert await range_of(coming("other", id_index_there=77)) == own
    assert await range_of(coming("other", "n3")) == own
    assert await range_of(coming("other"), coming("other", "n3")) == own
    assert await range_of(coming("other", decision=State.ABORTED)) == own
    assert await range_of(coming(WEB.name)) == own
