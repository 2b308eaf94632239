"""How links are shared while a plan is played: nobody is faster than the machinery, and what one leaves others take."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from migrator.model.facts import Cluster, Link
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.drain import drain
from migrator.planner.look import spans
from migrator.planner.schedule import fair_share
from tests.properties.fleets import BY_IMAGES, GIB, cluster, ct, node

STREAM = DEFAULT_RATES["stream"]
POLICY = PlanPolicy(blackout_s_max=86_400)


@pytest.mark.parametrize(
    ("most", "share"),
    [((), math.inf), ((40,), math.inf), ((40, 50), math.inf), ((200,), 100), ((200, 200), 50), ((30, 200, 200), 35)],
)
def test_what_a_slow_one_leaves_of_its_share_goes_to_the_others(most: tuple[float, ...], share: float) -> None:
    assert fair_share(100, most) == share


def planned(fleet: Cluster, policy: PlanPolicy = POLICY) -> Plan:
    made = drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan)
    return made


def test_files_that_cross_beside_a_pause_do_not_lengthen_it_where_the_link_carries_both() -> None:
    speed = STREAM.send_bytes_per_s + STREAM.files_bytes_per_s
    link = Link(speed, speed)
    paused = ct("a", memory=8 * GIB, anon_bytes=8 * GIB, files_bytes=0)
    beside = ct("b", memory=GIB, anon_bytes=0, files_bytes=GIB)
    made = planned(
        cluster(node("n0", paused, beside, memory=64 * GIB, link=link), node("n1", memory=64 * GIB, link=link))
    )
    pause = made.move("a").pause
    assert pause is not None
    assert pause.end_s - pause.start_s == pytest.approx(made.move("a").estimate.blackout_s, abs=0.002)


def test_pauses_of_one_node_in_turn_leave_its_link_idle_for_their_constant_part_alone() -> None:
    leaving = [ct(f"a{n}", 100 + n, memory=GIB, anon_bytes=GIB, files_bytes=0) for n in range(6)]
    link = Link(125_000_000, 125_000_000)
    made = planned(
        cluster(node("n0", *leaving, link=link), node("n1"), node("n2")), replace(POLICY, moves_per_node_max=3)
    )
    least_s = made.makespan_bound_s + 6 * STREAM.pause_s + STREAM.setup_s
    assert made.makespan_s == pytest.approx(least_s, abs=0.01)


def test_images_are_written_and_read_in_the_pause_and_nothing_is_sent_meanwhile() -> None:
    fleet = cluster(
        node("n0", ct("a", memory=8 * GIB, anon_bytes=4 * GIB), memory=64 * GIB, **BY_IMAGES),
        node("n1", memory=64 * GIB),
    )
    made = planned(fleet)
    when = spans(fleet, made)["a"]
    rates = DEFAULT_RATES["images"]
    more_s = 4 * GIB / rates.dump_bytes_per_s + 4 * GIB / rates.restore_bytes_per_s
    sending_s = 4 * GIB / rates.send_bytes_per_s
    assert when.pause.end_s - when.pause.start_s == pytest.approx(rates.pause_s + more_s + sending_s, abs=0.002)
