"""The machine reassignment problem: the judge against the rules written out anew, and the search against the judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from migrator.roadef.arrays import arrays_of
from migrator.roadef.chance import Chance
from migrator.roadef.cost import evaluate, first_fault
from migrator.roadef.instance import Instance, parse_assignment, parse_model, worst_cost, write_assignment
from migrator.roadef.neighbours import Steps
from migrator.roadef.rebuild import Rebuild
from migrator.roadef.search import search
from migrator.roadef.state import State
from tests.properties.machines import every_assignment, instances, text_of


def valid_by_the_rules(inst: Instance, start: list[int], places: tuple[int, ...] | list[int]) -> bool:
    """Each rule as the challenge states it, asked of every machine, resource, service and process by itself."""
    return (
        all(_within(inst, start, places, m, r) for m in range(len(inst.machines)) for r in range(len(inst.resources)))
        and not any(
            inst.processes[p].service == inst.processes[q].service and places[p] == places[q]
            for p in range(len(places))
            for q in range(p)
        )
        and all(_spread_and_near(inst, places, s) for s in range(len(inst.services)))
    )


def _within(inst: Instance, start: list[int], places: tuple[int, ...] | list[int], m: int, r: int) -> bool:
    on = {p for p in range(len(places)) if places[p] == m}
    if inst.resources[r].transient:
        on |= {p for p in range(len(places)) if start[p] == m}
    return sum(inst.processes[p].needs[r] for p in on) <= inst.machines[m].capacity[r]


def _spread_and_near(inst: Instance, places: tuple[int, ...] | list[int], s: int) -> bool:
    where = {
        t: [inst.machines[m] for p, m in enumerate(places) if inst.processes[p].service == t]
        for t in range(len(inst.services))
    }
    if sum(any(m.location == place for m in where[s]) for place in range(10)) < inst.services[s].spread:
        return False
    return all(
        any(other.neighbourhood == mine.neighbourhood for other in where[t])
        for mine in where[s]
        for t in inst.services[s].depends_on
    )


def cost_by_the_rules(inst: Instance, start: list[int], places: tuple[int, ...] | list[int]) -> int:
    """The objective as the challenge states it, term by term."""
    processes = range(len(inst.processes))
    total = 0
    for m, machine in enumerate(inst.machines):
        for r, resource in enumerate(inst.resources):
            used = sum(inst.processes[p].needs[r] for p in processes if places[p] == m)
            total += resource.load_weight * max(0, used - machine.safety[r])
        for b in inst.balances:
            free = {
                r: machine.capacity[r] - sum(inst.processes[p].needs[r] for p in processes if places[p] == m)
                for r in (b.first, b.second)
            }
            total += b.weight * max(0, b.target * free[b.first] - free[b.second])
    moved = [p for p in processes if places[p] != start[p]]
    total += inst.process_move_weight * sum(inst.processes[p].move_cost for p in moved)
    total += inst.service_move_weight * max(
        sum(inst.processes[p].service == s for p in moved) for s in range(len(inst.services))
    )
    return total + inst.machine_move_weight * sum(inst.machines[start[p]].move_cost[places[p]] for p in processes)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(instances(), st.data())
def test_the_judge_agrees_with_the_rules_written_out(made: tuple[Instance, list[int]], data: st.DataObject):
    inst, start = made
    assert first_fault(inst, start, start) is None
    machine = st.integers(0, len(inst.machines) - 1)
    places = data.draw(st.lists(machine, min_size=len(start), max_size=len(start)))
    event(f"valid: {first_fault(inst, start, places) is None}")
    assert (first_fault(inst, start, places) is None) == valid_by_the_rules(inst, start, places)
    assert evaluate(inst, start, places).total == cost_by_the_rules(inst, start, places) <= worst_cost(inst)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(instances())
def test_what_is_written_is_read_again(made: tuple[Instance, list[int]]):
    inst, start = made
    assert parse_model(text_of(inst), "m") == inst
    assert parse_assignment(write_assignment(start), "a", inst) == start


@settings(max_examples=150, deadline=None, derandomize=True)
@given(instances(processes_max=14), st.integers(0, 99), st.sampled_from([0.0, 3.0, 1000.0]))
def test_every_step_keeps_the_rules_and_adds_what_a_full_count_says(
    made: tuple[Instance, list[int]], seed: int, temperature: float
):
    inst, start = made
    arrays = arrays_of(inst, start)
    state, chance = State(arrays, start), Chance(seed)
    steps, rebuild = Steps(state, chance), Rebuild(state, chance)
    everyone = np.arange(len(start))
    cost = float(evaluate(inst, start, start).total)
    assert state.cost() == cost
    for _ in range(12):
        p = chance.below(len(start))
        for step, more in ((steps.move, ()), (steps.swap, (everyone,)), (rebuild.step, ())):
            before = list(state.place)
            added = step(p, *more, temperature)
            if state.place != before:
                event("changed")
            cost += added
            assert temperature > 0 or added <= 0
            assert first_fault(inst, start, state.place) is None
            assert cost == state.cost() == evaluate(inst, start, state.place).total
    fresh = State(arrays, state.place)
    for name in ("rows", "costs", "stay", "taken", "taken_on", "adds", "place_of"):
        assert np.array_equal(getattr(fresh, name), getattr(state, name)), name
    for name in ("at_location", "near", "locations", "moved", "moved_most"):
        assert getattr(fresh, name) == getattr(state, name), name


@settings(max_examples=40, deadline=None, derandomize=True)
@given(instances(machines_max=4, processes_max=6), st.integers(0, 9))
def test_a_tiny_instance_is_solved_as_well_as_by_trying_everything(made: tuple[Instance, list[int]], seed: int):
    inst, start = made
    least = min(
        evaluate(inst, start, places).total
        for places in every_assignment(inst)
        if first_fault(inst, start, places) is None
    )
    found = search(inst, start, seed, lambda iterations: iterations / 2000)
    assert first_fault(inst, start, found.places) is None
    assert evaluate(inst, start, found.places).total == found.cost == least


@settings(max_examples=30, deadline=None, derandomize=True)
@given(instances(processes_max=14), st.integers(0, 9), st.integers(0, 300))
def test_the_answer_is_valid_no_dearer_than_the_start_and_the_same_again(
    made: tuple[Instance, list[int]], seed: int, steps: int
):
    inst, start = made
    found, again = (search(inst, start, seed, lambda n: n / steps if steps else 1.0) for _ in range(2))
    assert found == again
    assert first_fault(inst, start, found.places) is None
    assert evaluate(inst, start, found.places).total == found.cost <= evaluate(inst, start, start).total


@settings(max_examples=150, deadline=None, derandomize=True)
@given(instances(processes_max=14), st.integers(0, 99))
def test_where_one_process_may_go_by_spread_and_dependencies_is_what_the_judge_says(
    made: tuple[Instance, list[int]], seed: int
):
    inst, start = made
    roomy = replace(inst, machines=tuple(replace(m, capacity=tuple(1000 for _ in m.capacity)) for m in inst.machines))
    arrays = arrays_of(roomy, start)
    state, chance = State(arrays, start), Chance(seed)
    steps = Steps(state, chance)
    for _ in range(5):
        steps.move(chance.below(len(start)), 1000.0)
        for p in range(len(start)):
            legal = state.legal(p)
            for b in range(len(inst.machines)):
                places = [*state.place[:p], b, *state.place[p + 1 :]]
                fault = first_fault(roomy, start, places)
                if fault is None or "on one machine" not in fault:
                    assert (legal is None or bool(legal[b])) == (fault is None)
