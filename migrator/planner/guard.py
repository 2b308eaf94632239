"""Who should leave a node that is under pressure, and where to, before it hurts.

Theory. Of what a node is short of each container uses some, as measured. One that by itself frees enough is best, and
of those the one with the fewest bytes to send; where none frees enough, the largest users go one by one until it is.
The target is found as for every move, under all rules, by limits and by what is really free, among the nodes that are
under no pressure and would not come under it. A node is left alone as soon as enough has been found to go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.pressure import Resource
from migrator.model.strain import (
    CPU_SHARE_MAX,
    Outgrown,
    Strain,
    Tight,
    cpu_milli,
    memory_short_bytes,
    outgrown,
    strains,
    tight,
)
from migrator.model.units import format_bytes
from migrator.planner.construct import Choice
from migrator.planner.movers import free_movers
from migrator.planner.moves import move
from migrator.planner.newcomer import place_grown
from migrator.planner.placement import Mover

PRESSED = "the guard, for it is under pressure itself or would be"
IO_STALL_MIN = 1.0  # percent of the time: who waits less for disks does not use them much


@dataclass(frozen=True, slots=True)
class Leaving:
    """A container that should move: to where, what that frees, and why it and why there."""

    container: str
    source: str
    target: str
    resource: Resource
    why: str


@dataclass(frozen=True, slots=True)
class Relief:
    """What was found under pressure and what would help. `unrelieved` are strains for which not enough can go, with
    what keeps those that would have to.
    """

    strains: tuple[Strain, ...]
    tight: tuple[Tight, ...]
    leaving: tuple[Leaving, ...]
    unrelieved: tuple[tuple[Strain, tuple[Stuck, ...]], ...]
    plan: Plan | Refusal | None
    outgrown: tuple[Outgrown, ...] = ()

    @property
    def quiet(self) -> bool:
        return not self.strains and not self.tight and not self.outgrown


@dataclass(frozen=True, slots=True)
class _Use:
    """How much a container uses of what its node is short of, as Strain counts it, and the bytes of its move."""

    mover: Mover
    amount: int
    said: str

    @property
    def cost_bytes(self) -> int:
        return self.mover.container.anon_bytes + self.mover.container.files_bytes


def relieve(before: Cluster, after: Cluster, snapshot: str, policy: PlanPolicy) -> Relief:
    """What two readings of a cluster show, and a plan of what would help; `snapshot` is the later's digest."""
    found = strains(before, after)
    work, leaving, unrelieved = after, list[Leaving](), list[tuple[Strain, tuple[Stuck, ...]]]()
    pressed = {strain.node for strain in found}
    for strain in found:
        freed, stuck = 0, list[Stuck]()
        gone = {each.container for each in leaving}
        uses = [use for use in _uses(before, after, strain) if use.mover.name not in gone]
        freed += sum(use.amount for use in _uses(before, after, strain) if use.mover.name in gone)
        for use in _in_turn(uses, strain.need):
            if freed >= strain.need:
                break
            chosen = _place(before, work, use, pressed, policy)
            if isinstance(chosen, Refusal):
                stuck += chosen.containers or (Stuck(use.mover.name, strain.node, chosen.reasons),)
                continue
            freed += use.amount
            why = f"{use.said}, {format_bytes(use.cost_bytes)} to send; {chosen.said()}"
            leaving.append(Leaving(use.mover.name, strain.node, chosen.target, strain.resource, why))
            work = _moved(work, use.mover.container, strain.node, chosen.target)
        if freed < strain.need:
            unrelieved.append((strain, tuple(stuck)))
    return Relief(
        found,
        tight(before, after),
        tuple(leaving),
        tuple(unrelieved),
        _plan(after, leaving, found, snapshot, policy),
        outgrown(after),
    )


def _plan(
    cluster: Cluster, leaving: Sequence[Leaving], found: Sequence[Strain], snapshot: str, policy: PlanPolicy
) -> Plan | Refusal | None:
    if not leaving:
        return None
    wishes = {each.container: each.target for each in leaving}
    intent = f"move {' '.join(f'{name}={wishes[name]}' for name in sorted(wishes))}"
    made = move(cluster, wishes, snapshot, policy, intent)
    if isinstance(made, Refusal):
        return made
    notes = [f"guard: node {strain.node}: {'; '.join(strain.texts)}" for strain in found]
    notes += [f"guard: container {each.container} leaves {each.source}: {each.why}" for each in leaving]
    return replace(made, notes=(*made.notes, *notes))


def _uses(before: Cluster, after: Cluster, strain: Strain) -> Iterator[_Use]:
    """Of the containers that may move those that use what the node is short of."""
    node = after.node(strain.node)
    earlier = next((n for n in before.nodes if n.name == node.name), None)
    for mover in free_movers(after, [node]):
        container = mover.container
        if strain.resource == "memory":
            amount, said = container.rss_bytes, f"uses {format_bytes(container.rss_bytes)} of memory"
        elif strain.resource == "cpu":
            amount = cpu_milli(earlier, node, container)
            said = f"uses {amount / 1000:.1f} CPUs"
        else:
            stall = container.pressure.io
            amount = 1 if stall and stall.some >= IO_STALL_MIN else 0
            said = f"waits for disks {stall.some:.0f}% of the time" if stall else ""
        if amount:
            yield _Use(mover, amount, said)


def _in_turn(uses: Sequence[_Use], need: int) -> list[_Use]:
    """Those that free enough alone, the cheapest first; then the others, the largest first."""
    enough = sorted((u for u in uses if u.amount >= need), key=lambda u: (u.cost_bytes, u.amount, u.mover.name))
    others = sorted((u for u in uses if u.amount < need), key=lambda u: (-u.amount, u.cost_bytes, u.mover.name))
    return [*enough, *others]


def _place(before: Cluster, work: Cluster, use: _Use, pressed: set[str], policy: PlanPolicy) -> Choice | Refusal:
    """Where it goes best, but for nodes that are under pressure or would come under it."""
    name, source = use.mover.name, use.mover.source.name
    cpu = cpu_milli(next((n for n in before.nodes if n.name == source), None), use.mover.source, use.mover.container)

    def closed(node: NodeFacts) -> bool:
        if node.name == source or node.cordon is not None or not node.answered:
            return False
        short = memory_short_bytes(node) + use.mover.container.rss_bytes > 0 and node.guard.memory_free > 0
        return node.name in pressed or short or _busy(before, node, cpu)

    nodes = tuple(replace(node, cordon=PRESSED) if closed(node) else node for node in work.nodes)
    return place_grown(replace(work, nodes=nodes), name, source, use.mover.container.reserved, policy)


def _busy(before: Cluster, node: NodeFacts, more_milli: int) -> bool:
    """Whether so much more CPU would be more than a node has for those who want to run."""
    earlier = next((n for n in before.nodes if n.name == node.name), None)
    used = sum(cpu_milli(earlier, node, container) for container in node.containers)
    return (
        bool(node.guard.cpu_some and more_milli and node.cpus) and used + more_milli > node.cpus * 1000 * CPU_SHARE_MAX
    )


def _moved(cluster: Cluster, container: ContainerFacts, source: str, target: str) -> Cluster:
    """The cluster with it there, as far as the next one has to know."""
    nodes = []
    for node in cluster.nodes:
        if node.name == source:
            left = tuple(c for c in node.containers if c.name != container.name)
            free = node.memory_available_bytes + container.rss_bytes
            nodes.append(replace(node, containers=left, memory_available_bytes=free))
        elif node.name == target:
            come = tuple(sorted((*node.containers, container), key=lambda c: c.name))
            free = max(0, node.memory_available_bytes - container.rss_bytes)
            nodes.append(replace(node, containers=come, memory_available_bytes=free))
        else:
            nodes.append(node)
    return replace(cluster, nodes=tuple(nodes))
