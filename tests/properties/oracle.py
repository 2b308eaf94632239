"""What is true of small fleets, found out the long way: every container to every node, one by one, in every order.

And a run of a plan as the executor might do it: any order of begins and ends that waits and limits per node allow.
Both count room from the facts in the plainest way, and share nothing with the planner or the checker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from migrator.model.estimate import estimate_move
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, PlannedMove
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.model.rules import Ban, selects

MARGIN = 64 << 20
WAITS_MAX = 256 << 20  # of streamed pages that have come before their process


def by_images(source: NodeFacts, target: NodeFacts, policy: PlanPolicy) -> bool:
    """Whether memory is taken to go by images: a node says that it cannot stream, or says nothing and the policy so."""
    answers = [source.stream_out, target.stream_in]
    return any(a not in ("", "yes") for a in answers) or ("" in answers and policy.memory_way == "images")


def sending_bytes(container: ContainerFacts, source: NodeFacts, target: NodeFacts, policy: PlanPolicy) -> int:
    """Memory that a move takes on its source."""
    return MARGIN + (container.anon_bytes if by_images(source, target, policy) else container.tmpfs_bytes)


def receiving_bytes(container: ContainerFacts, source: NodeFacts, target: NodeFacts, policy: PlanPolicy) -> int:
    """Memory that a move takes on its target beside what is restored."""
    if by_images(source, target, policy):
        return MARGIN + container.anon_bytes
    return MARGIN + container.tmpfs_bytes + min(container.anon_bytes - container.tmpfs_bytes, WAITS_MAX)


def pause_s(container: ContainerFacts, source: NodeFacts, target: NodeFacts, policy: PlanPolicy) -> float:
    rates = DEFAULT_RATES["images" if by_images(source, target, policy) else "stream"]
    return estimate_move(container, source.link, target.link, rates).blackout_s


def can_drain(cluster: Cluster, name: str, policy: PlanPolicy) -> bool:
    """Whether some sequence of moves empties the node with everything fitting at every moment of it."""
    return can_be_down(cluster, frozenset([name]), policy)


def can_be_down(cluster: Cluster, names: frozenset[str], policy: PlanPolicy) -> bool:
    """The same for several nodes together: none of them takes anything."""
    sources = [n for n in cluster.nodes if n.name in names]
    if any(source.error for source in sources):
        return False
    all_leaving = {c.name: (c, source) for source in sources for c in source.containers}
    targets = [n for n in cluster.nodes if n.name not in names]
    dead_ends: set[frozenset[tuple[str, str]]] = set()

    def go_on(placed: frozenset[tuple[str, str]]) -> bool:
        gone = {ct for ct, _ in placed}
        left = [(c, source) for c, source in all_leaving.values() if c.name not in gone]
        if not left:
            return True
        if placed in dead_ends:
            return False
        for container, source in left:
            freed_bytes = sum(c.anon_bytes for c in source.containers if c.name in gone)
            for target in [n for n in targets if suits(source, n)]:
                if source.memory_available_bytes + freed_bytes < sending_bytes(container, source, target, policy):
                    continue
                there = [all_leaving[ct][0] for ct, where in placed if where == target.name]
                if may_come(container, source, target, there, policy) and go_on(
                    placed | {(container.name, target.name)}
                ):
                    return True
        dead_ends.add(placed)
        return False

    return go_on(frozenset())


def least_moves(cluster: Cluster, wishes: Mapping[str, str], policy: PlanPolicy) -> int | None:
    """The fewest moves, one after the other, that bring each container to its node; None if none do.

    Only containers that are wished somewhere move, and each may go anywhere on its way.
    """
    movers = {c.name: (c, n) for n in cluster.nodes for c in n.containers if wishes.get(c.name, n.name) != n.name}
    names = sorted(movers)
    nodes = {n.name: n for n in cluster.nodes}
    begin = tuple(movers[name][1].name for name in names)
    goal = tuple(wishes[name] for name in names)
    level, seen, moves = {begin}, {begin}, 0
    while level and goal not in level:
        after: set[tuple[str, ...]] = set()
        for places in level:
            for number, name in enumerate(names):
                for target in nodes:
                    to = (*places[:number], target, *places[number + 1 :])
                    if to not in seen and _may_step(
                        nodes, movers, dict(zip(names, places, strict=True)), name, target, policy
                    ):
                        after.add(to)
        level, seen, moves = after - seen, seen | after, moves + 1
    return moves if level else None


def _may_step(
    nodes: Mapping[str, NodeFacts],
    movers: Mapping[str, tuple[ContainerFacts, NodeFacts]],
    places: Mapping[str, str],
    name: str,
    target: str,
    policy: PlanPolicy,
) -> bool:
    """Whether one mover may go from where it is to another node, with all others where they are."""
    container, source = movers[name][0], nodes[places[name]]
    going = nodes[target]
    if target == source.name or source.error or not suits(source, going):
        return False
    if pause_s(container, source, going, policy) > policy.blackout_s_max:
        return False
    labels = container.descriptor.labels if container.descriptor else {}
    for rule in policy.rules:
        if isinstance(rule, Ban) and selects(rule.containers, name, labels) and target in rule.nodes:
            return False
    here, come = _now(source, movers, places)
    if here.memory_available_bytes - sum(c.anon_bytes for c in come) < sending_bytes(container, source, going, policy):
        return False
    there, come = _now(going, movers, places)
    mine = group(container)
    if mine and mine in [group(other) for other in (*there.containers, *come)]:
        return False
    return fits(there, come, {container.name: (container, source)}, policy)


def _now(
    node: NodeFacts, movers: Mapping[str, tuple[ContainerFacts, NodeFacts]], places: Mapping[str, str]
) -> tuple[NodeFacts, list[ContainerFacts]]:
    """A node without the movers that have left it, and those that have come to it."""
    gone = [c for c in node.containers if places.get(c.name, node.name) != node.name]
    left = replace(
        node,
        containers=tuple(c for c in node.containers if c not in gone),
        memory_available_bytes=node.memory_available_bytes + sum(c.anon_bytes for c in gone),
        disk_available_bytes=node.disk_available_bytes + sum(c.files_bytes for c in gone),
    )
    return left, [c for c, home in movers.values() if places[c.name] == node.name != home.name]


def fewest_groups(cluster: Cluster, names: Sequence[str], policy: PlanPolicy) -> int:
    """The least number of groups that can be down together, of all ways to part these nodes."""
    down: dict[frozenset[str], bool] = {}

    def may(group: frozenset[str]) -> bool:
        if group not in down:
            down[group] = can_be_down(cluster, group, policy)
        return down[group]

    def part(left: Sequence[str], groups: list[frozenset[str]], best: int) -> int:
        if len(groups) >= best:
            return best
        if not left:
            return len(groups)
        for place, group in enumerate(groups):
            if may(group | {left[0]}):
                best = part(left[1:], [*groups[:place], group | {left[0]}, *groups[place + 1 :]], best)
        return part(left[1:], [*groups, frozenset([left[0]])], best)

    return part(names, [], len(names) + 1)


def suits(source: NodeFacts, target: NodeFacts) -> bool:
    """Whether any container of one node may go to the other."""
    return not target.error and target.cordon is None and target.criu >= source.criu


def may_come(
    container: ContainerFacts, source: NodeFacts, target: NodeFacts, come: list[ContainerFacts], policy: PlanPolicy
) -> bool:
    """Whether one more container may move to a node to which others have come."""
    for volume in container.descriptor.volumes if container.descriptor else ():
        if volume.name not in target.volumes or target.volumes[volume.name].fault:
            return False
    if pause_s(container, source, target, policy) > policy.blackout_s_max:
        return False
    mine = group(container)
    if mine and mine in [group(other) for other in (*target.containers, *come)]:
        return False
    return fits(target, come, {container.name: (container, source)}, policy)


def group(container: ContainerFacts) -> str:
    return container.descriptor.labels.get("anti-affinity", "") if container.descriptor else ""


def fits(
    node: NodeFacts,
    come: list[ContainerFacts],
    under_way: Mapping[str, tuple[ContainerFacts, NodeFacts]],
    policy: PlanPolicy,
) -> bool:
    """Whether a node has room for those that have come, and those under way to it, each with where it comes from."""
    coming = [c for c, _ in under_way.values()]
    held = [c.reserved for c in (*node.containers, *come, *coming)]
    images = sum(receiving_bytes(c, source, node, policy) for c, source in under_way.values())
    own = policy.headroom
    cpu, memory, disk = (
        100 - (policy.headroom_percent if percent is None else percent) for percent in (own.cpu, own.memory, own.disk)
    )
    return (
        sum(r.cpu_milli for r in held) <= node.capacity.cpu_milli * cpu // 100
        and sum(r.memory_bytes for r in held) + images <= node.capacity.memory_bytes * memory // 100
        and sum(r.disk_bytes for r in held) <= node.capacity.disk_bytes * disk // 100
        and sum(c.anon_bytes for c in (*come, *coming)) + images <= node.memory_available_bytes
        and sum(c.files_bytes for c in (*come, *coming)) + MARGIN <= node.disk_available_bytes
    )


def moments(
    plan: Plan, choose: Callable[[int], int], moves_per_node_max: int | None = None
) -> Iterator[tuple[list[PlannedMove], list[PlannedMove]]]:
    """What is under way and what has ended, after each begin and end, in the order that `choose` makes of what waits
    (and the limit per node, if one is given) allow; `choose` takes the number of possibilities and returns one.
    """
    waiting, under_way, ended = list(plan.moves), list[PlannedMove](), list[PlannedMove]()
    while waiting or under_way:
        busy = Counter(name for move in under_way for name in (move.source, move.target))
        ready = [
            move
            for move in waiting
            if {m.name for m in ended}.issuperset(move.waits_for)
            and (moves_per_node_max is None or max(busy[move.source], busy[move.target]) < moves_per_node_max)
        ]
        pick = choose(len(ready) + len(under_way))
        if pick < len(ready):
            waiting.remove(ready[pick])
            under_way.append(ready[pick])
        else:
            ended.append(under_way.pop(pick - len(ready)))
        yield list(under_way), list(ended)


def carry_out(cluster: Cluster, plan: Plan, choose: Callable[[int], int]) -> Cluster | str:
    """Runs the plan with begins and ends in the order `choose` makes; what does not fit on the way, or the end."""
    facts = {c.name: c for n in cluster.nodes for c in n.containers}
    nodes = {n.name: n for n in cluster.nodes}
    for under_way, ended in moments(plan, choose, plan.policy.moves_per_node_max):
        at = {m.container: m.target for m in sorted(ended, key=lambda m: m.leg)}
        if any(at.get(m.container, m.source) != m.source for m in under_way):
            return f"{[m.name for m in under_way]}: one is not where it starts"
        for node in cluster.nodes:
            come = [
                facts[name] for name, where in at.items() if where == node.name and facts[name] not in node.containers
            ]
            coming = {m.container: (facts[m.container], nodes[m.source]) for m in under_way if m.target == node.name}
            leaving = [m for m in under_way if m.source == node.name]
            gone = [c for c in node.containers if at.get(c.name, node.name) != node.name]
            free_bytes = node.memory_available_bytes + sum(c.anon_bytes for c in gone)
            left = replace(
                node,
                containers=tuple(c for c in node.containers if c not in gone),
                memory_available_bytes=free_bytes,
                disk_available_bytes=node.disk_available_bytes + sum(c.files_bytes for c in gone),
            )
            if (come or coming) and not fits(left, come, coming, plan.policy):
                return f"{node.name} is over its room with {[m.container for m in under_way]} under way"
            sent = (sending_bytes(facts[m.container], node, nodes[m.target], plan.policy) for m in leaving)
            if sum(sent) > free_bytes:
                return f"{node.name} has no memory to send {[m.name for m in leaving]}"
    return _after(cluster, plan, facts)


def _after(cluster: Cluster, plan: Plan, facts: dict[str, ContainerFacts]) -> Cluster:
    left = {(m.source, m.container) for m in plan.moves}
    goals = {m.container: m.target for m in sorted(plan.moves, key=lambda m: m.leg)}
    come = {n.name: tuple(facts[name] for name, goal in goals.items() if goal == n.name) for n in cluster.nodes}
    nodes = (
        replace(n, containers=tuple(c for c in n.containers if (n.name, c.name) not in left) + come[n.name])
        for n in cluster.nodes
    )
    return Cluster(cluster.name, tuple(nodes))
