"""What a reboot decides, case by case, and how few groups it knows to be possible."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.checker.findings import Code
from migrator.checker.reboot import check_reboot
from migrator.model.plan_policy import PlanPolicy
from migrator.model.reboot import Reboot
from migrator.planner import reboot as planner
from migrator.planner.drain import drain
from migrator.planner.reboot import reboot
from migrator.planner.reboot_bound import groups_by_exclusion, groups_by_room, groups_by_size
from tests.properties.fleets import BY_IMAGES, GIB, MIB, cluster, ct, node

POLICY = PlanPolicy(headroom_percent=0)


def rebooted(*nodes, asked=None, policy=POLICY) -> Reboot:
    fleet = cluster(*nodes)
    made = reboot(fleet, asked or [n.name for n in fleet.nodes], "sha256:x", policy, "--all")
    assert check_reboot(fleet, made) == ()
    return made


def groups(made: Reboot) -> list[tuple[str, ...]]:
    return [plan.empties for plan in made.groups]


def why(made: Reboot) -> dict[str, list[str]]:
    return {
        one.node: [str(r) for r in one.refusal.reasons]
        + [f"{s.container}: {r}" for s in one.refusal.containers for r in s.reasons]
        for one in made.refused
    }


def test_the_costs_of_all_nodes_share_the_room_of_all():
    assert groups_by_room([[6], [6], [6], [6]], [12]) == 2
    assert groups_by_room([[6], [6], [6], [7]], [12]) == 3


def test_nodes_of_which_no_two_go_together_need_a_group_each():
    assert groups_by_room([[7], [7], [7]], [12]) == 3


def test_the_scarcest_resource_decides_and_one_that_nobody_has_does_not():
    assert groups_by_room([[1, 9, 0], [1, 9, 0]], [100, 9, 0]) == 2


def test_room_in_pieces_smaller_than_a_container_is_none_to_it():
    held, own = [[[5]], [[5]], [[5]], []], [[3], [3], [3], [8]]
    assert groups_by_room([[8]] * 4, [17]) == 2
    assert groups_by_size(held, own, own) == 4
    assert groups_by_size([[[2], [2]]] * 3, [[4]] * 3, [[4]] * 3) == 3
    assert groups_by_size([[]], [[0]], [[0]]) == 0


def test_no_nodes_need_no_group_and_nodes_that_cost_nothing_need_one():
    assert groups_by_room([], [12]) == 0
    assert groups_by_room([[0], [0]], [12]) == 1


def test_containers_that_exclude_each_other_keep_nodes_up():
    members = [ct(f"web{n}", labels={"anti-affinity": "web"}) for n in range(3)]
    nodes = [node(f"n{n}", *members[n : n + 1]) for n in range(5)]
    assert groups_by_exclusion(nodes, [n.name for n in nodes], POLICY) == 3
    assert groups_by_exclusion(nodes, ["n0", "n1", "n4"], POLICY) == 2
    made = rebooted(*nodes)
    assert (len(made.groups), made.groups_min) == (3, 3)


def test_half_full_nodes_are_down_by_halves():
    nodes = [node(f"n{n}", ct(f"c{n}", 100 + n, memory=3 * GIB)) for n in range(6)]
    made = rebooted(*nodes)
    assert (len(made.groups), made.groups_min) == (2, 2)
    assert sorted(len(group) for group in groups(made)) == [3, 3]


def test_full_nodes_with_one_free_are_down_one_by_one_and_the_free_one_by_itself():
    nodes = [node(f"n{n}", ct(f"c{n}", 100 + n, memory=5 * GIB)) for n in range(4)]
    made = rebooted(*nodes, node("spare"))
    assert (len(made.groups), made.groups_min) == (5, 5)
    assert all(len(group) == 1 for group in groups(made))


def test_a_node_that_holds_nothing_and_takes_nothing_joins_a_group_at_no_cost():
    nodes = [node(f"n{n}", ct(f"c{n}", 100 + n, memory=5 * GIB)) for n in range(2)]
    made = rebooted(*nodes, node("spare"), node("idle", cordon="operator"))
    assert len(made.groups) == 3
    assert [plan.empties for plan in made.groups if "idle" in plan.empties] == [("idle", "n0")]


def test_only_the_nodes_that_were_asked_for_are_down():
    nodes = [node(f"n{n}", ct(f"c{n}", 100 + n)) for n in range(4)]
    made = rebooted(*nodes, asked=["n1", "n0"])
    assert groups(made) == [("n0", "n1")]
    assert {move.target for move in made.groups[0].moves} <= {"n2", "n3"}


def test_larger_groups_come_first_and_each_says_which_of_how_many_it_is():
    small = [node(f"s{n}", ct(f"c{n}", 100 + n, memory=GIB)) for n in range(3)]
    made = rebooted(*small, node("big", *(ct(f"b{n}", 200 + n, memory=3 * GIB) for n in range(2))))
    assert [len(group) for group in groups(made)] == sorted((len(g) for g in groups(made)), reverse=True)
    assert [plan.intent for plan in made.groups] == ["reboot --all, group 1 of 2", "reboot --all, group 2 of 2"]


def test_a_node_that_cannot_be_emptied_is_refused_with_the_reason_of_its_drain_and_the_others_go_on():
    huge = ct("huge", memory=16 * GIB)
    made = rebooted(
        node("n1", huge, memory=32 * GIB),
        node("n2", ct("b")),
        node("n3", ct("c", state="stopped", alive=False)),
        node("n4", error="no route"),
        node("n5"),
    )
    assert [name for group in groups(made) for name in group] == ["n2", "n5"]
    said = why(made)
    assert said["n1"][0] == "huge: n2: memory 8.4 GiB short"
    assert "it is stopped" in said["n3"][0]
    assert said["n4"] == ["n4: no answer: no route"]


def test_of_many_refused_nodes_the_later_ones_name_their_containers_and_the_command_that_tells_more(monkeypatch):
    monkeypatch.setattr(planner, "EXPLAINED_MAX", 1)
    nodes = [node(f"n{n}", ct(f"c{n}", 100 + n, memory=9 * GIB), memory=10 * GIB) for n in range(3)]
    dark = node("n3", ct("dark"), memory_available_bytes=100 * MIB, **BY_IMAGES)
    said = why(rebooted(*nodes, dark))
    assert said["n0"][0] == "c0: n1: memory 8.2 GiB short"
    assert said["n1"] == ["n1: no node can take c1; for the reasons: migrator plan drain n1"]
    assert said["n3"] == ["n3: it has no room to send dark; for the reasons: migrator plan drain n3"]


def test_a_label_value_held_by_every_node_refuses_them_all():
    nodes = [node(f"n{n}", ct(f"web{n}", labels={"anti-affinity": "web"})) for n in range(3)]
    made = rebooted(*nodes)
    assert (made.groups, made.groups_min, sorted(why(made))) == ((), 0, ["n0", "n1", "n2"])


def test_beyond_its_budget_the_first_answer_stands_and_is_whole(monkeypatch):
    monkeypatch.setattr(planner, "PLACED_MAX", 0)
    nodes = [node(f"n{n}", *(ct(f"c{n}-{m}", 100 + 9 * n + m, memory=GIB) for m in range(n % 5))) for n in range(9)]
    made = rebooted(*nodes)
    assert sorted(name for group in groups(made) for name in group) == [f"n{n}" for n in range(9)]


def test_a_node_that_is_not_there_is_a_key_error():
    with pytest.raises(KeyError):
        rebooted(node("n1"), asked=["n7"])


def parted():
    """Two that must not be together and are: drained they are parted, and one cannot come back."""
    apart = {"anti-affinity": "web"}
    pair = (ct("a", 10, labels=apart, memory=GIB), ct("b", 11, labels=apart, memory=GIB))
    return [node("n0", *pair), *(node(f"n{n}", ct(f"c{n}", 100 + n, memory=3 * GIB)) for n in (1, 2, 3))]


def test_what_cannot_come_back_is_told_and_leaves_with_the_group_of_the_node_where_it_stays():
    made = rebooted(*parted())
    (first,) = [n for n, plan in enumerate(made.groups) if "n0" in plan.empties]
    stays = set(made.groups[first].ways()) - set(made.returns[first].ways())
    assert len(stays) == 1
    (name,) = stays
    at = made.groups[first].ways()[name][-1].target
    note = next(note for note in made.returns[first].notes if note.startswith(f"container {name} stays on {at}: n0: "))
    assert "must not be together" in note
    assert [note for note in made.notes if note.startswith("1 container cannot come back")]
    later = [plan for plan in made.groups[first + 1 :] if at in plan.empties]
    assert [name in plan.ways() for plan in later] == [True] * len(later)
    assert later, "the case is to have a later group with the node where it stays"


def test_what_a_return_may_not_fill_again_stays_where_the_drain_took_it_and_every_group_holds():
    full = node("n0", ct("a", 10, memory=4000 * MIB), ct("b", 11, memory=4000 * MIB))
    made = rebooted(full, node("n1"), node("n2"), policy=PlanPolicy(headroom_percent=5))
    assert sorted(name for group in groups(made) for name in group) == ["n0", "n1", "n2"]
    (back,) = [back for plan, back in zip(made.groups, made.returns, strict=True) if "n0" in plan.empties]
    assert len(back.moves) == 1
    assert back.notes[0].endswith(": n0: no order of these moves has room for it")


def test_a_return_of_nothing_is_a_plan_without_moves():
    made = rebooted(node("n0"), node("n1"))
    assert [back.moves for back in made.returns] == [()] * len(made.groups)


def test_groups_that_were_all_planned_from_one_placement_are_found_not_to_hold_after_a_return():
    fleet = cluster(*parted())
    made = reboot(fleet, [n.name for n in fleet.nodes], "-", POLICY, "--all")
    old = tuple(
        replace(drain(fleet, plan.empties, "-", POLICY), intent=plan.intent) for plan in made.groups
    )  # as if all came back
    found = check_reboot(fleet, replace(made, groups=old))
    assert found
    assert all(finding.text.startswith(("group ", "return of group ")) for finding in found)


def test_a_return_that_brings_something_elsewhere_or_empties_a_node_and_a_node_rebooted_twice_are_found():
    fleet = cluster(*(node(f"n{n}", ct(f"c{n}", 100 + n, memory=3 * GIB)) for n in range(4)))
    made = reboot(fleet, [n.name for n in fleet.nodes], "-", POLICY, "--all")
    back = made.returns[0]
    elsewhere = replace(back, moves=(replace(back.moves[0], target="n3"), *back.moves[1:]))
    emptied = replace(back, empties=("n3",))
    for wrong, said in ((elsewhere, "comes to n3"), (emptied, "it empties n3")):
        found = check_reboot(fleet, replace(made, returns=(wrong, *made.returns[1:])))
        assert [f.code for f in found if said in f.text] == [Code.INTENT]
        assert all(f.text.startswith("return of group 1: ") for f in found)
    twice = replace(made, groups=(made.groups[0],) * 2, returns=(back,) * 2)
    found = check_reboot(fleet, twice)
    assert "group 2: n0 was rebooted with an earlier group" in [f.text for f in found]


def test_who_cannot_be_emptied_in_its_turn_asks_for_no_group():
    """c3 finds no room on its way back beside what a move takes, and stays where c4 could have gone."""
    small = {"anon_bytes": 0, "files_bytes": 0, "memory": 64 * MIB}
    free = {"memory_available_bytes": 192 * MIB, "disk_available_bytes": 256 * MIB}
    full = [node(name, ct(f"c{name[1]}", **small), memory=64 * MIB, **free) for name in ("n3", "n4")]
    empty = [node(name, memory=size * MIB, **free) for name, size in (("n0", 128), ("n1", 0), ("n2", 0))]
    made = rebooted(*empty, *full)
    assert [one.node for one in made.refused] == ["n4"]
    assert made.groups_min == 2
