"""Where a container is made, and where one goes that is to have more: asked of the planner, under the rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.cli.refusal_text import refusal_line
from migrator.model.container import Descriptor
from migrator.model.facts import Cluster, Resources
from migrator.model.plan import Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Fence, Pin, Spread
from migrator.planner.construct import Choice
from migrator.planner.newcomer import place_all, place_grown, place_new
from tests.properties.fleets import GIB, MIB, cluster, ct, node


def new(name: str = "web", memory_bytes: int = GIB, **labels: str) -> Descriptor:
    made = ct(name, 500, labels=labels, memory=memory_bytes).descriptor
    assert made is not None
    return made


def target(choice: Choice | Refusal) -> str:
    assert isinstance(choice, Choice), choice
    return choice.target


def why(choice: Choice | Refusal) -> dict[str, str]:
    assert isinstance(choice, Refusal), choice
    return {reason.node: reason.text for stuck in choice.containers for reason in stuck.reasons}


def test_the_least_loaded_node_is_chosen_and_told_why() -> None:
    chosen = place_new(cluster(node("n1", ct("a", memory=2 * GIB)), node("n2")), new(), PlanPolicy())
    assert target(chosen) == "n2"
    assert isinstance(chosen, Choice)
    assert chosen.said().startswith("least loaded of 2 that fit")


def test_only_nodes_with_the_template_that_answer_and_are_open_are_asked() -> None:
    nodes = (
        node("n1", ct("a", memory=2 * GIB)),
        node("n2", templates={}),
        node("n3", cordon="me"),
        replace(node("n4"), error="no answer"),
    )
    assert target(place_new(cluster(*nodes), new(), PlanPolicy())) == "n1"
    refused = place_new(cluster(*nodes[1:]), new(), PlanPolicy())
    assert why(refused)["n2"] == "template debian is not there"
    assert "cordoned" in why(refused)["n3"]


def test_a_template_that_nobody_has_is_told() -> None:
    refused = place_new(cluster(node("n1", templates={})), new(), PlanPolicy())
    assert isinstance(refused, Refusal)
    assert refused.reasons[0].text == "no node that answers has template debian"


def test_machines_of_different_kinds_are_all_asked() -> None:
    small, other = (
        node("n1", ct("a", memory=2 * GIB)),
        node("n2", arch="aarch64", cgroup_version=1, cpu_flags=("neon",)),
    )
    assert target(place_new(cluster(small, other), new(), PlanPolicy())) == "n2"


@pytest.mark.parametrize(
    "rule", [Ban("web", ("n2",)), Fence("web", ("n1",)), Spread("tier", "rack", 1)], ids=lambda rule: str(rule.rule)
)
def test_rules_go_before_load(rule: Ban | Fence | Spread) -> None:
    full = node("n1", ct("a", memory=2 * GIB), labels={"rack": "r1"})
    free = node("n2", ct("b", labels={"tier": "db"}), labels={"rack": "r2"})
    assert target(place_new(cluster(full, free), new(tier="db"), PlanPolicy(rules=(rule,)))) == "n1"


def test_a_pin_does_not_keep_one_from_being_made() -> None:
    assert target(place_new(cluster(node("n1")), new(), PlanPolicy(rules=(Pin("web"),)))) == "n1"


def test_where_none_has_room_each_says_what_it_lacks() -> None:
    refused = place_new(cluster(node("n1"), node("n2")), new(memory_bytes=900 * GIB), PlanPolicy())
    assert {name: "short" in text for name, text in why(refused).items()} == {"n1": True, "n2": True}
    assert isinstance(refused, Refusal)
    assert refusal_line(refused).startswith("place web: no node takes web (n1: memory ")  # it is nowhere to move from


def all_placed(fleet: Cluster, cts: list[Descriptor], policy: PlanPolicy | None = None) -> dict[str, str]:
    chosen = place_all(fleet, cts, policy or PlanPolicy())
    assert not isinstance(chosen, Refusal), chosen
    return {name: choice.target for name, choice in chosen.items()}


def test_many_are_placed_each_beside_the_others() -> None:
    fleet = cluster(node("n1", ct("a", memory=2 * GIB)), node("n2"), node("n3"))
    targets = list(all_placed(fleet, [new(f"web-{n}") for n in range(1, 6)]).values())
    assert sorted(map(targets.count, ("n1", "n2", "n3"))) == [1, 2, 2]
    assert targets.count("n1") == 1


def test_rules_over_many_count_those_that_come_with_them() -> None:
    fleet = cluster(node("n1", ct("a", memory=2 * GIB)), node("n2"), node("n3"))
    apart = PlanPolicy(anti_affinity=("tier",))
    assert set(all_placed(fleet, [new(f"web-{n}", tier="db") for n in range(3)], apart).values()) == {"n1", "n2", "n3"}
    refused = place_all(fleet, [new(f"web-{n}", tier="db") for n in range(4)], apart)
    assert isinstance(refused, Refusal)
    assert refusal_line(refused).startswith("place web-0 to web-3: no node takes web-")


def test_where_there_is_room_for_all_but_one_none_is_placed() -> None:
    tight = cluster(*(replace(node(name), capacity=Resources(8000, 7 * GIB // 2, 100 * GIB)) for name in ("n1", "n2")))
    policy = PlanPolicy(headroom_percent=0)
    assert len(all_placed(tight, [new(f"web-{n}") for n in range(6)], policy)) == 6
    refused = place_all(tight, [new(f"web-{n}") for n in range(7)], policy)
    assert isinstance(refused, Refusal)
    assert len(refused.containers) == 1


def test_one_that_grows_goes_where_its_new_size_fits() -> None:
    home = node("n1", ct("web"))
    tight = replace(node("n2"), capacity=Resources(8000, GIB, 100 * GIB))
    fleet, demand = cluster(home, tight, node("n3", ct("a", memory=2 * GIB))), Resources(100, 2 * GIB, GIB)
    assert target(place_grown(fleet, "web", "n1", demand, PlanPolicy())) == "n3"


def test_one_that_is_stopped_or_pinned_is_not_moved_to_grow() -> None:
    stopped = cluster(node("n1", ct("web", state="stopped", alive=False)), node("n2"))
    demand = Resources(100, 512 * MIB, GIB)
    refused = place_grown(stopped, "web", "n1", demand, PlanPolicy())
    assert "only what runs is moved" in next(iter(why(refused).values()))
    pinned = place_grown(
        cluster(node("n1", ct("web")), node("n2")), "web", "n1", demand, PlanPolicy(rules=(Pin("web"),))
    )
    assert isinstance(pinned, Refusal)
