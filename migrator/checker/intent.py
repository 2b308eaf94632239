"""Intent: are the nodes that the plan empties those that its intent speaks of, and may those stay that it lets stay?"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy


def intent_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Nodes that are emptied without being meant or meant without being emptied, and containers that cannot stay."""
    if why := _not_meant(cluster, plan):
        yield Finding(Code.INTENT, f"{plan.intent}: the plan empties {', '.join(plan.empties) or 'no node'}{why}")
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
    if verb == "evacuate":
        key, _, value = " ".join(words).partition("=")
        others = [n.name for n in cluster.nodes if n.name in plan.empties and n.labels.get(key) != value]
        return f"; {', '.join(others)} without that label" if others else ""
    if verb == "consolidate" and plan.moves and not plan.empties:
        return ", and its moves serve nothing else"
    if verb in ("rebalance", "move", "return") and plan.empties:
        return ", and is not made to empty any"
    return ""
