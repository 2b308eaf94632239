"""Intent: do the plan's moves and emptied nodes do what its intent says, and may those stay that it lets stay?

What was asked for is read from the intent's words alone, and held against where each container is and where it ends.
Of a search (rebalance, consolidate) and of a way back no more can be told than whom and what it may not touch.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, brief, few
from migrator.model.plan_policy import PlanPolicy

_EMPTYING = ("drain", "evacuate", "reboot", "consolidate")
_KNOWN = (*_EMPTYING, "rebalance", "move", "return")
_SAID_MAX = 120  # characters of an intent that nobody knows


def intent_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Nodes that are emptied without being meant or meant without being emptied, moves that were not asked for or
    end elsewhere, and containers that cannot stay.
    """
    verb = plan.intent.split(" ")[0]
    if verb not in _KNOWN:
        text = f"{plan.intent[:_SAID_MAX]!r} is no intent that a plan is made for ({', '.join(_KNOWN)})"
        yield Finding(Code.INTENT, text)
    if why := _not_meant(cluster, plan):
        yield Finding(Code.INTENT, f"{brief(plan.intent)}: the plan empties {few(plan.empties) or 'no node'}{why}")
    yield from _moves(cluster, plan)
    if plan.stays and not policy.leave_stopped:
        text = f"the plan leaves {', '.join(plan.stays)}, and its policy leaves no stopped container"
        yield Finding(Code.STAYS, text, plan.stays[0])
    moved = {move.container: move.source for move in plan.moves}
    places: dict[str, list[tuple[str, str]]] = {}
    for node in cluster.nodes:
        for container in node.containers:
            places.setdefault(container.name, []).append((node.name, container.state))
    for name in plan.stays:
        if name in moved:
            text = f"container {name} is to stay where it is, and the plan moves it"
            yield Finding(Code.STAYS, text, name, moved[name])
        elif not any(node in plan.empties and state == "stopped" for node, state in places.get(name, [])):
            where = " and ".join(f"{state} on {node}" for node, state in places.get(name, [])) or "on no node"
            text = f"container {name} is to stay stopped on a node that is emptied, and is {where}"
            yield Finding(Code.STAYS_ELSEWHERE, text, name)


def _not_meant(cluster: Cluster, plan: Plan) -> str:
    """Why the emptied nodes are not those of the intent; empty if they are, or if it is none that is known here.

    A label may have come to more nodes since, and a fleet may have been asked about without some of its nodes.
    """
    verb, *words = plan.intent.split(" ")
    if verb == "drain" and sorted(plan.empties) != sorted(words):
        return ", not those that it is to drain"
    if verb in ("evacuate", "reboot") and not plan.empties:
        return ", and is made to empty some"
    label = words if verb == "evacuate" else " ".join(words).rpartition(", group ")[0].split(" ")
    if verb == "evacuate" or (verb == "reboot" and "=" in label[0]):
        others = [name for name in plan.empties if not _labelled(cluster, name, label)]
        return f"; {', '.join(others)} without that label" if others else ""
    if verb == "consolidate" and plan.moves and not plan.empties:
        return ", and its moves serve nothing else"
    if verb in ("rebalance", "move", "return") and plan.empties:
        return ", and is not made to empty any"
    return ""


def _moves(cluster: Cluster, plan: Plan) -> Iterator[Finding]:
    """Moves that the intent does not ask for, and what it asks for and no move does."""
    verb, *words = plan.intent.split(" ")
    ends = {name: (way[0].source, way[-1].target) for name, way in plan.ways().items()}
    wrong: list[tuple[str, str]] = []
    if verb in _EMPTYING:
        aside = [name for name, (start, _) in ends.items() if start not in plan.empties]
        wrong += [(name, f"moves from {ends[name][0]}, which is not to be emptied") for name in aside]
    elif verb == "move":
        wrong += _not_as_named(cluster, ends, _named(words))
    elif verb == "rebalance":
        often = [name for name, way in plan.ways().items() if len(way) > 1]
        wrong += [(name, "moves more than once, and evening out a load puts nobody aside") for name in often]
    elif verb == "return":
        wrong += _not_back(cluster, ends, words)
    for name, why in wrong:
        yield Finding(Code.INTENT, f"{brief(plan.intent)}: container {name} {why}", name)


def _named(words: list[str]) -> dict[str, str]:
    """Where each container is asked to go, of "web=n2 db=n3", or of one move "web to n2"."""
    if len(words) == 3 and words[1] == "to":
        return {words[0]: words[2]}
    return {name: target for name, _, target in (word.partition("=") for word in words)}


def _not_as_named(
    cluster: Cluster, ends: dict[str, tuple[str, str]], named: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Containers that do not end where they were asked to, or move without having been asked."""
    places: dict[str, list[str]] = {}
    for node in cluster.nodes:
        for container in node.containers:
            if container.name in named:
                places.setdefault(container.name, []).append(node.name)
    for name, target in named.items():
        there = places.get(name, [])
        if name in ends and ends[name][1] != target:
            yield name, f"is to end on {target}, and its moves end on {ends[name][1]}"
        elif name not in ends and there != [target]:
            yield (
                name,
                f"is to end on {target}, is on {' and '.join(there) or 'no node'}, and the plan does not move it",
            )
    for name in ends:
        if name not in named:
            yield name, "moves, and was not asked for"


def _not_back(cluster: Cluster, ends: dict[str, tuple[str, str]], words: list[str]) -> Iterator[tuple[str, str]]:
    """Containers that cannot have been moved by what a plan is to take back, as far as its own intent tells."""
    verb, *rest = words or [""]
    named = _named(rest) if verb == "move" else {}
    for name, (_, last) in ends.items():
        if verb == "drain" and last not in rest:
            yield name, f"ends on {last}, which was not drained"
        elif verb == "evacuate" and not _labelled(cluster, last, rest):
            yield name, f"ends on {last}, which is without that label"
        elif verb == "move" and name not in named:
            yield name, "moves, and was not moved before"
        elif verb == "move" and named[name] == last:
            yield name, f"ends on {last}, where it was moved to"


def _labelled(cluster: Cluster, name: str, words: list[str]) -> bool:
    """Whether a node has the label that these words tell; one that is not there is another's finding."""
    key, _, value = " ".join(words).partition("=")
    return all(node.labels.get(key) == value for node in cluster.nodes if node.name == name)
