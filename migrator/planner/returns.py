"""The way back of what was moved, as far as it goes: one container that cannot go back does not keep the others.

Theory. All are asked for at once. Those that are refused are left where they are and the rest asked for again, until
there is a plan. Of two that must not meet both are refused then, and one of them can go: so what is left is added to
the plan in groups. Of a group those go on together that were not refused in it; one that is refused whole is halved,
every second one apart, since those that belong together are mostly neighbours by name. So what is told of a container
that stays was seen beside those that go. Tries are bounded, by what they ask for; whoever was not tried by itself says
so. If nothing is to go back in the end, the refusal of all is the answer, with its reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.moves import home, move
from migrator.planner.remedies import helped

ROUNDS_MAX, TRIES_MIN = 8, 4
WORK_MAX = 24_000  # containers that are asked for in all tries to add some: some seconds
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
    left, work, tries = [sorted(why)] if why else [], WORK_MAX, 0
    while left and (work > 0 or tries < TRIES_MIN):
        group, tries = left.pop(0), tries + 1
        wider = {**asked, **{name: wishes[name] for name in group}}
        more, work = move(cluster, wider, snapshot, policy, intent), work - len(wider)
        if isinstance(more, Plan):
            made, asked = more, wider
            why = {name: reason for name, reason in why.items() if name not in wider}
            continue
        refused = {stuck.container: "; ".join(map(str, stuck.reasons)) for stuck in more.containers}
        why |= {name: refused[name] for name in group if name in refused}
        if len(group) > 1:
            parts = [n for n in group if n not in refused], [n for n in group if n in refused]
            left[:0] = parts if all(parts) else (group[::2], group[1::2])
    why |= {name: f"{why[name]}; it was not tried by itself" for group in left for name in group}
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
