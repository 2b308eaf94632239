"""Small instances of the machine reassignment problem, valid at the start by construction, as values and as text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st

from migrator.roadef.instance import Balance, Instance, Machine, Process, Resource, Service


@st.composite
def instances(draw: st.DrawFn, machines_max: int = 5, processes_max: int = 9) -> tuple[Instance, list[int]]:
    """An instance, tight or roomy, and the assignment that it begins with."""
    small = st.integers(0, 9)
    resources = [Resource(draw(st.booleans()), draw(st.integers(0, 3))) for _ in range(draw(st.integers(1, 3)))]
    count = draw(st.integers(2, machines_max))
    places = draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=processes_max))
    needs = [tuple(draw(small) for _ in resources) for _ in places]
    where = [(draw(st.integers(0, 2)), draw(st.integers(3, 5))) for _ in range(count)]
    machines = []
    for m in range(count):
        used = [sum(n[r] for n, place in zip(needs, places, strict=True) if place == m) for r in range(len(resources))]
        capacity = tuple(u + draw(st.integers(0, 12)) for u in used)
        safety = tuple(draw(st.integers(0, c)) for c in capacity)
        cost = tuple(0 if other == m else draw(small) for other in range(count))
        machines.append(Machine(*where[m], capacity, safety, cost))
    services, process_service = _services(draw, places, where)
    processes = [Process(s, n, draw(small)) for s, n in zip(process_service, needs, strict=True)]
    every = st.integers(0, len(resources) - 1)
    balances = [
        Balance(draw(every), draw(every), draw(st.integers(0, 3)), draw(small)) for _ in range(draw(st.integers(0, 2)))
    ]
    weights = [draw(st.integers(0, 5)) for _ in range(3)]
    made = Instance(tuple(resources), tuple(machines), tuple(services), tuple(processes), tuple(balances), *weights)
    return made, places


def _services(draw: st.DrawFn, places: list[int], where: list[tuple[int, int]]) -> tuple[list[Service], list[int]]:
    """Services whose rules the places keep: on different machines, no spread or dependency that does not hold."""
    members: list[list[int]] = []
    chosen = []
    for place in places:
        free = [s for s, there in enumerate(members) if place not in there]
        s = draw(st.sampled_from([*free, len(members)]))
        if s == len(members):
            members.append([])
        members[s].append(place)
        chosen.append(s)
    near = [{where[m][0] for m in there} for there in members]
    services = []
    for s, there in enumerate(members):
        locations = len({where[m][1] for m in there})
        able = [other for other in range(len(members)) if near[s] <= near[other]]
        needs = draw(st.lists(st.sampled_from(able), max_size=2))
        services.append(Service(draw(st.integers(0, locations)), tuple(needs)))
    return services, chosen


def text_of(instance: Instance) -> str:
    """The model file."""
    lines: list[Iterator[int] | list[int]] = [[len(instance.resources)]]
    lines += [[int(r.transient), r.load_weight] for r in instance.resources]
    lines.append([len(instance.machines)])
    lines += [[m.neighbourhood, m.location, *m.capacity, *m.safety, *m.move_cost] for m in instance.machines]
    lines.append([len(instance.services)])
    lines += [[s.spread, len(s.depends_on), *s.depends_on] for s in instance.services]
    lines.append([len(instance.processes)])
    lines += [[p.service, *p.needs, p.move_cost] for p in instance.processes]
    lines.append([len(instance.balances)])
    for b in instance.balances:
        lines += [[b.first, b.second, b.target], [b.weight]]
    lines.append([instance.process_move_weight, instance.service_move_weight, instance.machine_move_weight])
    return "".join(f"{' '.join(map(str, line))}\n" for line in lines)


def every_assignment(instance: Instance) -> Iterator[tuple[int, ...]]:
    return itertools.product(range(len(instance.machines)), repeat=len(instance.processes))
