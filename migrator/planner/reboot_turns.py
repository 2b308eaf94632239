"""Groups of a reboot one after the other: each drained and brought back, from where the one before it ended.

Theory. What a drain has moved cannot always come back: two that must not be together and were, a node that was fuller
than a plan may fill one. So the next group is planned from the placement that the return before really leads to, and
what has stayed on its nodes leaves them with the rest. A group that has no plan there waits for the others, for they
may make room; if that does not help it is parted, for half of it needs less. Then all is tried again with those first
that had no plan: where nothing was moved before, they had one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from migrator.model import what_if
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Reason, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.reboot import RefusedNode
from migrator.planner.assemble import assemble
from migrator.planner.drain import drain
from migrator.planner.moves import home, move, way_back

ROUNDS_MAX = 8
FIRSTS_MAX = 3  # times that of those refused for one node the first is asked for again
SAID_MAX = 10
WORK_MAX = 2_000  # moves in all orders of the groups, above which no other is tried

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turns:
    """The groups in the order in which they are done: the drain of each, its return, and where all is at the end.

    `late` are those that had no plan where they stood, and were parted or refused.
    """

    drains: tuple[Plan, ...]
    returns: tuple[Plan, ...]
    refused: tuple[RefusedNode, ...]
    end: Cluster
    late: tuple[Names, ...] = ()


def in_turn(cluster: Cluster, groups: Sequence[Names], snapshot: str, policy: PlanPolicy) -> Turns:
    """Plans for all groups that have one from where those before them end; nodes without one are refused."""
    best = made = _in_order(cluster, groups, snapshot, policy)
    order, tried, moved = list(groups), {tuple(groups)}, 0
    while made.late and moved < WORK_MAX:
        late = {name for names in made.late for name in names}
        order.sort(key=late.isdisjoint)
        if tuple(order) in tried:
            break
        tried.add(tuple(order))
        made = _in_order(cluster, order, snapshot, policy)
        moved += sum(len(plan.moves) for plan in made.drains)
        best = min(best, made, key=lambda turns: (len(turns.refused), len(turns.drains)))
    return best


def _in_order(cluster: Cluster, groups: Sequence[Names], snapshot: str, policy: PlanPolicy) -> Turns:
    """The same, for the groups in this order as far as it goes."""
    late = list[Names]()
    now, left, waiting = cluster, deque(groups), 0
    drains, returns, refused = list[Plan](), list[Plan](), list[RefusedNode]()
    while left:
        group = left.popleft()
        made = drain(now, group, snapshot, policy)
        if isinstance(made, Plan):
            back = bring_back(what_if.rebooted(now, made), made, snapshot, policy)
            now, waiting = what_if.returned(now, made, back), 0
            drains.append(made)
            returns.append(back)
        elif waiting < len(left):
            left.append(group)
            waiting += 1
        elif len(group) > 1:
            late.append(group)
            half = len(group) // 2
            left.extendleft((group[half:], group[:half]))
            waiting = 0
        else:
            late.append(group)
            refused.append(RefusedNode(group[0], made))
    return Turns(tuple(drains), tuple(returns), tuple(refused), now, tuple(late))


def bring_back(cluster: Cluster, drained: Plan, snapshot: str, policy: PlanPolicy) -> Plan:
    """A plan that brings back what was drained, as far as it goes, with a note on each that stays; it may be empty.

    `cluster` is as it is after the drain, its nodes open again.
    """
    wishes, _ = way_back(cluster, [(m.container, m.source, m.target) for m in drained.moves])
    intent = f"return {drained.intent}"
    made, why = _without_refused(cluster, wishes, snapshot, policy, intent)
    for _ in range(FIRSTS_MAX):
        firsts = _first_of_each(why, wishes)
        if not firsts or isinstance(made, Refusal):
            break
        asked = {name: goal for name, goal in wishes.items() if name not in why or name in firsts}
        more, again = _without_refused(cluster, asked, snapshot, policy, intent)
        if isinstance(more, Refusal) or len(more.moves) <= len(made.moves):
            break
        made, why = more, {name: text for name, text in why.items() if name not in firsts} | again
    if isinstance(made, Refusal):
        why = dict.fromkeys(wishes, _text(made.reasons) or "no order of the moves was found")
        made = assemble(cluster, (), {}, policy, intent=intent, snapshot=snapshot)
    return replace(made, notes=(*_stays(cluster, why), *made.notes))


def away(before: Cluster, end: Cluster) -> list[tuple[str, str]]:
    """Containers that are on another node in the end than before, each with that node."""
    at = {c.name: node.name for node in before.nodes for c in node.containers}
    return sorted((c.name, n.name) for n in end.nodes for c in n.containers if at[c.name] != n.name)


def _without_refused(
    cluster: Cluster, wishes: Mapping[str, str], snapshot: str, policy: PlanPolicy, intent: str
) -> tuple[Plan | Refusal, dict[str, str]]:
    """A plan of those that are not refused once the others stay; and why each of these is."""
    asked, why = dict(wishes), dict[str, str]()
    made = move(cluster, asked, snapshot, policy, intent)
    for _ in range(ROUNDS_MAX):
        if isinstance(made, Plan) or not made.containers:
            break
        why |= {stuck.container: _text(stuck.reasons) for stuck in made.containers}
        asked = {name: goal for name, goal in asked.items() if name not in why}
        made = move(cluster, asked, snapshot, policy, intent)
    return made, why


def _first_of_each(why: Collection[str], wishes: Mapping[str, str]) -> set[str]:
    """Of those that were refused for one node the first: two that must not meet are both refused, and one can go."""
    firsts: dict[str, str] = {}
    for name in sorted(why):
        firsts.setdefault(wishes[name], name)
    return set(firsts.values())


def _stays(cluster: Cluster, why: Mapping[str, str]) -> Iterator[str]:
    names = sorted(why)
    for name in names[:SAID_MAX]:
        yield f"container {name} stays on {home(cluster, name).name}: {why[name]}"
    if len(names) > SAID_MAX:
        yield f"and {len(names) - SAID_MAX} more stay where they are: {', '.join(names[SAID_MAX:])}"


def _text(reasons: Sequence[Reason]) -> str:
    return "; ".join(map(str, reasons[:2]))
