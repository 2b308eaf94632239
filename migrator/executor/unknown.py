"""A container that is on the move by the nodes' records, in a run that this journal does not know: its own is lost."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from migrator.errors import BadInput, Refused
from migrator.executor.fleet import Fleet
from migrator.executor.moves import side_of
from migrator.journal.store import Journal, Migration
from migrator.model.container import Descriptor
from migrator.model.estimate import Estimate
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, PlannedMove
from migrator.model.policy import Policy
from migrator.runtime.bundle import descriptor_json
from migrator.steps.base import Move

ON_THE_MOVE = ("fenced", "sealed", "reserved", "held", "released")
COMES = ("reserved", "held", "released")


@dataclass(frozen=True, slots=True)
class Strays:
    """Both ends of the unknown migration, as far as the nodes tell."""

    container: str
    descriptor: Descriptor
    source: NodeFacts
    target: NodeFacts

    def move(self, fleet: Fleet, policy: Policy) -> Move:
        """The same as a move that can be settled. It has no run yet."""
        records = [c for node in (self.source, self.target) if (c := node.container(self.container))]
        return Move(
            id="-",
            run="-",
            descriptor=self.descriptor,
            source=side_of(fleet, self.source),
            target=side_of(fleet, self.target),
            expected_token=0,
            token=max(c.token for c in records),
            generation=max(c.generation for c in records),
            policy=policy,
            holder=fleet.holder,
        )


def find_strays(cluster: Cluster, container: str, keep: str, named: str) -> Strays:
    """Finds both ends. `named` is the node that the operator says is off, or empty.

    Refused when the container is not on the move, or when the other end cannot be told.
    """
    found = {node.name: c for node in cluster.nodes if (c := node.container(container))}
    moving = [c for c in found.values() if c.state in ON_THE_MOVE or c.run != "-"]
    if not moving and len(found) < 2:
        where = "; ".join(f"{name}: {c.state}" for name, c in found.items()) or "no node that answers has it"
        raise Refused(f"container {container} is not on the move, and nothing is to be settled: {where}")
    if keep not in found:
        raise Refused(f"--keep {keep}: {cluster.node(keep).error or f'it has nothing of container {container}'}")
    other = _other(cluster, found, keep, named)
    comes = found[keep].state in COMES
    source, target = (other, cluster.node(keep)) if comes else (cluster.node(keep), other)
    descriptor = next((c.descriptor for c in found.values() if c.descriptor), None)
    if descriptor is None:
        raise Refused(f"container {container}: no node that answers has its description; nothing can be kept")
    return Strays(container, descriptor, source, target)


def _other(cluster: Cluster, found: dict[str, ContainerFacts], keep: str, named: str) -> NodeFacts:
    others = [name for name in found if name != keep]
    silent = [node.name for node in cluster.nodes if not node.answered]
    if len(others) > 1:
        raise Refused(f"more than two nodes have something of it: {', '.join(sorted(found))}; settle needs two")
    if others:
        return cluster.node(others[0])
    if named:
        if named not in silent:
            raise BadInput(f"{named} is said to be off: it is no silent node of the cluster")
        return cluster.node(named)
    if len(silent) == 1:
        return cluster.node(silent[0])
    if silent:
        raise Refused(
            f"its other end may be any of {', '.join(silent)}, which do not answer; name it, once it is off, with "
            f"--fenced NODE"
        )
    rest = [node for node in cluster.nodes if node.name != keep]
    if not rest:
        raise Refused("the cluster has no other node that it could have come from")
    return rest[0]  # all answer and have nothing of it: whichever it was, nothing of it is left


def journal_strays(journal: Journal, fleet: Fleet, cluster_file: str, strays: Strays, move: Move, keep: str) -> None:
    """Makes a run of its own for the settlement, so that resume can finish it."""
    intent = f"settle {strays.container}, keep {keep}"
    planned = PlannedMove(
        container=strays.container,
        source=strays.source.name,
        target=strays.target.name,
        generation=move.generation,
        demand=next(c.reserved for n in (strays.source, strays.target) if (c := n.container(strays.container))),
        reason=intent,
        estimate=Estimate(0, 0, 0.0, 0.0),
    )
    plan = Plan(intent=intent, cluster=fleet.file.name, snapshot="-", empties=(), moves=(planned,), makespan_s=0.0)
    move.token = max(move.token, journal.token_max(move.name)) + 1
    journal.create_run(
        move.run, intent, {"cluster_file": cluster_file, "plan": asdict(plan), "policy": asdict(move.policy)}
    )
    journal.add_migration(
        Migration(
            id=move.id,
            run=move.run,
            container=move.name,
            source=strays.source.name,
            target=strays.target.name,
            token=move.token,
            generation=move.generation,
            decision=None,
            document={"descriptor": descriptor_json(move.descriptor).decode()},
        )
    )
