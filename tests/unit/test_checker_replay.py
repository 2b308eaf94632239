"""The worst moments that the checker looks at, case by case."""

from __future__ import annotations

from dataclasses import replace

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.model.estimate import Estimate
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Crowd, Window
from tests.properties.fleets import BY_IMAGES, GIB, MIB, cluster, ct, node

POLICY = PlanPolicy(headroom_percent=0, leave_stopped=True)
NEEDED = 256 * MIB
IMAGE = 164 * MIB


def move(fleet: Cluster, container: str, source: str, target: str, *waits_for: str) -> PlannedMove:
    found = fleet.node(source).container(container)
    assert found is not None
    return PlannedMove(
        container, source, target, found.generation, found.reserved, "-", Estimate(0, 0, 0.0, 0.0), waits_for
    )


def plan_of(*moves: PlannedMove, empties: tuple[str, ...] = ()) -> Plan:
    asked = {move.container: f"{move.container}={move.target}" for move in moves}
    intent = " ".join(("drain", *empties) if empties else ("move", *asked.values()))
    return Plan(intent, "test", "-", empties, moves, 0.0, policy=POLICY)


def codes(fleet: Cluster, plan: Plan, policy: PlanPolicy = POLICY) -> set[Code]:
    """What is found, but for the predictions, which these plans do not tell."""
    untold = {Code.PAUSE_UNLIKELY, Code.ESTIMATE, Code.MAKESPAN}
    return {finding.code for finding in check(fleet, plan, policy)} - untold


def test_images_of_moves_that_may_be_under_way_together_count_together():
    fleet = cluster(node("n1", ct("a"), ct("b")), node("n2", memory=2 * NEEDED + IMAGE))
    at_once = plan_of(move(fleet, "a", "n1", "n2"), move(fleet, "b", "n1", "n2"))
    in_turn = plan_of(move(fleet, "a", "n1", "n2"), move(fleet, "b", "n1", "n2", "a"))
    assert codes(fleet, at_once) == {Code.IMAGES_DO_NOT_FIT}
    assert codes(fleet, in_turn) == set()
    assert codes(fleet, at_once, replace(POLICY, moves_per_node_max=1)) == set()


def test_images_count_on_the_source_as_well():
    source = node("n1", ct("a"), ct("b"), memory_available_bytes=IMAGE, **BY_IMAGES)
    fleet = cluster(source, node("n2"), node("n3"))
    at_once = plan_of(move(fleet, "a", "n1", "n2"), move(fleet, "b", "n1", "n3"))
    in_turn = plan_of(move(fleet, "a", "n1", "n2"), move(fleet, "b", "n1", "n3", "a"))
    assert codes(fleet, at_once) == {Code.MEMORY_NOT_FREE}
    assert codes(fleet, in_turn) == set()


def test_streamed_memory_takes_no_more_of_the_source_than_its_small_images():
    fleet = cluster(node("n1", ct("a", anon_bytes=GIB), memory_available_bytes=64 * MIB), node("n2"))
    assert codes(fleet, plan_of(move(fleet, "a", "n1", "n2"))) == set()
    fleet = cluster(node("n1", ct("a", anon_bytes=GIB), memory_available_bytes=64 * MIB - 1), node("n2"))
    assert codes(fleet, plan_of(move(fleet, "a", "n1", "n2"))) == {Code.MEMORY_NOT_FREE}


def test_of_streamed_memory_no_more_lies_on_the_target_than_what_may_come_early():
    limit, held = GIB, 1000 * MIB
    for facts, beside in (({}, 256 * MIB), (BY_IMAGES, held)):
        for more, found in ((0, set()), (-1, {Code.IMAGES_DO_NOT_FIT})):
            target = node("n2", memory=limit + beside + 64 * MIB + more, memory_available_bytes=9 * GIB)
            fleet = cluster(node("n1", ct("a", memory=limit, anon_bytes=held), **facts), target)
            assert codes(fleet, plan_of(move(fleet, "a", "n1", "n2"))) == found


def test_a_way_of_memory_that_the_nodes_do_not_go_is_found():
    fleet = cluster(node("n1", ct("a")), node("n2"), node("n3", stream_in="it cannot"), node("n4", stream_in=""))
    for target, way in (("n2", "stream"), ("n3", "images"), ("n4", "stream")):
        told = replace(move(fleet, "a", "n1", target), memory_way=way)
        other = replace(told, memory_way="images" if way == "stream" else "stream")
        texts = [
            [f.text for f in check(fleet, plan_of(m), POLICY) if "says that its memory" in f.text]
            for m in (told, other)
        ]
        assert [len(each) for each in texts] == [0, 1]


def test_room_that_another_move_frees_counts_only_when_it_is_waited_for():
    fleet = cluster(node("n1", ct("a", memory=GIB)), node("n2", ct("b", memory=GIB), memory=2 * GIB - MIB), node("n3"))
    hasty = plan_of(move(fleet, "b", "n2", "n3"), move(fleet, "a", "n1", "n2"))
    patient = plan_of(move(fleet, "b", "n2", "n3"), move(fleet, "a", "n1", "n2", "b"))
    assert codes(fleet, hasty) == {Code.OVER_LIMITS}
    assert codes(fleet, patient) == set()


def test_two_full_nodes_cannot_swap_directly():
    fleet = cluster(node("n1", ct("a"), memory=NEEDED), node("n2", ct("b"), memory=NEEDED))
    assert Code.OVER_LIMITS in codes(fleet, plan_of(move(fleet, "a", "n1", "n2"), move(fleet, "b", "n2", "n1")))


def test_a_rival_that_leaves_first_is_no_rival():
    web = {"anti-affinity": "web"}
    fleet = cluster(node("n1", ct("a", labels=web)), node("n2", ct("b", labels=web)), node("n3"))
    hasty = plan_of(move(fleet, "b", "n2", "n3"), move(fleet, "a", "n1", "n2"))
    patient = plan_of(move(fleet, "b", "n2", "n3"), move(fleet, "a", "n1", "n2", "b"))
    assert codes(fleet, hasty) == {Code.ANTI_AFFINITY}
    assert codes(fleet, patient) == set()


def test_what_waits_through_others_is_in_order_too():
    leaving = [ct(name) for name in "abc"]
    fleet = cluster(node("n1", *leaving), node("n2", memory=3 * NEEDED + IMAGE))
    chain = plan_of(move(fleet, "a", "n1", "n2"), move(fleet, "b", "n1", "n2", "a"), move(fleet, "c", "n1", "n2", "b"))
    assert codes(fleet, chain) == set()


def test_a_stopped_container_may_stay_on_an_emptied_node_only_if_the_plan_says_so():
    fleet = cluster(node("n1", ct("old", state="stopped", alive=False)), node("n2"))
    assert codes(fleet, plan_of(empties=("n1",))) == {Code.NOT_EMPTY}
    assert codes(fleet, replace(plan_of(empties=("n1",)), stays=("old",))) == set()


def test_a_running_container_never_stays_whatever_the_plan_says():
    fleet = cluster(node("n1", ct("a")), node("n2"))
    assert codes(fleet, replace(plan_of(empties=("n1",)), stays=("a",))) == {Code.NOT_EMPTY, Code.STAYS_ELSEWHERE}


def test_a_container_that_came_since_is_found():
    fleet = cluster(node("n1", ct("a"), ct("new")), node("n2"))
    assert codes(fleet, plan_of(move(fleet, "a", "n1", "n2"), empties=("n1",))) == {Code.NOT_EMPTY}


def test_only_measured_or_predicted_numbers_and_wishes_drift():
    measured = {Code.IMAGES_DO_NOT_FIT, Code.MEMORY_NOT_FREE, Code.DISK_NOT_FREE, Code.PAUSE_TOO_LONG}
    predicted = {Code.PAUSE_UNLIKELY, Code.PAUSES_OVERLAP, Code.WINDOW_UNLIKELY, Code.ESTIMATE, Code.MAKESPAN}
    harmless = {Code.SOFT_UNSAID, Code.OUT_OF_TURN, Code.STAYS_ELSEWHERE}
    assert {code for code in Code if code.drifts} == measured | predicted | harmless


FULL = 450 * MIB  # a node with room for one container of NEEDED and its images, and for no second one


def on(leg: int, before: PlannedMove, target: str, *waits_for: str) -> PlannedMove:
    """A container's next move, from where the one before has brought it."""
    return replace(before, source=before.target, target=target, waits_for=waits_for, leg=leg)


def ring(free: int = FULL) -> Cluster:
    return cluster(
        node("n1", ct("a"), memory=FULL),
        node("n2", ct("b"), memory=FULL),
        node("n3", memory=free, memory_available_bytes=GIB),
    )


def exchange(fleet: Cluster) -> tuple[PlannedMove, PlannedMove, PlannedMove]:
    """a is put aside on n3, b takes its place, and a takes b's."""
    aside = move(fleet, "a", "n1", "n3")
    return aside, move(fleet, "b", "n2", "n1", "a"), on(2, aside, "n2", "b")


def test_two_full_nodes_exchange_their_containers_over_a_third():
    assert codes(ring(), plan_of(*exchange(ring()))) == set()


def test_a_direct_exchange_of_full_nodes_has_no_room_whoever_waits():
    direct = (move(ring(), "a", "n1", "n2"), move(ring(), "b", "n2", "n1", "a"))
    assert codes(ring(), plan_of(*direct)) == {Code.OVER_LIMITS}


def test_a_stop_over_needs_room_for_the_container_and_its_images():
    assert codes(ring(free=128 * MIB), plan_of(*exchange(ring()))) == {Code.OVER_LIMITS}
    assert codes(ring(free=NEEDED + MIB), plan_of(*exchange(ring()))) == {Code.IMAGES_DO_NOT_FIT}


def test_what_waits_for_the_first_move_alone_does_not_find_the_stop_over_free():
    fleet = cluster(*ring().nodes, node("n4", ct("c"), memory=FULL))
    hasty = move(fleet, "c", "n4", "n3", "a")
    assert codes(fleet, plan_of(*exchange(fleet), hasty)) == {Code.OVER_LIMITS}
    assert codes(fleet, plan_of(*exchange(fleet), replace(hasty, waits_for=("a#2",)))) == set()


def test_a_second_move_that_could_start_before_the_first_has_ended_is_found():
    aside, other, back = exchange(ring())
    assert codes(ring(), plan_of(aside, other, replace(back, waits_for=()))) == {Code.BROKEN_WAY}
    assert codes(ring(), plan_of(aside, other, replace(back, waits_for=("a",)))) == {Code.OVER_LIMITS}


def test_a_second_move_from_where_the_container_is_not_is_found():
    aside, other, back = exchange(ring())
    assert codes(ring(), plan_of(aside, other, replace(back, source="n1"))) == {Code.BROKEN_WAY}
    assert Code.BROKEN_WAY in codes(ring(), plan_of(other, back))
    assert codes(ring(), plan_of(aside, other, back, back)) == {Code.DUPLICATE_MOVE}


def test_a_second_move_states_generation_and_limits_as_planned():
    aside, other, back = exchange(ring())
    assert codes(ring(), plan_of(aside, other, replace(back, generation=9))) == {Code.GENERATION_CHANGED}


def test_who_must_not_meet_a_container_does_not_at_its_stop_over_either():
    group = {"labels": {"anti-affinity": "g"}}
    fleet = cluster(
        node("n1", ct("a", **group), memory=FULL),
        node("n2", ct("b"), memory=FULL),
        node("n3", ct("c", **group)),
        node("n4"),
    )
    leaves = move(fleet, "c", "n3", "n4")
    aside, *rest = exchange(fleet)
    assert codes(fleet, plan_of(*exchange(fleet))) == {Code.ANTI_AFFINITY}
    assert codes(fleet, plan_of(leaves, *exchange(fleet))) == {Code.ANTI_AFFINITY}
    assert codes(fleet, plan_of(leaves, replace(aside, waits_for=("c",)), *rest)) == set()


def test_a_container_that_comes_home_again_counts_once():
    fleet = cluster(node("n1", ct("a"), memory=FULL), node("n2"), node("n3", ct("b"), memory=FULL))
    aside = move(fleet, "a", "n1", "n2")
    through, home = move(fleet, "b", "n3", "n1", "a"), on(2, aside, "n1", "b#2")
    assert codes(fleet, plan_of(aside, through, on(2, through, "n3", "b"), home)) == set()
    assert codes(fleet, plan_of(aside, on(2, aside, "n1", "a"))) == set()


def test_rules_hold_at_a_stop_over():
    policy = replace(POLICY, rules=(Crowd(0, ("n3",)), Ban("a", ("n3",))))
    assert codes(ring(), plan_of(*exchange(ring())), policy) == {Code.CROWDED, Code.BANNED}
    passing = replace(POLICY, rules=(Crowd(1),))
    assert codes(ring(), plan_of(*exchange(ring())), passing) == set()


def test_a_start_that_no_time_window_asks_for_is_found():
    fleet = cluster(node("n1", ct("a")), node("n2"))
    told = replace(move(fleet, "a", "n1", "n2"), start_s=60.0)
    assert codes(fleet, plan_of(told)) == {Code.WINDOW}
    windowed = replace(POLICY, rules=(Window("other", ("mon 00:00-24:00",)),), start="2026-03-02T10:00:00+00:00")
    assert codes(fleet, plan_of(told), windowed) == {Code.WINDOW}
