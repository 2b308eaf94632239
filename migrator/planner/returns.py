"""The way back of what was moved, as far as it goes: one container that cannot go back does not keep the others.

Theory. All are asked for at once. Those that are refused are left where they are and the rest asked for again, until
there is a plan; what is left then is added one by one, for two that must not meet are both refused and one of them can
go. If nothing is to go back in the end, the refusal of all is the answer, with its reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.moves import home, move
from migrator.planner.remedies import helped

ROUNDS_MAX, SINGLES_MAX = 8, 32
WORK_MAX = 2_000  # containers that are asked for in all tries of single ones
SAID_MAX = 10
HELPED_MAX = 3  # of those that stay, told what would let them go back


def bring_back(
    cluster: Cluster, wishes: Mapping[str, str], snapshot: str, policy: PlanPolicy, intent: str
) -> Plan | Refusal:
    """A plan that brings back as many as was found possible, with notes on those that stay; `wishes` as in `move`."""
    whole = made = move(cluster, wishes, snapshot, policy, intent)
    asked, why = dict(wishes), dict[str, str]()
    for _ in range(ROUNDS_MAX):
        if isinstance(made, Plan) or not made.containers:
            break
        why |= {stuck.container: "; ".join(map(str, stuck.reasons[:2])) for stuck in made.containers}
        asked = {name: goal for name, goal in asked.items() if name not in why}
        made = move(cluster, asked, snapshot, policy, intent)
    if isinstance(made, Refusal):
        return whole
    for name in sorted(why)[: min(SINGLES_MAX, max(1, WORK_MAX // max(1, len(wishes))))]:
        more = move(cluster, {**asked, name: wishes[name]}, snapshot, policy, intent)
        if isinstance(more, Plan):
            made, asked = more, {**asked, name: wishes[name]}
            del why[name]
        elif more.containers:
            why[name] = "; ".join(str(r) for stuck in more.containers if stuck.container == name for r in stuck.reasons)
    if not made.moves and why:
        return whole
    why |= {
        name: _helped(cluster, {**asked, name: wishes[name]}, policy, why[name]) for name in sorted(why)[:HELPED_MAX]
    }
    notes = [
        f"container {name} stays on {home(cluster, name).name}: {reason or 'no plan with it was found'}"
        for name, reason in sorted(why.items())
    ]
    told = notes[:SAID_MAX]
    if len(notes) > SAID_MAX:
        told.append(f"and {len(notes) - SAID_MAX} more stay where they are: {', '.join(sorted(why)[SAID_MAX:])}")
    return replace(made, notes=(*told, *made.notes))


def _helped(cluster: Cluster, wishes: Mapping[str, str], policy: PlanPolicy, reason: str) -> str:
    """Why these cannot go back together, with the changes that were seen to let them."""

    def again(facts: Cluster, rules: PlanPolicy) -> Plan | Refusal:
        return move(facts, wishes, "", rules, "return")

    made = helped(again(cluster, policy), cluster, policy, again)
    change = made.change if isinstance(made, Refusal) else ""
    return f"{reason or 'no plan with it was found'}; possible {change}" if change else reason
