"""The guard's decisions: what two readings show of a node, who should leave it and where to, and who should stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from migrator.checker.check import check
from migrator.errors import BadInput
from migrator.inventory import cluster_file
from migrator.inventory.possible import impossible
from migrator.inventory.pressure import pressure_of, pressures_in
from migrator.inventory.snapshot import digest
from migrator.model.disk import Disk
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.pressure import Guard, Pressure, Stall
from migrator.model.rules import Fence, Pin
from migrator.model.strain import Outgrown
from migrator.planner.guard import Relief, relieve
from migrator.transport.base import Answer, NodeFailed
from tests.properties.fleets import GIB, MIB, cluster, ct, node

CALM = Stall()
WAITS = Stall(30, 20, 12, 8)


def ten_seconds_later(facts: NodeFacts, **given: Any) -> NodeFacts:
    return replace(facts, pressure=replace(facts.pressure, at_ms=10_000, **given))


def calm(name: str, *containers: ContainerFacts, **given: Any) -> NodeFacts:
    reading = Pressure(CALM, CALM, CALM, 0, 0, at_ms=0)
    return node(name, *containers, **({"pressure": reading, "cpus": 4} | given))


def short(*containers: ContainerFacts, free_bytes: int = 100 * MIB) -> NodeFacts:
    """n1 with 8 GiB, of which less is available than its guard asks for: 410 MiB; 819 MiB are to be there again."""
    return calm("n1", *containers, memory_available_bytes=free_bytes)


def found(*nodes: NodeFacts, before: Cluster | None = None, policy: PlanPolicy | None = None) -> Relief:
    after = cluster(*nodes)
    relief = relieve(before or after, after, digest(after), policy or PlanPolicy())
    if isinstance(relief.plan, Plan):
        assert check(after, relief.plan, relief.plan.policy) == ()
    return relief


def leaving(relief: Relief) -> dict[str, str]:
    return {each.container: each.target for each in relief.leaving}


def uses(name: str, mib: int, **given: Any) -> ContainerFacts:
    return ct(name, memory=2 * GIB, rss_bytes=mib * MIB, **({"anon_bytes": mib * MIB, "files_bytes": 0} | given))


def test_where_nothing_presses_nobody_is_named() -> None:
    relief = found(calm("n1", uses("a", 900)), calm("n2"))
    assert (relief.quiet, relief.leaving, relief.plan) == (True, (), None)


def test_of_those_that_free_enough_alone_the_cheapest_goes_and_the_plan_says_why() -> None:
    many = (uses("small", 200), uses("dear", 900), uses("cheap", 1000, anon_bytes=100 * MIB), uses("huge", 1500))
    relief = found(short(*many), calm("n2"))
    assert leaving(relief) == {"cheap": "n2"}
    assert isinstance(relief.plan, Plan)
    assert relief.strains[0].texts == ("100.0 MiB of 8.0 GiB are available (guard: 5%)",)
    assert any(
        "container cheap leaves n1: uses 1000.0 MiB of memory, 100.0 MiB to send" in n for n in relief.plan.notes
    )


def test_where_none_frees_enough_the_largest_go_until_it_is() -> None:
    relief = found(short(uses("a", 300), uses("b", 500), uses("c", 400), uses("d", 100)), calm("n2"))
    assert leaving(relief) == {"b": "n2", "c": "n2"}


def test_a_target_that_is_pressed_itself_or_would_be_is_none() -> None:
    tight, pressed = calm("n2", memory_available_bytes=GIB), replace(short(), name="n3")
    relief = found(short(uses("a", 900)), tight, pressed)
    assert (leaving(relief), relief.plan) == ({}, None)
    ((strain, (stuck,)), _) = relief.unrelieved
    assert (strain.node, stuck.container) == ("n1", "a")
    assert {reason.node for reason in stuck.reasons} >= {"n2", "n3"}
    assert leaving(found(short(uses("a", 900)), tight, pressed, calm("n4"))) == {"a": "n4"}


def test_rules_keep_who_they_keep_and_the_next_one_goes() -> None:
    rules = (Pin("a"), Fence("b", ("n1", "n3")))
    relief = found(short(uses("a", 900), uses("b", 1000)), calm("n2"), calm("n3"), policy=PlanPolicy(rules=rules))
    assert leaving(relief) == {"b": "n3"}


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({"memory": WAITS}, "some wait for memory 30% of the time (guard: 10%)"),
        ({"memory": Stall(0, 0, 6, 0)}, "all wait for memory 6% of the time (guard: 5%)"),
        ({"swapped_in_bytes": 50 * MIB}, "5.0 MiB/s come back from swap (guard: 4.0 MiB/s)"),
        ({"oom_kills": 2}, "2 OOM kills that no container's own limit made"),
    ],
)
def test_each_sign_of_short_memory_is_told_with_its_threshold(later: dict[str, Any], said: str) -> None:
    first = calm("n1", uses("a", 500))
    if "memory" in later:
        first = replace(first, pressure=replace(first.pressure, **later))
    second = ten_seconds_later(first, **later)
    relief = found(second, calm("n2"), before=cluster(first, calm("n2")))
    assert (relief.strains[0].resource, said in relief.strains[0].texts) == ("memory", True), relief.strains
    assert leaving(relief) == {"a": "n2"}


def test_a_stall_that_only_one_reading_has_is_over() -> None:
    first = calm("n1", uses("a", 500))
    relief = found(ten_seconds_later(first, memory=WAITS), before=cluster(first))
    assert relief.quiet


def test_who_uses_cpus_by_measure_leaves_a_node_that_waits_for_them() -> None:
    busy = {"pressure": Pressure(Stall(90, 90), CALM, CALM, 0, 0, at_ms=0)}
    names = {"idle": 0, "some": 5_000_000, "most": 31_000_000}  # microseconds in ten seconds
    first = calm("n1", *(ct(n, cpu_milli=1000, pressure=Pressure(cpu_us=0)) for n in names), **busy)
    later = tuple(replace(c, pressure=Pressure(cpu_us=names[c.name])) for c in first.containers)
    second = replace(ten_seconds_later(first), containers=later)
    relief = found(second, calm("n2"), before=cluster(first, calm("n2")))
    assert leaving(relief) == {"some": "n2"}  # 3.6 of 4 CPUs are used: half a one less is enough
    assert relief.leaving[0].why.startswith("uses 0.5 CPUs, ")


def test_who_waits_for_disks_leaves_a_node_where_all_do() -> None:
    pressure = Pressure(CALM, CALM, Stall(90, 90, 80, 80), 0, 0, at_ms=0)
    reads = ct("reads", pressure=Pressure(io=Stall(70, 70, 70, 70)))
    assert leaving(found(calm("n1", reads, ct("sleeps"), pressure=pressure), calm("n2"))) == {"reads": "n2"}


def test_a_container_that_its_own_limit_kills_needs_more_and_no_move_helps() -> None:
    first = calm("n1", uses("a", 500, pressure=Pressure(oom_kills=1)), (calm("n2").containers and ct("x")) or ct("b"))
    killed = replace(first.containers[0], pressure=Pressure(oom_kills=3))
    second = replace(ten_seconds_later(first, oom_kills=2), containers=(killed, first.containers[1]))
    relief = found(second, calm("n2"), before=cluster(first, calm("n2")))
    assert (relief.strains, leaving(relief)) == ((), {})
    (one,) = relief.tight
    assert (one.container, one.text) == ("a", "2 OOM kills by its own limit (2.0 GiB)")
    assert one.memory_bytes == 2560 * MIB


def test_each_node_has_thresholds_of_its_own_and_none_asks_for_nothing() -> None:
    text = (
        "defaults: {guard: {memory_some: 30, swap_in: 8M}}\nnodes:\n- name: n1\n- name: n2\n  guard: {memory_some: 0}\n"
    )
    file = cluster_file.parse(text, "c.yaml")
    assert file.guard(file.entry("n1")) == Guard(memory_some=30, swap_in_bytes_per_s=8 * MIB)
    assert file.guard(file.entry("n2")).memory_some == 0
    with pytest.raises(BadInput, match="memory_some"):
        cluster_file.parse("nodes:\n- name: n1\n  guard: {memory_some: 101}\n", "c.yaml")
    lenient = replace(short(uses("a", 900)), guard=Guard(memory_free=0))
    assert found(lenient, calm("n2")).quiet


def test_what_a_node_tells_is_read_and_nothing_else_is() -> None:
    text = "time_ms 5\nswapped_in_bytes 4096\noom_kills 1\npressure - cpu=1.00,2.00,0.00,0.00\n"
    answer = Answer("n1", "probe", text + "pressure web memory=0.00,0.00,0.50,100.00 oom_kills=2 cpu_us=7\n")
    assert pressure_of(answer) == Pressure(Stall(1, 2), None, None, 4096, 1, None, 5)
    assert pressures_in(answer) == {"web": Pressure(memory=Stall(0, 0, 0.5, 100), oom_kills=2, cpu_us=7)}
    for wrong in ("cpu=1,2,3,4", "cpu=nan,0.00,0.00,0.00", "oom_kills=-1", "swap=1"):
        with pytest.raises(NodeFailed):
            pressures_in(Answer("n1", "probe", f"pressure web {wrong}\n"))


def test_a_kernel_that_tells_nothing_is_not_told_to_be_calm() -> None:
    assert (Pressure().said(), Pressure(CALM, CALM, CALM).said()) == ("-", "none")
    assert Pressure(Stall(12.3), WAITS, CALM).said() == "memory 30%, cpu 12%"


def test_readings_of_pressure_do_not_change_what_an_older_snapshot_was() -> None:
    assert digest(cluster(node("n1", ct("a")))) != digest(cluster(calm("n1", ct("a"))))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pressure": Pressure(oom_kills=-1)}, "pressure.oom_kills"),
        ({"pressure": Pressure(cpu=Stall(float("nan")))}, "pressure.cpu.some_avg10"),
        ({"guard": Guard(memory_free=-1)}, "guard.memory_free"),
    ],
)
def test_a_snapshot_with_a_reading_that_no_kernel_gives_is_refused(given: dict[str, Any], said: str) -> None:
    assert said in impossible(cluster(node("n1", **given)))


def test_a_volume_that_holds_more_than_is_planned_is_named_and_nobody_has_to_move() -> None:
    held = uses("a", 100)
    assert held.descriptor is not None
    disks = Disk("data", "/srv/data", 20 * MIB), Disk("logs", "/srv/logs", 5 * MIB)
    held = replace(held, descriptor=replace(held.descriptor, disks=disks))
    fits = {"data": 20 * MIB}  # of the other one its node does not tell
    assert found(calm("n1", replace(held, disks_bytes=fits)), calm("n2")).quiet
    relief = found(calm("n1", replace(held, disks_bytes={**fits, "logs": 6 * MIB})), calm("n2"))
    assert relief.outgrown == (Outgrown("a", "n1", "logs", 6 * MIB, 5 * MIB),)
    assert (relief.quiet, relief.plan) == (False, None)
