"""Even out the load of a fleet: the fewest and cheapest moves that are worth it, in an order that fits.

Theory. The search (balance.py) thinks one move after the other, so its own order can be carried out. Only a container
that was moved twice goes straight to where it ended, and that may be impossible when others need what it leaves
first: such containers are held where they are, and the search goes on from what the other moves lead to. If it ends
with such moves again and again, a search that moves each container only once is tried too, and the better one is the
plan. Whatever was left out, a move that is then not worth its toll any more is left out too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import DomainsMin
from migrator.model.what_if import after
from migrator.model.windows import windows_of
from migrator.planner.arrays import Targets
from migrator.planner.assemble import assemble, fleet_notes
from migrator.planner.balance import MENDED, Balance, Terms
from migrator.planner.company import ANYBODY, Company
from migrator.planner.graph import capacity_graph, rooms
from migrator.planner.movers import broken, company, free_movers, groups_of, open_nodes, places_of
from migrator.planner.ordering import Leg, sequence
from migrator.planner.placement import Mover
from migrator.planner.priorities import classes
from migrator.planner.rule_notes import cost, mended
from migrator.planner.score import CONTAINERS, DIGITS, RESOURCES, Change, Spread, amounts
from migrator.planner.seats import Seats
from migrator.planner.survival import Watch
from migrator.planner.windows import has_windows, why_never
from migrator.planner.worth_first import worth_first

NAMES_MAX = 10  # in a note
AGAIN = "while these move, a rule that holds at every moment keeps others; when this is done, rebalance again"
ATTEMPTS = 4  # searches after which moves that have no order are left out


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search came to: moves in order, those that cannot be ordered, who was held, the score with the former."""

    search: Balance
    legs: tuple[Leg, ...]
    blocked: tuple[Leg, ...]
    held: tuple[str, ...]
    score: float
    once: bool


def rebalance(cluster: Cluster, snapshot: str, policy: PlanPolicy, terms: Terms) -> Plan:
    """A plan after which the load is spread more evenly; without moves where none is worth it.

    `snapshot` is the digest of the cluster's facts. Containers move between nodes that answer and are not cordoned.
    """
    made, ended = _made(cluster, snapshot, policy, terms)
    if not (made.moves and ended and _holds_back(policy)):
        return made
    then, _ = _made(after(cluster, made), snapshot, policy, terms)
    return replace(made, notes=(*made.notes, AGAIN)) if then.moves else made


def _holds_back(policy: PlanPolicy) -> bool:
    """Whether a rule counts who leaves until the end of a plan, so that more may be possible once the plan is done."""
    return any(isinstance(rule, DomainsMin) and rule.continuous and not rule.soft for rule in policy.rules)


def _made(cluster: Cluster, snapshot: str, policy: PlanPolicy, terms: Terms) -> tuple[Plan, bool]:
    """One search's plan, and whether the search came to its end."""
    nodes = open_nodes(cluster)
    movers = _free(cluster, nodes, policy)
    before = fleet_score(nodes, policy, (), cluster.nodes)
    found = _search(cluster, nodes, movers, policy, terms)
    if found.blocked:
        once = replace(terms, once=True)
        found = min(found, _search(cluster, nodes, movers, policy, once), key=lambda f: f.score)
    legs = survived(found.legs, Watch(cluster.nodes, policy))
    unsafe = found.legs[len(legs) :]
    if found.blocked or unsafe:
        legs = _worth_it(cluster, nodes, movers, policy, terms, legs)
        found = replace(found, legs=legs, score=fleet_score(nodes, policy, legs, cluster.nodes))
    if found.score >= before:
        held = tuple(sorted({*found.held, *(leg.name for leg in found.legs)}))
        found = replace(found, legs=(), held=held, score=before)
    made = assemble(
        cluster,
        found.legs,
        _reasons(cluster, nodes, found.legs, policy),
        policy,
        intent="rebalance",
        snapshot=snapshot,
        notes=(
            *_notes(before, found),
            *_unsafe_notes(unsafe),
            *_left_alone(cluster, movers, policy),
            *fleet_notes(cluster),
        ),
    )
    return made, found.search.ended


def _free(cluster: Cluster, nodes: Sequence[NodeFacts], policy: PlanPolicy) -> list[Mover]:
    """The containers that may be moved, and whose windows are open for long enough whatever node they go to."""
    movers = free_movers(cluster, nodes)
    if not has_windows(policy):
        return movers
    targets = Targets(nodes, policy, cluster)
    return [
        mover
        for mover in movers
        if not any(why_never(mover, node, policy, targets.crossings) for node in targets.unlike(mover.source))
    ]


def fleet_score(
    nodes: Sequence[NodeFacts],
    policy: PlanPolicy,
    legs: Sequence[Leg] = (),
    everywhere: Sequence[NodeFacts] | None = None,
) -> float:
    """The score of these nodes once the legs are done, with what broken rules add to it.

    `everywhere` are all nodes of the cluster (by default `nodes`), whose containers count for rules.
    """
    spread = Spread(nodes, policy.weights)
    for change in _changes(nodes, legs):
        spread.move(change)
    moved = {leg.name: leg.target for leg in legs}
    wrong = MENDED * broken(company(nodes, policy, moved))
    wrong += cost(nodes if everywhere is None else everywhere, policy, moved, MENDED)
    return round(spread.score + wrong / max(1, len(nodes)), DIGITS)


def legs_of(moved: Sequence[tuple[Mover, NodeFacts]], policy: PlanPolicy, company: Company = ANYBODY) -> list[Leg]:
    """Moves with what each container must not share with another on a node."""
    return [
        Leg(mover, target.name, policy.way(mover.source, target), company.apart(mover, policy), asked=policy.mode)
        for mover, target in moved
    ]


def _search(
    cluster: Cluster, nodes: Sequence[NodeFacts], movers: Sequence[Mover], policy: PlanPolicy, terms: Terms
) -> _Found:
    search = Balance(movers, nodes, policy, cluster)
    search.run(terms)
    legs, blocked = _ordered(cluster, search, policy)
    held = frozenset(leg.name for leg in blocked)
    for _ in range(ATTEMPTS):
        if not blocked or search.stopped(terms):
            break
        search, done = Balance(movers, nodes, policy, cluster), search.iterations
        search.resume([(leg.name, leg.target) for leg in legs], replace(terms, held=held), done)
        legs, blocked = _ordered(cluster, search, policy)
        held |= {leg.name for leg in blocked}
    score = fleet_score(nodes, policy, legs, cluster.nodes)
    return _Found(search, legs, blocked, tuple(sorted(held)), score, terms.once)


def _ordered(cluster: Cluster, search: Balance, policy: PlanPolicy) -> tuple[tuple[Leg, ...], tuple[Leg, ...]]:
    """The moves of a search in an order that fits, and those that have none: those of higher priority first, then those
    that are worth most.
    """
    goals = [(search.movers[i], search.nodes[search.at[i]]) for i in worth_first(search)]
    others = Company.of(cluster)
    wished, room = legs_of(goals, policy, others), rooms(capacity_graph(cluster, policy))
    seats = Seats(cluster.nodes, policy)
    legs, blocked = sequence(wished, room, seats=seats)
    if blocked:
        found = sequence(legs_of(search.legs(), policy, others), room, seats=seats)
        legs, blocked = found if len(found[1]) < len(blocked) else (legs, blocked)
    if first := classes([leg.mover for leg in wished], policy.rules):
        ranked, left = sequence(sorted(wished, key=lambda leg: first[leg.name]), room, seats=seats)
        legs, blocked = (ranked, left) if len(left) <= len(blocked) else (legs, blocked)
    return legs, blocked


def _worth_it(
    cluster: Cluster,
    nodes: Sequence[NodeFacts],
    movers: Sequence[Mover],
    policy: PlanPolicy,
    terms: Terms,
    legs: tuple[Leg, ...],
) -> tuple[Leg, ...]:
    """The moves that are worth their tolls once others were left out; all of them if the rest has no order."""
    search = Balance(movers, nodes, policy, cluster)
    search.resume([(leg.name, leg.target) for leg in legs], replace(terms, iterations=0), 0)
    kept = {mover.name for mover, _ in search.legs()}
    seats, room = Seats(cluster.nodes, policy), rooms(capacity_graph(cluster, policy))
    rest, blocked = sequence([leg for leg in legs if leg.name in kept], room, seats=seats)
    return legs if blocked or len(rest) == len(legs) else rest


def _changes(nodes: Sequence[NodeFacts], legs: Sequence[Leg]) -> Iterator[Change]:
    numbers = {node.name: number for number, node in enumerate(nodes)}
    for leg in legs:
        amount = np.array(amounts(leg.mover.container), np.int64)
        yield Change(amount, numbers[leg.source], numbers[leg.target])


def _reasons(cluster: Cluster, nodes: Sequence[NodeFacts], legs: Sequence[Leg], policy: PlanPolicy) -> dict[str, str]:
    """For each move, in order: the broken rules that it mends, and how full its two nodes are before and after."""
    spread, reasons = Spread(nodes, policy.weights), {}
    together = company(nodes, policy, {})
    rules = mended(cluster.nodes, policy, {leg.name: leg.target for leg in legs})
    for leg, change in zip(legs, _changes(nodes, legs), strict=True):
        why = list(rules.get(leg.name, ()))
        for group in groups_of(leg.mover.descriptor, policy):
            if together[leg.source, group] > 1:
                why.append(f"no longer beside another of group {'='.join(group)}")
            together[leg.source, group] -= 1
            together[leg.target, group] += 1
        evened = _evened(nodes, spread, change)
        if evened or not why:
            why.append(evened or "a part of what the moves even out together")
        reasons[leg.name] = "; ".join(why)
    return reasons


def _evened(nodes: Sequence[NodeFacts], spread: Spread, change: Change) -> str:
    """What a move, which is booked here, evens out: of the resources in which it can be seen the one that counts most,
    else the number of containers; empty where that is no more even either.
    """
    ends = [change.source, change.target]
    parts, used, shares = spread.parts, spread.used[ends], spread.full[ends]
    spread.move(change)
    gained, after = np.round(parts - spread.parts, DIGITS), spread.full[ends]
    seen = [c for c in range(CONTAINERS) if any(f"{shares[i, c]:.0%}" != f"{after[i, c]:.0%}" for i in (0, 1))]
    column = max((c for c in seen if gained[c] > 0), key=lambda c: (gained[c], -c), default=CONTAINERS)
    if gained[column] <= 0:
        return ""
    return "; ".join(
        nodes[end].name
        + (f" {shares[i, column]:.0%} -> {after[i, column]:.0%} full of {RESOURCES[column]} with" * (column in seen))
        + f" {used[i, CONTAINERS]} -> {spread.used[end, CONTAINERS]} containers"
        for i, end in enumerate(ends)
    )


def _notes(before: float, found: _Found) -> Iterator[str]:
    """What the search came to, and how to repeat it."""
    search = found.search
    none = f"score {before:.4f}: {'no move is worth it' if search.ended else 'no move was found that is worth it'}"
    yield f"score {before:.4f} -> {found.score:.4f}" if found.legs else none
    if search.ended:
        yield f"nothing more is worth it after {search.iterations} iterations"
    else:
        yield f"stopped early; --iterations {search.iterations} (and no --seconds) repeats this exactly"
    if found.held:
        later = "; when this is done, rebalance again" if found.legs else ""
        yield f"left out, no order of the moves has room for them: {_some(found.held)}{later}"
    if found.once:
        yield "some containers would have to move twice; when this is done, rebalance again"


def survived(legs: tuple[Leg, ...], watch: Watch) -> tuple[Leg, ...]:
    """As many of the first legs as a search by halves finds after which the loss of no node is worse than before."""
    good, bad = 0, len(legs) + 1
    count = len(legs)
    while good < count:
        if watch.worse({leg.name: leg.target for leg in legs[:count]}, (), soft=False):
            bad = count
        else:
            good = count
        count = (good + bad) // 2
    return legs[:good]


def _unsafe_notes(unsafe: Sequence[Leg]) -> Iterator[str]:
    if unsafe:
        names = _some([leg.name for leg in unsafe])
        yield f"left out, after the first of them the loss of a node would not be survived: {names}"


def _left_alone(cluster: Cluster, movers: Sequence[Mover], policy: PlanPolicy) -> Iterator[str]:
    """Nodes and containers that the search did not touch, and why."""
    cordoned = [node.name for node in cluster.nodes if node.answered and node.cordon is not None]
    if cordoned:
        yield f"cordoned and left as they are: {_some(cordoned)}"
    nodes, taken = open_nodes(cluster), {mover.name for mover in movers}
    shut = {mover.name: _hours(mover, policy) for mover in free_movers(cluster, nodes) if mover.name not in taken}
    for hours in sorted(set(shut.values())):
        names = _some([name for name in shut if shut[name] == hours])
        yield f"left as they are, for no opening of their time windows ({hours}) is long enough for a move: {names}"
    there = [container.name for node in nodes for container in node.containers]
    places = places_of(cluster, there)
    twice = sorted(name for name in places if len(places[name]) > 1)
    for name in twice:
        where = " and ".join(node for node, _ in places[name])
        yield f"container {name} is left as it is: there is a record of it on {where}; see: migrator ct list"
    rest = len([name for name in there if name not in taken and name not in twice and name not in shut])
    if rest:
        yield f"not running or on the move, and left as they are: {rest} of {len(there)} containers"


def _hours(mover: Mover, policy: PlanPolicy) -> str:
    windows = windows_of(policy.rules, mover.name, mover.descriptor.labels)
    return " and ".join(f"{', '.join(window.open)} {window.zone}" for window in windows)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return f"{', '.join(names[:NAMES_MAX])}{more}"
