"""Is what the plan states still so? Names, places, generations, limits, waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, PlannedMove


def wrong_cluster(cluster: Cluster, plan: Plan) -> Finding:
    """That the plan was made for another cluster."""
    return Finding(Code.WRONG_CLUSTER, f"the plan is for cluster {plan.cluster!r}, not for {cluster.name!r}")


def statement_findings(cluster: Cluster, plan: Plan) -> Iterator[Finding]:
    """Everything that can be seen without following the moves."""
    nodes = {node.name: node for node in cluster.nodes}
    places = _places(cluster, plan)
    for name in plan.empties:
        if name not in nodes:
            yield Finding(Code.UNKNOWN_NODE, f"there is no node {name}, which is to be emptied", node=name)
        elif nodes[name].error:
            text = f"{name} does not answer, so what it holds is not known: {nodes[name].error}"
            yield Finding(Code.SOURCE_SILENT, text, node=name)
    for (container, leg), count in Counter((move.container, move.leg) for move in plan.moves).items():
        if count > 1:
            which = f" as its move number {leg}" if leg > 1 else ""
            yield Finding(Code.DUPLICATE_MOVE, f"container {container} is moved {count} times{which}", container)
    for move in plan.moves:
        yield from _nodes_of(move, plan, nodes)
        if move.leg > 1:
            yield from _stated(move, places[move.container])
        elif move.source in nodes and not nodes[move.source].error:
            yield from _container_of(move, places[move.container])
    yield from _waits(plan)
    yield from _legs(plan)


def _nodes_of(move: PlannedMove, plan: Plan, nodes: dict[str, NodeFacts]) -> Iterator[Finding]:
    name = move.container
    for node in (move.source, move.target):
        if node not in nodes:
            yield Finding(Code.UNKNOWN_NODE, f"container {name}: there is no node {node}", name, node)
    if move.source == move.target:
        yield Finding(Code.NO_MOVE, f"container {name} is to move from {move.source} to itself", name, move.source)
    if move.source in nodes and nodes[move.source].error:
        text = f"container {name}: its source {move.source} does not answer: {nodes[move.source].error}"
        yield Finding(Code.SOURCE_SILENT, text, name, move.source)
    if move.target in plan.empties:
        text = f"container {name} is to move to {move.target}, which is to be emptied"
        yield Finding(Code.TARGET_EMPTIED, text, name, move.target)
    target = nodes.get(move.target)
    if target is not None and target.error:
        text = f"container {name}: its target {target.name} does not answer: {target.error}"
        yield Finding(Code.TARGET_SILENT, text, name, target.name)
    elif target is not None and target.cordon is not None:
        text = f"container {name}: its target {target.name} is cordoned (by {target.cordon})"
        yield Finding(Code.TARGET_CORDONED, text, name, target.name)


def _places(cluster: Cluster, plan: Plan) -> dict[str, dict[str, ContainerFacts]]:
    """For each container that the plan moves: what every node that has a record of it says."""
    places: dict[str, dict[str, ContainerFacts]] = {move.container: {} for move in plan.moves}
    for node in cluster.nodes:
        for container in node.containers:
            if container.name in places:
                places[container.name][node.name] = container
    return places


def _container_of(move: PlannedMove, there: dict[str, ContainerFacts]) -> Iterator[Finding]:
    name = move.container
    if not there:
        yield Finding(Code.UNKNOWN_CONTAINER, f"container {name} is on no node", name)
        return
    if move.source not in there:
        where = ", ".join(sorted(there))
        text = f"container {name} is on {where}, not on {move.source} as planned"
        yield Finding(Code.MOVED, text, name, move.source)
        return
    yield from _state(move, there)
    yield from _stated(move, there)


def _stated(move: PlannedMove, there: dict[str, ContainerFacts]) -> Iterator[Finding]:
    """Generation and limits, which every move of a container states as they were when it was planned."""
    name, container = move.container, there.get(move.source)
    if move.leg > 1 and len(there) == 1:
        (container,) = there.values()  # it has not come to where this move starts
    if container is None:
        return
    if container.generation != move.generation:
        text = f"container {name} has moved since: generation {container.generation}, planned with {move.generation}"
        yield Finding(Code.GENERATION_CHANGED, text, name, move.source)
    if container.reserved != move.demand:
        yield Finding(Code.LIMITS_CHANGED, f"container {name}: its limits are others than planned", name, move.source)


def _state(move: PlannedMove, there: dict[str, ContainerFacts]) -> Iterator[Finding]:
    name, container = move.container, there[move.source]
    runs = sorted({other.run for other in there.values()} - {"-"})
    if runs or len(there) > 1 or container.state not in ("serving", "stopped"):
        text = f"container {name} is on the move: {', '.join(runs) or ', '.join(sorted(there))}"
        yield Finding(Code.ON_THE_MOVE, text, name, move.source)
    elif container.state != "serving" or not container.alive:
        yield Finding(Code.NOT_RUNNING, f"container {name} does not run on {move.source}", name, move.source)
    elif container.descriptor is None:
        text = f"container {name} has lost its descriptor on {move.source}"
        yield Finding(Code.UNKNOWN_CONTAINER, text, name, move.source)


def _legs(plan: Plan) -> Iterator[Finding]:
    """Containers that move several times: each move starts where, and only after, the one before has ended."""
    waits = {move.name: set(move.waits_for) for move in plan.moves}
    by_leg = {(move.container, move.leg): move for move in plan.moves}
    for move in plan.moves:
        name, before = move.container, by_leg.get((move.container, move.leg - 1))
        if move.leg == 1:
            continue
        if before is None:
            yield Finding(Code.BROKEN_WAY, f"container {name} has a move {move.name} and none before it", name)
            continue
        if before.target != move.source:
            text = f"container {name}: {move.name} starts on {move.source}, and the move before ends on {before.target}"
            yield Finding(Code.BROKEN_WAY, text, name, move.source)
        seen, left = set[str](), list(waits[move.name])
        while left:
            other = left.pop()
            if other not in seen:
                seen.add(other)
                left += waits.get(other, ())
        if before.name not in seen:
            text = f"container {name}: {move.name} does not wait for the end of {before.name}"
            yield Finding(Code.BROKEN_WAY, text, name, move.source)


def _waits(plan: Plan) -> Iterator[Finding]:
    names = {move.name for move in plan.moves}
    for move in plan.moves:
        for other in move.waits_for:
            if other not in names:
                text = f"container {move.container}: {move.name} waits for {other}, which the plan does not have"
                yield Finding(Code.WAITS_UNKNOWN, text, move.container)
    left = {move.name: set(move.waits_for) & names for move in plan.moves}
    while ready := [name for name, others in left.items() if not others & left.keys()]:
        for name in ready:
            del left[name]
    if left:
        text = f"containers {', '.join(sorted(left))} wait for each other in a circle"
        yield Finding(Code.WAITS_CYCLE, text, min(move.container for move in plan.moves if move.name in left))
