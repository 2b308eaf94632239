"""The judge: rules and cost of an assignment, straight from the challenge's statement, in whole numbers.

It shares no code and no array with the search. `start` is the assignment that the challenge gives.

- capacity: on every machine the needs of its processes, and of transient resources also those of processes that have
  left it, are no more than its capacity;
- conflict: the processes of a service are on different machines;
- spread: they are in at least so many locations;
- dependency: each has a process of every service that its own depends on in its neighbourhood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from migrator.roadef.instance import Instance


@dataclass(frozen=True)
class Cost:
    """The parts of the objective, each with its weight."""

    load: int
    balance: int
    process_moves: int
    service_moves: int
    machine_moves: int

    @property
    def total(self) -> int:
        return self.load + self.balance + self.process_moves + self.service_moves + self.machine_moves


def loads(instance: Instance, places: Sequence[int]) -> list[list[int]]:
    """What is used on every machine of every resource."""
    used = [[0] * len(instance.resources) for _ in instance.machines]
    for process, place in zip(instance.processes, places, strict=True):
        row = used[place]
        for r, need in enumerate(process.needs):
            row[r] += need
    return used


def evaluate(instance: Instance, start: Sequence[int], places: Sequence[int]) -> Cost:
    """The cost of `places`. Whether it is valid is `first_fault`'s business."""
    load = balance = 0
    for machine, used in zip(instance.machines, loads(instance, places), strict=True):
        for resource, safety, now in zip(instance.resources, machine.safety, used, strict=True):
            load += resource.load_weight * max(0, now - safety)
        free = [capacity - now for capacity, now in zip(machine.capacity, used, strict=True)]
        for b in instance.balances:
            balance += b.weight * max(0, b.target * free[b.first] - free[b.second])
    moved: Counter[int] = Counter()
    process_moves = machine_moves = 0
    for process, old, new in zip(instance.processes, start, places, strict=True):
        if old != new:
            moved[process.service] += 1
            process_moves += process.move_cost
            machine_moves += instance.machines[old].move_cost[new]
    return Cost(
        load,
        balance,
        instance.process_move_weight * process_moves,
        instance.service_move_weight * max(moved.values(), default=0),
        instance.machine_move_weight * machine_moves,
    )


def first_fault(instance: Instance, start: Sequence[int], places: Sequence[int]) -> str | None:
    """The first rule that `places` breaks, in words; None if it is valid."""
    if len(places) != len(instance.processes):
        return f"{len(places)} places for {len(instance.processes)} processes"
    if any(not 0 <= place < len(instance.machines) for place in places):
        return "a place that is no machine"
    return _capacity(instance, start, places) or _services(instance, places)


def _capacity(instance: Instance, start: Sequence[int], places: Sequence[int]) -> str | None:
    used = loads(instance, places)
    for process, old, new in zip(instance.processes, start, places, strict=True):
        if old != new:
            for r, resource in enumerate(instance.resources):
                if resource.transient:
                    used[old][r] += process.needs[r]
    for m, machine in enumerate(instance.machines):
        for r, (capacity, now) in enumerate(zip(machine.capacity, used[m], strict=True)):
            if now > capacity:
                return f"machine {m}: {now} of resource {r} on a capacity of {capacity}"
    return None


def _services(instance: Instance, places: Sequence[int]) -> str | None:
    members: list[list[int]] = [[] for _ in instance.services]
    for process, place in zip(instance.processes, places, strict=True):
        members[process.service].append(place)
    near = [{instance.machines[m].neighbourhood for m in machines} for machines in members]
    for s, service in enumerate(instance.services):
        machines = members[s]
        if len(set(machines)) < len(machines):
            return f"service {s}: two processes on one machine"
        locations = {instance.machines[m].location for m in machines}
        if len(locations) < service.spread:
            return f"service {s}: {len(locations)} locations, not {service.spread}"
        for other in service.depends_on:
            if near[s] - near[other]:
                return f"service {s}: a process is not near any of service {other}"
    return None
