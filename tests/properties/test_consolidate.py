"""Consolidating: what is emptied can be, nothing comes to it, and on small fleets it is as much as can be."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Affinity, Pin, SurviveLoss
from migrator.model.what_if import after
from migrator.planner.consolidate import Until, consolidate
from migrator.planner.drain import drain
from tests.properties.fleets import BY_IMAGES, GIB, MIB, cluster, ct, larger_fleets, node, policies, small_fleets
from tests.properties.oracle import can_be_down

some = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def most(facts: Cluster, policy: PlanPolicy) -> int:
    """How many of the nodes that hold something can be emptied together at most, of all sets, into others that do."""
    facts = replace(facts, nodes=tuple(n for n in facts.nodes if n.containers))
    holding = [n.name for n in facts.nodes if n.containers and not n.error and n.cordon is None]
    for count in range(len(holding), 0, -1):
        if any(can_be_down(facts, frozenset(names), policy) for names in combinations(holding, count)):
            return count
    return 0


@some
@given(st.one_of(small_fleets, larger_fleets), policies)
def test_the_checker_passes_it_and_emptied_nodes_end_empty_and_take_nothing(facts: Cluster, policy: PlanPolicy) -> None:
    made = consolidate(facts, "-", policy)
    assert isinstance(made, Plan)
    event(f"emptied: {len(made.empties)}")
    assert check(facts, made, policy) == ()
    assert not {move.target for move in made.moves} & set(made.empties)
    end = after(facts, made)
    assert all(set(c.name for c in end.node(name).containers) <= set(made.stays) for name in made.empties)
    empty = {n.name for n in facts.nodes if not n.containers}
    assert not {move.target for move in made.moves} & empty, "to fill an empty node is to empty none"


@settings(some, max_examples=80)
@given(small_fleets, policies)
def test_on_small_fleets_it_empties_all_but_one_of_the_most_that_can_be(facts: Cluster, policy: PlanPolicy) -> None:
    made = consolidate(facts, "-", policy)
    assert isinstance(made, Plan)
    best = most(facts, policy)
    event(f"emptied {len(made.empties)} of {best}")
    assert best - 1 <= len(made.empties) <= best


@some
@given(larger_fleets, policies)
def test_consolidating_what_it_has_consolidated_moves_nothing_to_the_emptied(
    facts: Cluster, policy: PlanPolicy
) -> None:
    first = consolidate(facts, "-", policy)
    assert isinstance(first, Plan)
    again = consolidate(after(facts, first), "-", policy)
    assert isinstance(again, Plan)
    assert not {move.target for move in again.moves} & set(first.empties)


def test_of_four_nodes_that_hold_little_three_are_emptied_onto_the_fullest() -> None:
    facts = cluster(
        node("n1", ct("a", 0)), node("n2", ct("b", 1), ct("c", 2), ct("d", 3)), node("n3", ct("e", 4)), node("n4")
    )
    made = consolidate(facts, "-", PlanPolicy())
    assert isinstance(made, Plan)
    assert made.empties == ("n1", "n3")
    assert {(m.container, m.target) for m in made.moves} == {("a", "n2"), ("e", "n2")}
    assert made.notes[0].startswith("1 of 3 nodes keep all that runs; by ")


def test_it_stops_where_the_loss_of_a_node_would_not_be_survived() -> None:
    facts = cluster(*(node(f"n{i}", ct(f"c{i}", i), ct(f"d{i}", 9 + i)) for i in range(6)))
    rule = SurviveLoss()
    free, bound = (consolidate(facts, "-", PlanPolicy(rules=rules)) for rules in ((), (rule,)))
    assert isinstance(free, Plan)
    assert isinstance(bound, Plan)
    assert check(facts, bound, bound.policy) == ()
    assert 0 < len(bound.empties) < len(free.empties)


def test_a_node_with_a_container_that_cannot_move_stays_and_is_named() -> None:
    facts = cluster(node("n1", ct("a", 0, state="stopped", alive=False)), node("n2", ct("b", 1)))
    made = consolidate(facts, "-", PlanPolicy())
    assert isinstance(made, Plan)
    assert made.empties == ("n2",)
    assert made.notes[1].startswith("node n1 keeps a, which cannot leave: it is stopped, ")


def test_a_container_with_two_records_is_told_on_each_of_its_nodes_with_the_other() -> None:
    made = consolidate(cluster(node("n1", ct("a")), node("n2", ct("a", 7)), node("n3")), "-", PlanPolicy())
    assert isinstance(made, Plan)
    for here, other in (("n1", "n2"), ("n2", "n1")):
        assert any(note.startswith(f"node {here} keeps a, ") and f": node {other} has" in note for note in made.notes)


@some
@given(st.one_of(small_fleets, larger_fleets), policies, st.integers(0, 8))
def test_a_search_that_is_ended_early_has_a_plan_that_holds_and_its_count_repeats_it(
    facts: Cluster, policy: PlanPolicy, asked: int
) -> None:
    answers = iter([False] * asked)
    made = consolidate(facts, "-", policy, Until(stop=lambda: next(answers, True)))
    assert isinstance(made, Plan)
    assert check(facts, made, policy) == ()
    counts = [int(note.split()[3]) for note in made.notes if note.startswith("stopped early")]
    event(f"stopped: {bool(counts)}, emptied: {len(made.empties)}")
    for count in counts:
        assert consolidate(facts, "-", policy, Until(count)) == made
    whole = consolidate(facts, "-", policy)
    assert isinstance(whole, Plan)
    assert len(made.empties) <= len(whole.empties)
    assert counts or made == whole


def test_a_node_without_room_for_images_is_emptied_to_where_memory_is_streamed() -> None:
    facts = cluster(
        node("n1", ct("a", memory=GIB, anon_bytes=GIB), memory_available_bytes=300 * MIB),
        node("n2", ct("b", memory=6 * GIB, anon_bytes=GIB), **BY_IMAGES | {"stream_in": "yes"}),
        node("n3", ct("c", memory=6 * GIB + MIB, anon_bytes=GIB), **BY_IMAGES),  # fuller, so it would be taken first
    )
    made = consolidate(facts, "-", PlanPolicy(headroom_percent=0))
    assert isinstance(made, Plan)
    assert [(m.container, m.target, m.memory_way) for m in made.moves] == [("a", "n2", "stream")]
    assert check(facts, made, made.policy) == ()


def test_a_container_that_keeps_its_node_is_told_with_what_each_class_of_nodes_has_against_it() -> None:
    web = {"anti-affinity": "w"}
    facts = cluster(
        node("n1", ct("pinned", 1)),
        node("n2", ct("slow", 2, memory=3 * GIB, anon_bytes=2 * GIB)),
        node("n3", ct("w1", 3, web)),
        node("n4", ct("w2", 4, web), ct("w3", 5, memory=3 * GIB), ct("w4", 6, web)),
        node("n5", ct("x", 7), arch="arm64"),
    )
    policy = PlanPolicy(rules=(Pin("pinned"),), blackout_s_max=2)
    made = consolidate(facts, "-", policy)
    assert isinstance(made, Plan)
    told = {note.split()[1]: note for note in made.notes if "cannot leave" in note}
    assert told["n1"].endswith(
        "1 node: architecture arm64 is not x86_64; choose a node of the same; "
        "3 nodes: rule pin: pinned stays where it is"
    )
    assert "its pause is predicted at 2.59 s, over the limit of 2.00 s; allow it with --max-blackout" in told["n2"]
    assert told["n5"].endswith("cannot leave: architecture x86_64 is not arm64; choose a node of the same")


def test_a_container_without_room_elsewhere_is_told_with_the_node_that_lacks_least() -> None:
    facts = cluster(
        node("n1", ct("large", 1, memory=5 * GIB)),
        node("n2", ct("b", 2, memory=4 * GIB)),
        node("n3", ct("c", 3, memory=6 * GIB)),
    )
    made = consolidate(facts, "-", PlanPolicy(headroom_percent=0))
    assert isinstance(made, Plan)
    told = next(note for note in made.notes if note.startswith("node n1 keeps large, which cannot leave: "))
    assert told.startswith("node n1 keeps large, which cannot leave: memory 1.")  # n3 lacks 3 GiB


def test_a_group_that_must_stay_together_leaves_together() -> None:
    facts = cluster(
        node("n1", ct("a", 20, {"app": "x"}), ct("b", 21, {"app": "x"})), node("n2", ct("c", 22, memory=GIB))
    )
    made = consolidate(facts, "-", PlanPolicy(rules=(Affinity("app"), Pin("c"))))
    assert isinstance(made, Plan)
    assert made.empties == ("n1",)
    assert not any("cannot leave: n1" in note for note in made.notes)


def test_who_only_an_empty_node_could_take_is_told_apart_from_who_cannot_leave() -> None:
    large = {"memory": 5 * GIB, "anon_bytes": 100 * MIB}
    facts = cluster(node("n1", ct("a", 20, **large)), node("n2", ct("b", 21, **large)), node("n3"))
    made = consolidate(facts, "-", PlanPolicy())
    assert isinstance(made, Plan)
    for kept in ("n1 keeps a", "n2 keeps b"):
        why = "only empty nodes could take it, and none of them is filled"
        assert f"node {kept}, which cannot leave: {why}" in made.notes
    assert isinstance(drain(facts, ["n1"], "-", PlanPolicy()), Plan)
