"""Cards and published ports restrict where containers go: planner, survival and checker agree about it."""

from __future__ import annotations

from dataclasses import replace

from migrator.checker.check import check
from migrator.model.facts import ContainerFacts
from migrator.model.nics import Nic
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.ports import Port
from migrator.planner.drain import drain
from tests.properties.fleets import cluster, ct, node

BACK = Nic("eth1", "br1", ("10.1.0.7/24",))
HTTP = Port(8080, 80)


def having(container: ContainerFacts, **fields: object) -> ContainerFacts:
    assert container.descriptor is not None
    return replace(container, descriptor=replace(container.descriptor, **fields))


def planned(*nodes: object) -> Plan | Refusal:
    return drain(cluster(*nodes), ("n1",), "sha256:x", PlanPolicy())


def why(refusal: Plan | Refusal) -> str:
    assert isinstance(refusal, Refusal)
    return "; ".join(str(reason) for stuck in refusal.containers for reason in stuck.reasons)


def test_a_container_goes_where_its_cards_bridges_are_or_the_reason_names_them() -> None:
    home = node("n1", having(ct("a"), nics=(BACK,)), bridges=("br0", "br1"))
    with_it = node("n3", ct("x", memory=4 << 30), bridges=("br0", "br1"))
    plan = planned(home, node("n2"), with_it)
    assert isinstance(plan, Plan)
    assert plan.move("a").target == "n3"
    assert check(cluster(home, node("n2"), with_it), plan, PlanPolicy()) == ()
    assert "n2: bridge br1, which its card eth1 is on, is not there" in why(planned(home, node("n2")))


def test_the_checker_finds_a_move_to_a_node_without_the_bridge_by_itself() -> None:
    home = node("n1", having(ct("a"), nics=(BACK,)), bridges=("br0", "br1"))
    there = node("n2", bridges=("br0", "br1"))
    plan = planned(home, there)
    assert isinstance(plan, Plan)
    found = check(cluster(home, node("n2")), plan, PlanPolicy())
    assert ["it has no bridge br1 for eth1" in finding.text for finding in found].count(True) == 1


def test_no_two_containers_with_one_published_port_come_to_one_node() -> None:
    movers = [having(ct(name), published=(HTTP,), nics=()) for name in ("a", "b")]
    home = node("n1", *(replace(mover) for mover in movers))
    plan = planned(home, node("n2"), node("n3"))
    assert isinstance(plan, Plan)
    assert {move.target for move in plan.moves} == {"n2", "n3"}
    assert sum(note.startswith("ports: container") for note in plan.notes) == 2
    assert "port 8080/tcp" in why(planned(home, node("n2")))
    taken = node("n2", having(ct("x"), published=(HTTP,)))
    assert "container x has published port 8080/tcp" in why(planned(node("n1", movers[0]), taken))


def test_the_checker_finds_two_with_one_port_on_a_node_by_itself() -> None:
    home = node("n1", having(ct("a"), published=(HTTP,)))
    plan = planned(home, node("n2"))
    assert isinstance(plan, Plan)
    taken = cluster(home, node("n2", having(ct("x"), published=(HTTP,))))
    assert any(
        "x, with the same published port 8080, may be on n2" in found.text for found in check(taken, plan, PlanPolicy())
    )
