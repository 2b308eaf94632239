"""Why a container stays where it is in a plan: what was asked for, its node, the rules, the score; and what is wrong.

Nothing of this is written in a plan, which tells of moves alone. It is found anew from the plan's intent, its notes and
the facts, and says no more than can be seen in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, brief, few
from migrator.model.rules import Pin, Window, selects
from migrator.model.what_if import after
from migrator.planner.arrays import Targets
from migrator.planner.balance import price
from migrator.planner.look import Alternative
from migrator.planner.movers import free_movers, groups_of, open_nodes, places_of, unmovable
from migrator.planner.rebalance import fleet_score, legs_of
from migrator.planner.rule_notes import named, placed, standing_at, wrongs
from migrator.planner.score import Spread, amounts


@dataclass(frozen=True, slots=True)
class Stays:
    """A container that a plan does not move. `why` are the reasons, `broken` the violations that it is part of and that
    the plan leaves, each with what would mend it.
    """

    container: str
    node: str
    why: tuple[str, ...]
    broken: tuple[str, ...]


def stays(cluster: Cluster, plan: Plan, container: str, others: Sequence[Alternative]) -> Stays:
    """Why it stays; `others` are the other nodes as places for it. Raises KeyError for one that is on no node."""
    places = places_of(cluster, [container])[container]
    if not places:
        raise KeyError(container)
    node, facts = cluster.node(places[0][0]), places[0][1]
    labels = facts.descriptor.labels if facts.descriptor else {}
    pins = [r for r in plan.policy.rules if isinstance(r, Pin) and not r.soft]
    own = list(_itself(plan, node, facts, unmovable(places, node, facts)))
    held = bool(own) or any(selects(rule.containers, container, labels) for rule in pins)
    fitting = [] if held else [other.node for other in others if not other.lacks]
    why = [*own, *_asked(cluster, plan, node, container), *_rules(plan, facts)]
    why += [f"the plan notes: {note}" for note in plan.notes if _speaks_of(note, container)]
    if plan.intent == "rebalance" and not held:
        why += _scores(cluster, plan, container, fitting)
    return Stays(container, node.name, tuple(why), tuple(_broken(cluster, plan, node, container, fitting)))


def _itself(plan: Plan, node: NodeFacts, facts: ContainerFacts, unfit: str) -> Iterator[str]:
    """What keeps the container or its node from any move."""
    if facts.name in plan.stays:
        yield f"it is stopped, and stopped containers of {node.name} stay there (--leave-stopped)"
    elif node.error:
        yield f"its node {node.name} does not answer: {node.error}"
    elif unfit:
        yield unfit
    elif facts.state == "stopped":
        yield "it is stopped"
    elif facts.descriptor is None:
        yield "its descriptor is missing"


def _asked(cluster: Cluster, plan: Plan, node: NodeFacts, container: str) -> Iterator[str]:
    """What the intent has to do with it."""
    verb, *words = plan.intent.split(" ")
    if verb in ("drain", "evacuate", "reboot") and node.name not in plan.empties:
        yield f"{brief(plan.intent)} moves what is on {few(plan.empties)}, and {node.name} is not emptied"
    elif verb == "consolidate" and node.name not in plan.empties:
        yield f"{node.name} is not emptied, and nothing moves between nodes that are kept"
        yield from (f"the plan notes: {note}" for note in plan.notes if note.startswith(f"node {node.name} keeps "))
    elif verb == "move":
        asked = f"{container}={node.name}" in words
        yield f"it is on {node.name} already, as asked for" if asked else "it was not asked for"
    elif verb == "return":
        yield "what is to be brought back did not move it, or it is back already, or it cannot go back"
    if verb in ("rebalance", "consolidate") and node.cordon is not None:
        yield f"its node {node.name} is cordoned (by {node.cordon}), and such a node neither gives nor takes"


def _rules(plan: Plan, facts: ContainerFacts) -> Iterator[str]:
    """The rules that keep a container where it is, or let it move at some hours alone."""
    labels = facts.descriptor.labels if facts.descriptor else {}
    for number, rule in plan.policy.numbered():
        if isinstance(rule, Pin) and selects(rule.containers, facts.name, labels):
            yield f"{named(number, rule)}: it is not moved"
        elif isinstance(rule, Window) and selects(rule.containers, facts.name, labels):
            yield f"{named(number, rule)}: it moves only {', '.join(rule.open)} {rule.zone}"


def _speaks_of(note: str, container: str) -> bool:
    """Whether a note of a plan says of this container by name that it is left."""
    words = note.replace(",", " ").replace(";", " ").replace(":", " ").split()
    left = note.startswith((f"container {container} ", "left out, ", "left as they are, "))
    return left and container in words


def _scores(cluster: Cluster, plan: Plan, container: str, fitting: Sequence[str]) -> Iterator[str]:
    """What the fleet's score would be with it on the best of the other nodes, and what that move would cost."""
    nodes = open_nodes(cluster)
    movers = {mover.name: mover for mover in free_movers(cluster, nodes)}
    numbers = {node.name: number for number, node in enumerate(nodes)}
    if container not in movers:
        return
    mover = movers[container]
    places = [name for name in fitting if name in numbers]
    if not places:
        yield "no other node can take it"
        return
    gains = Spread(open_nodes(after(cluster, plan)), plan.policy.weights).gains_of_one(
        np.array(amounts(mover.container), np.int64), numbers[mover.source.name]
    )
    best = min(places, key=lambda name: (-gains[numbers[name]], name))
    went = [(movers[m.container], cluster.node(m.target)) for m in plan.moves]
    legs = legs_of([*went, (mover, cluster.node(best))], plan.policy)
    planned, moved = (fleet_score(nodes, plan.policy, some, cluster.nodes) for some in (legs[:-1], legs))
    said = f"score of the fleet: {planned:.4f} as planned, {moved:.4f} with it on {best}, the best of {len(places)}"
    if moved >= planned:
        yield f"{said}: no more even than it is"
        return
    costs = price(mover, Targets(nodes, plan.policy, cluster))
    yield (
        f"{said}: that is worth {len(nodes) * (planned - moved):.1%} of a node, and has to be worth its cost of "
        f"{costs:.1%} and what --min-gain asks for (5% unless told otherwise)"
    )


def _broken(cluster: Cluster, plan: Plan, node: NodeFacts, container: str, fitting: Sequence[str]) -> Iterator[str]:
    """Violations at the plan's end that the container is part of, and the nodes on which it would mend each."""
    goals = {name: way[-1].target for name, way in plan.ways().items()}
    there = placed(cluster.nodes, goals)
    mine = next(p for p in there if p.container.name == container)
    for number, rule in plan.policy.numbered():
        found = wrongs(rule, there)
        wrong = found.get(standing_at(rule, mine))
        if wrong is None:
            continue
        total = sum(each.amount for each in found.values())
        mends = [
            name
            for name in fitting
            if sum(w.amount for w in wrongs(rule, placed(cluster.nodes, goals | {container: name})).values()) < total
        ]
        yield f"{named(number, rule)} is broken and stays so: {wrong.text}; {_mended(container, mends)}"
    for key, value in groups_of(mine.container.descriptor, plan.policy):
        beside = [
            p.container.name for p in there if p.node is mine.node and p is not mine and p.labels.get(key) == value
        ]
        if beside:
            text = f"{few([container, *sorted(beside)])} of group {key}={value} are together on {node.name} and stay so"
            yield f"{text}; {_mended(container, fitting)}"


def _mended(container: str, nodes: Sequence[str]) -> str:
    if not nodes:
        return "no move of this one alone would mend it"
    return f"mended with it on {few(nodes)}: migrator plan move {container} --to {nodes[0]}"
