"""What a drain decides, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.checker.check import check
from migrator.model.facts import ContainerFacts, Link, Resources
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import Headroom, PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.model.rules import Ban
from migrator.planner import search
from migrator.planner.drain import drain
from tests.properties.fleets import BY_IMAGES, GIB, MIB, cluster, ct, node

POLICY = PlanPolicy(headroom_percent=0)
PAUSE_S = DEFAULT_RATES["stream"].pause_s


def planned(*nodes, empties=("n1",), policy=POLICY) -> Plan:
    made = drain(cluster(*nodes), empties, "sha256:x", policy)
    assert isinstance(made, Plan), made
    return made


def refused(*nodes, empties=("n1",), policy=POLICY) -> Refusal:
    made = drain(cluster(*nodes), empties, "sha256:x", policy)
    assert isinstance(made, Refusal), made
    return made


def why(refusal: Refusal, container: str) -> list[str]:
    return [str(reason) for stuck in refusal.containers if stuck.container == container for reason in stuck.reasons]


def test_the_least_loaded_node_is_chosen_and_the_reason_says_so():
    plan = planned(node("n1", ct("a")), node("n2", ct("x", memory=4 * GIB)), node("n3"))
    assert plan.move("a").target == "n3"
    assert plan.move("a").reason == "least loaded of 2 that fit (3% full by then); next best n2"


def test_equal_nodes_are_chosen_by_name():
    assert planned(node("n1", ct("a")), node("n3"), node("n2")).move("a").target == "n2"


def test_load_is_spread_by_the_fullest_resource():
    busy = node("n2", ct("x", cpu_milli=3000, memory=MIB))
    roomy = node("n3", ct("y", cpu_milli=100, memory=4 * GIB))
    assert planned(node("n1", ct("a")), busy, roomy).move("a").target == "n3"


def test_moves_start_with_the_largest_images():
    small, large = ct("a", anon_bytes=10 * MIB), ct("b", anon_bytes=200 * MIB)
    assert [m.container for m in planned(node("n1", small, large), node("n2")).moves] == ["b", "a"]


def test_a_shortfall_is_told_in_the_unit_it_is_missing_in():
    refusal = refused(
        node("n1", ct("a", memory=512 * MIB, anon_bytes=100 * MIB)),
        node("n2", memory=364 * MIB),
        node("n3", cpu_milli=50),
        node("n4", disk=0, disk_available_bytes=GIB),
        node("n5", memory_available_bytes=200 * MIB),
        node("n6", disk_available_bytes=100 * MIB),
    )
    assert why(refusal, "a") == [
        "n2: memory 312.0 MiB short",
        "n3: CPU 0.05 short",
        "n4: disk 1.0 GiB short",
        "n5: free memory 64.0 MiB short",
        "n6: free disk 14.0 MiB short",
    ]


def test_headroom_is_kept_and_named():
    refusal = refused(node("n1", ct("a", cpu_milli=1000)), node("n2", cpu_milli=1000), policy=PlanPolicy())
    assert why(refusal, "a") == ["n2: CPU 0.05 short (keeping 5 % free)"]


def test_the_headroom_of_one_resource_is_kept_and_named():
    policy = PlanPolicy(headroom=Headroom(cpu=0, memory=50))
    assert planned(node("n1", ct("a", cpu_milli=1000)), node("n2", cpu_milli=1000), policy=policy).moves
    refusal = refused(node("n1", ct("a", memory=5 * GIB)), node("n2"), policy=policy)
    kept = "keeping 0 % of CPU, 50 % of memory and 5 % of disk free"
    assert why(refusal, "a") == [f"n2: memory 1.2 GiB short ({kept})"]


def test_images_need_room_beside_the_restored_memory():
    exactly = 256 * MIB + 100 * MIB + 64 * MIB
    assert planned(node("n1", ct("a")), node("n2", memory=exactly)).moves
    assert why(refused(node("n1", ct("a")), node("n2", memory=exactly - MIB)), "a") == ["n2: memory 1.0 MiB short"]


def test_cordoned_silent_and_different_nodes_are_left_out_with_the_reason():
    refusal = refused(
        node("n1", ct("a")),
        node("n2", cordon="operator"),
        node("n3", error="node n3: no answer within 5 s"),
        node("n4", arch="aarch64"),
        node("n5", cpu_flags=("aes",)),
        node("n6", criu="3.17.1"),
        node("n7", rsync="", bridges=()),
    )
    assert why(refusal, "a") == [
        "n2: cordoned (by operator)",
        "n3: no answer: node n3: no answer within 5 s",
        "n4: architecture aarch64 is not x86_64; choose a node of the same",
        "n5: its CPU lacks avx2, which programs may use; choose a node with the same features, or --waive cpu-features",
        "n6: CRIU 3.17.1 is older than the source's 4.2.1; upgrade it, or --waive criu-version",
        "n7: rsync is not installed there; install it",
        "n7: bridge br0 is not there; make it, or name another in the cluster file",
    ]


def test_what_the_processes_use_is_wanted_of_the_node_they_go_to_and_only_for_them():
    uses = ct("a", needs=("map_droppable",))
    old, new = node("n2", kernel="6.1.0"), node("n3", features=("map_droppable", "timens", "userns"))
    lacking = "n2: its kernel 6.1.0 has no map_droppable, which the container's processes use; "
    assert why(refused(node("n1", uses), old), "a") == [
        lacking + "choose a node with a newer kernel, or --waive kernel-features"
    ]
    plan = planned(node("n1", uses, ct("b", index=17)), old, new)
    assert plan.move("a").target == "n3"
    assert plan.move("b").target == "n2"


def test_containers_of_a_group_go_to_different_nodes():
    web = {"anti-affinity": "web"}
    plan = planned(node("n1", ct("web1", labels=web), ct("web2", labels=web)), node("n2"), node("n3"))
    assert plan.move("web1").target != plan.move("web2").target
    assert plan.notes == (
        "web1, web2 of group anti-affinity=web are together on n1 already and are parted by this plan",
    )


def test_a_group_member_on_the_only_node_is_named():
    policy = replace(POLICY, anti_affinity=("app",))
    refusal = refused(
        node("n1", ct("web2", labels={"app": "web"})), node("n2", ct("web1", labels={"app": "web"})), policy=policy
    )
    assert why(refusal, "web2") == ["n2: anti-affinity: web1 of group app=web is there"]


def test_stopped_containers_are_refused_or_left_when_asked():
    nodes = (node("n1", ct("a"), ct("old", state="stopped", alive=False)), node("n2"))
    assert "it is stopped" in why(refused(*nodes), "old")[0]
    plan = planned(*nodes, policy=replace(POLICY, leave_stopped=True))
    assert [m.container for m in plan.moves] == ["a"]
    assert plan.stays == ("old",)
    assert plan.notes == ("container old is stopped and stays where it is",)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"run": "r1"}, "it is on the move (serving, run r1); finish that first: migrator resume r1"),
        ({"state": "fenced", "run": "r2"}, "it is on the move (fenced, run r2); finish that first: migrator resume r2"),
        ({"alive": False}, "it does not run; start it: migrator ct start a"),
        ({"descriptor": None}, "its descriptor is missing"),
    ],
)
def test_what_is_wrong_with_the_container_itself_is_said(facts, said):
    assert why(refused(node("n1", ct("a", **facts)), node("n2")), "a") == [said]


def test_a_record_of_the_container_on_another_node_is_a_move_under_way():
    half = ct("a", state="reserved", run="r7", alive=False, descriptor=None)
    assert "run r7" in why(refused(node("n1", ct("a")), node("n2", half), node("n3")), "a")[0]


def test_a_full_source_sends_the_small_ones_first_and_the_large_wait_for_the_memory_that_they_free():
    small = [ct(f"s{n}", anon_bytes=300 * MIB) for n in range(2)]
    large = ct("a", anon_bytes=800 * MIB)
    plan = planned(node("n1", large, *small, memory_available_bytes=400 * MIB, **BY_IMAGES), node("n2"))
    assert [m.container for m in plan.moves] == ["s0", "s1", "a"]
    assert plan.move("a").waits_for == ("s1",)
    assert plan.move("s1").waits_for == ("s0",)


def test_images_that_the_source_cannot_hold_are_refused():
    refusal = refused(node("n1", ct("a"), memory_available_bytes=100 * MIB, **BY_IMAGES), node("n2"))
    assert why(refusal, "a") == ["free memory on n1 64.0 MiB short for its images"]


def test_a_pause_over_the_limit_is_refused_at_planning():
    slow = Link(up_bytes_per_s=1_000_000)
    refusal = refused(node("n1", ct("a"), link=slow), node("n2"))
    assert "its pause is predicted at" in why(refusal, "a")[0]
    assert planned(node("n1", ct("a"), link=slow), node("n2"), policy=replace(POLICY, blackout_s_max=200.0)).moves


def test_a_node_that_does_not_answer_cannot_be_drained():
    refusal = refused(node("n1", error="no route"), node("n2"))
    assert [str(reason) for reason in refusal.reasons] == ["n1: no answer: no route"]


def test_a_single_node_has_nowhere_to_go():
    assert why(refused(node("n1", ct("a"))), "a") == ["there is no other node"]


def test_an_empty_node_is_a_plan_without_moves():
    plan = planned(node("n1"), node("n2"))
    assert (plan.moves, plan.makespan_s, plan.empties) == ((), 0.0, ("n1",))
    assert plan.notes == ("n1 holds no container already",)


def test_nodes_drained_together_never_go_to_each_other():
    plan = planned(node("n1", ct("a")), node("n2", ct("b")), node("n3"), empties=("n2", "n1", "n1"))
    assert plan.empties == ("n1", "n2")
    assert {m.target for m in plan.moves} == {"n3"}


def test_when_the_first_choice_leaves_one_without_a_place_another_arrangement_is_found():
    # The least loaded node is n3, but only n3 can take `picky`: n2 has its group already.
    free = node("n3", memory=1024 * MIB)
    taken = node("n2", ct("rival", labels={"anti-affinity": "g"}, memory=600 * MIB), memory=1600 * MIB)
    big = ct("big", memory=600 * MIB, anon_bytes=0)
    picky = ct("picky", labels={"anti-affinity": "g"}, memory=500 * MIB, anon_bytes=0)
    plan = planned(node("n1", big, picky), taken, free)
    assert {m.container: m.target for m in plan.moves} == {"big": "n2", "picky": "n3"}


def test_few_containers_are_arranged_in_every_way_before_they_are_refused(monkeypatch):
    monkeypatch.setattr(search, "REPAIRS_MAX", 0)
    unit = 64 * MIB
    sizes = {"a": 4, "b": 4, "c": 3, "d": 3, "e": 2}  # largest first ends with a, c, e beside b, d: one too many
    leaving = [ct(name, 100 + i, memory=n * unit, anon_bytes=0) for i, (name, n) in enumerate(sizes.items())]
    plan = planned(node("n1", *leaving), node("n2", memory=9 * unit), node("n3", memory=9 * unit))
    placed = {m.container: m.target for m in plan.moves}
    assert placed["a"] == placed["b"] != placed["c"] == placed["d"] == placed["e"]
    assert plan.move("b").reason == "so that all find a place (89% full by then); n3 would be less loaded (44%)"


def test_moves_wait_where_their_images_do_not_fit_beside_each_other():
    memory = 2 * 256 * MIB + (100 + 64) * MIB  # both, and the images of one
    plan = planned(node("n1", ct("a"), ct("b")), node("n2", memory=memory))
    assert [m.waits_for for m in plan.moves] == [(), ("a",)]


def test_moves_wait_where_the_source_cannot_hold_two_images():
    leaving = (ct("a"), ct("b"))
    plan = planned(node("n1", *leaving, memory_available_bytes=200 * MIB, **BY_IMAGES), node("n2"), node("n3"))
    assert [m.waits_for for m in plan.moves] == [(), ("a",)]
    streamed = planned(node("n1", *leaving, memory_available_bytes=200 * MIB), node("n2"), node("n3"))
    assert [m.waits_for for m in streamed.moves] == [(), ()]


def test_a_plan_says_which_memory_goes_by_images_and_why():
    plan = planned(node("n1", ct("a")), node("n2", stream_in="userfaultfd is for root alone"))
    assert [m.memory_way for m in plan.moves] == ["images"]
    assert plan.notes == ("memory way: 1 of 1 move by images; n2: userfaultfd is for root alone",)


def test_of_nodes_that_do_not_tell_the_policy_says_how_their_memory_goes():
    silent = (node("n1", ct("a"), stream_out=""), node("n2", stream_in=""))
    plan = planned(*silent)
    assert [m.memory_way for m in plan.moves] == ["stream"]
    assert plan.notes[0].startswith("memory way: 1 of 1 move counted as streamed, though a node does not tell")
    plan = planned(*silent, policy=replace(POLICY, memory_way="images"))
    assert [m.memory_way for m in plan.moves] == ["images"]
    assert "does not tell whether it can stream memory" in plan.notes[0]


def test_a_full_source_sends_streamed_memory_that_it_could_not_make_images_of():
    full = node("n1", ct("a", anon_bytes=200 * MIB), memory_available_bytes=64 * MIB)
    assert planned(full, node("n2")).moves
    target = node("n2", memory_available_bytes=200 * MIB + 264 * MIB)
    assert planned(full, target).moves
    refusal = refused(full, replace(target, memory_available_bytes=target.memory_available_bytes - MIB))
    assert why(refusal, "a") == ["n2: free memory 1.0 MiB short"]


def test_the_pause_of_streamed_memory_is_its_sending_and_a_constant():
    leaving = ct("a", memory=2 * GIB, anon_bytes=GIB)
    streamed = planned(node("n1", leaving), node("n2")).move("a").estimate
    by_images = planned(node("n1", leaving, **BY_IMAGES), node("n2")).move("a").estimate
    rates = DEFAULT_RATES["stream"]
    assert streamed.blackout_s == pytest.approx(rates.pause_s + GIB / rates.send_bytes_per_s, abs=0.001)
    assert by_images.blackout_s > 2 * streamed.blackout_s


def test_a_source_that_is_over_its_limits_makes_nobody_wait():
    plan = planned(node("n1", ct("a"), ct("b"), disk=GIB, disk_available_bytes=50 * GIB), node("n2"), node("n3"))
    assert [m.waits_for for m in plan.moves] == [(), ()]


def test_moves_wait_for_no_more_than_they_need():
    # Images of three fit beside each other until the fourth container has come.
    leaving = [ct(name, anon_bytes=0, memory=128 * MIB) for name in "abcd"]
    policy = replace(POLICY, moves_per_node_max=3)
    plan = planned(node("n1", *leaving), node("n2", memory=(4 * 128 + 2 * 64) * MIB), policy=policy)
    assert [m.waits_for for m in plan.moves] == [(), (), (), ("a", "b", "c")]


def test_the_bound_is_the_busiest_links_bytes_over_its_speed():
    leaving = [ct(name, anon_bytes=100_000_000, files_bytes=0) for name in "ab"]
    plan = planned(node("n1", *leaving, link=Link(up_bytes_per_s=50_000_000)), node("n2"), node("n3"))
    assert plan.makespan_bound_s == 4.0
    assert plan.makespan_s >= 4.0


def test_the_makespan_follows_waits_and_limits_per_node():
    leaving = [ct(name, anon_bytes=0, files_bytes=0) for name in "abc"]
    one_s = planned(node("n1", ct("a", anon_bytes=0, files_bytes=0)), node("n2")).makespan_s
    three = replace(POLICY, moves_per_node_max=3)
    at_once = planned(node("n1", *leaving), node("n2"), policy=replace(three, overlapping_pauses=True))
    in_turn = planned(node("n1", *leaving), node("n2"), policy=replace(POLICY, moves_per_node_max=1))
    assert (at_once.makespan_s, in_turn.makespan_s) == (one_s, pytest.approx(3 * one_s))
    pauses_in_turn = planned(node("n1", *leaving), node("n2"), policy=three)
    assert pauses_in_turn.makespan_s == pytest.approx(one_s + 2 * PAUSE_S)


def test_what_the_records_of_others_hold_is_not_free():
    incoming = ct("other", state="reserved", run="r9", memory=8 * GIB, alive=False, descriptor=None)
    assert why(refused(node("n1", ct("a")), node("n2", incoming)), "a") == ["n2: memory 420.0 MiB short"]


def test_the_demand_and_generation_of_each_container_are_in_its_move():
    move = planned(node("n1", ct("a", generation=7)), node("n2")).move("a")
    assert (move.generation, move.demand, move.source) == (7, Resources(100, 256 * MIB, GIB), "n1")


def test_of_streamed_memory_the_target_needs_room_for_what_may_come_early_and_of_images_for_all():
    large = ct("a", memory=GIB, anon_bytes=1000 * MIB)
    for facts, beside in (({}, 256 * MIB), (BY_IMAGES, 1000 * MIB)):
        exactly = GIB + beside + 64 * MIB
        source = node("n1", large, memory=16 * GIB, **facts)
        assert planned(source, node("n2", memory=exactly, memory_available_bytes=9 * GIB)).moves
        refusal = refused(source, node("n2", memory=exactly - MIB, memory_available_bytes=9 * GIB))
        assert why(refusal, "a") == ["n2: memory 1.0 MiB short"]


def test_files_in_memory_need_room_once_more_while_they_are_packed():
    large = ct("a", memory=GIB, anon_bytes=1000 * MIB, tmpfs_bytes=400 * MIB)
    exactly = GIB + (256 + 400 + 64) * MIB
    source = node("n1", large, memory=16 * GIB)
    assert planned(source, node("n2", memory=exactly, memory_available_bytes=9 * GIB)).moves
    refusal = refused(source, node("n2", memory=exactly - MIB, memory_available_bytes=9 * GIB))
    assert why(refusal, "a") == ["n2: memory 1.0 MiB short"]


def test_streamed_moves_that_come_together_wait_where_what_comes_early_has_no_room_twice():
    room = 2 * 256 * MIB + 2 * (100 + 64) * MIB
    for short, waits in ((0, [(), ()]), (MIB, [(), ("a",)])):
        plan = planned(node("n1", ct("a"), ct("b")), node("n2", memory=room - short))
        assert [m.waits_for for m in plan.moves] == waits


def test_streamed_moves_that_leave_together_take_their_small_images_of_the_source_alone():
    for free, waits in ((128 * MIB, [(), ()]), (127 * MIB, [(), ("a",)])):
        plan = planned(node("n1", ct("a"), ct("b"), memory_available_bytes=free), node("n2"), node("n3"))
        assert [m.waits_for for m in plan.moves] == waits


def test_moves_from_several_sources_are_in_an_order_in_which_each_has_room():
    # the best order of each source by itself has the small one last, when its images have no room any more
    def held(name: str, index: int, memory: int, anon: int, files: int) -> ContainerFacts:
        return ct(name, index, memory=memory * MIB, anon_bytes=anon * MIB, files_bytes=files * MIB)

    nodes = (
        node("n0", held("a", 16, 640, 0, 512), held("b", 17, 896, 224, 256)),
        node("n1", held("c", 18, 128, 64, 256), held("d", 19, 768, 0, 512)),
        node("n2", memory=2496 * MIB, **BY_IMAGES),
    )
    plan = planned(*nodes, empties=("n0", "n1"))
    assert check(cluster(*nodes), plan, POLICY) == ()


def test_a_source_without_room_for_images_sends_where_memory_is_streamed_at_once():
    full = node("n1", ct("a", memory=2 * GIB, anon_bytes=GIB), memory_available_bytes=300 * MIB)
    streams = node("n2", ct("x", memory=4 * GIB), stream_out="it has no Python 3.10", memory_available_bytes=1500 * MIB)
    plan = planned(full, streams, node("n3", stream_in="userfaultfd is for root alone"))
    assert [(m.name, m.target, m.memory_way) for m in plan.moves] == [("a", "n2", "stream")]


def test_who_is_streamed_makes_room_for_the_images_of_the_others():
    leaving = [ct(name, memory=2 * GIB, anon_bytes=GIB) for name in "ab"]
    full = node("n1", *leaving, memory_available_bytes=300 * MIB, link=Link(400_000_000, 400_000_000))
    one_more = node("n2", ct("x", memory=4 * GIB), memory=7 * GIB)  # least loaded is n3, and n2 has room for one
    plan = planned(full, one_more, node("n3", memory=16 * GIB, stream_in="userfaultfd is for root alone"))
    assert [(m.target, m.memory_way) for m in plan.moves] == [("n2", "stream"), ("n3", "images")]
    assert plan.moves[1].waits_for == (plan.moves[0].name,)


def test_who_cannot_be_sent_straight_is_put_aside_where_no_place_is_reached_otherwise():
    leaving = ct("a", memory=2 * GIB, anon_bytes=GIB)
    banned = PlanPolicy(headroom_percent=0, rules=(Ban("z", ("n3",)),))
    full = node("n1", leaving, ct("z", memory=6 * GIB, anon_bytes=64 * MIB), memory_available_bytes=300 * MIB)
    plan = planned(full, node("n2"), node("n3", stream_in="userfaultfd is for root alone"), policy=banned)
    assert {m.container: m.target for m in plan.moves} == {"a": "n3", "z": "n2"}


def test_a_node_whose_disk_is_full_can_be_emptied():
    full = node("n1", ct("a"), ct("b"), disk_available_bytes=0)
    assert {m.target for m in planned(full, node("n2")).moves} == {"n2"}


def test_each_reason_why_memory_goes_by_images_is_told_once():
    deaf = [node(name, stream_in=f"{name} is deaf") for name in ("n2", "n3")]
    plan = planned(node("n1", *(ct(name, 20 + i) for i, name in enumerate("abcd"))), *deaf)
    (note,) = plan.notes
    assert note == "memory way: 4 of 4 moves by images; n2: n2 is deaf; n3: n3 is deaf"
