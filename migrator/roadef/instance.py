"""The challenge's two files: a model and an assignment, both whole numbers between blanks. Parsing only, no I/O.

The order of the model's numbers: resources (transient, load weight); machines (neighbourhood, location, a capacity a
resource, a safety capacity a resource, a move cost to every machine); services (spread, number of dependencies,
the services it depends on); processes (service, a requirement a resource, move cost); balances (two resources, target,
weight); and the three weights of process, service and machine moves. Lists begin with their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migrator.errors import BadInput

NUMBER_MAX = 2**40
EXACT_MAX = 2**53  # every sum of the search is a whole number that a double holds exactly


@dataclass(frozen=True)
class Resource:
    transient: bool
    load_weight: int


@dataclass(frozen=True)
class Machine:
    """`capacity` and `safety` have an entry a resource, `move_cost` one a machine."""

    neighbourhood: int
    location: int
    capacity: tuple[int, ...]
    safety: tuple[int, ...]
    move_cost: tuple[int, ...]


@dataclass(frozen=True)
class Service:
    """Its processes lie in at least `spread` locations, and near one of each service in `depends_on`."""

    spread: int
    depends_on: tuple[int, ...]


@dataclass(frozen=True)
class Process:
    service: int
    needs: tuple[int, ...]
    move_cost: int


@dataclass(frozen=True)
class Balance:
    """A machine misses target * what is free of the first resource - what is free of the second, if positive."""

    first: int
    second: int
    target: int
    weight: int


@dataclass(frozen=True)
class Instance:
    resources: tuple[Resource, ...]
    machines: tuple[Machine, ...]
    services: tuple[Service, ...]
    processes: tuple[Process, ...]
    balances: tuple[Balance, ...]
    process_move_weight: int
    service_move_weight: int
    machine_move_weight: int


class _Numbers:
    """The numbers of a file, one after the other; every complaint names the file and the line."""

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._lines = text.splitlines()
        self._words = text.split()
        self._next = 0

    def take(self, what: str, most: int = NUMBER_MAX, least: int = 0) -> int:
        if self._next == len(self._words):
            raise BadInput(f"{self._name}: ends before {what}")
        word = self._words[self._next]
        if not (word.isascii() and word.isdigit() and len(word) <= 20 and least <= int(word) <= most):
            raise BadInput(f"{self._name}: line {self._line()}: {what}: {word[:30]!r} is not from {least} to {most}")
        self._next += 1
        return int(word)

    def many(self, count: int, what: str, most: int = NUMBER_MAX) -> tuple[int, ...]:
        return tuple([self.take(what, most) for _ in range(count)])

    def size(self, what: str, least: int = 0) -> int:
        """The length of a list. Each of its entries is a word at least, so no file announces more than it holds."""
        size = self.take(f"the number of {what}", least=least)
        if size > len(self._words) - self._next:
            raise BadInput(f"{self._name}: ends before its {size} {what}")
        return size

    def end(self) -> None:
        if self._next < len(self._words):
            raise BadInput(f"{self._name}: line {self._line()}: goes on after its end")

    def refuse(self, why: str) -> BadInput:
        return BadInput(f"{self._name}: {why}")

    def _line(self) -> int:
        seen = 0
        for number, line in enumerate(self._lines, 1):
            seen += len(line.split())
            if seen > self._next:
                return number
        return len(self._lines)


def parse_model(text: str, name: str) -> Instance:
    """Reads a model; BadInput names the file, the line and what is wrong."""
    numbers = _Numbers(text, name)
    take, many = numbers.take, numbers.many
    resources = tuple(
        Resource(bool(take(f"resource {r}: transient", 1)), take(f"resource {r}: load weight"))
        for r in range(numbers.size("resources", least=1))
    )
    count = len(resources)
    machines = _machines(numbers, count)
    services = _services(numbers)
    processes = tuple(
        Process(
            take(f"process {p}: service", len(services) - 1),
            many(count, f"process {p}: requirement"),
            take(f"process {p}: move cost"),
        )
        for p in range(numbers.size("processes", least=1))
    )
    balances = tuple(
        Balance(
            take(f"balance {b}: first resource", count - 1),
            take(f"balance {b}: second resource", count - 1),
            take(f"balance {b}: target"),
            take(f"balance {b}: weight"),
        )
        for b in range(numbers.size("balances"))
    )
    weights = many(3, "weights of moves")
    numbers.end()
    instance = Instance(resources, machines, services, processes, balances, *weights)
    if worst_cost(instance) >= EXACT_MAX:
        raise numbers.refuse(f"its costs can reach {EXACT_MAX}, above which they are not counted exactly")
    return instance


def _machines(numbers: _Numbers, resources: int) -> tuple[Machine, ...]:
    count = numbers.size("machines", least=1)
    machines = tuple(
        Machine(
            numbers.take(f"machine {m}: neighbourhood"),
            numbers.take(f"machine {m}: location"),
            numbers.many(resources, f"machine {m}: capacity"),
            numbers.many(resources, f"machine {m}: safety capacity"),
            numbers.many(count, f"machine {m}: move cost"),
        )
        for m in range(count)
    )
    for m, machine in enumerate(machines):
        if machine.move_cost[m]:
            raise numbers.refuse(f"machine {m}: a move to itself costs {machine.move_cost[m]}")
    return machines


def _services(numbers: _Numbers) -> tuple[Service, ...]:
    count = numbers.size("services", least=1)
    return tuple(
        Service(
            numbers.take(f"service {s}: spread"),
            numbers.many(numbers.size(f"dependencies of service {s}"), f"service {s}: dependency", count - 1),
        )
        for s in range(count)
    )


def parse_assignment(text: str, name: str, instance: Instance) -> list[int]:
    """Reads an assignment: for every process its machine."""
    numbers = _Numbers(text, name)
    last = len(instance.machines) - 1
    places = [numbers.take(f"machine of process {p}", last) for p in range(len(instance.processes))]
    numbers.end()
    return places


def write_assignment(places: Sequence[int]) -> str:
    return " ".join(map(str, places)) + "\n"


def worst_cost(instance: Instance) -> int:
    """No assignment costs more, and no part of a cost or load is above it, whatever is counted on the way."""
    every = range(len(instance.resources))
    needed = [sum(process.needs[r] for process in instance.processes) for r in every]
    held = [sum(machine.capacity[r] + machine.safety[r] for machine in instance.machines) for r in every]
    load = sum(
        (resource.load_weight + 1) * (n + h) for resource, n, h in zip(instance.resources, needed, held, strict=True)
    )
    balance = sum(
        (b.weight + 1) * (b.target + 1) * (needed[r] + held[r]) for b in instance.balances for r in (b.first, b.second)
    )
    farthest = max(max(machine.move_cost) for machine in instance.machines)
    moves = sum(
        instance.process_move_weight * process.move_cost + instance.machine_move_weight * farthest
        for process in instance.processes
    )
    return load + balance + moves + instance.service_move_weight * len(instance.processes)
