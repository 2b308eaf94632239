"""Places where the quick construction found none: every pair is asked, every arrangement tried, and reasons given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from migrator.model.facts import Cluster, NodeFacts
from migrator.model.links import Crossings
from migrator.model.plan import Reason, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Ban, Fence, Pin
from migrator.planner.arrays import Targets
from migrator.planner.barriers import Barriers
from migrator.planner.construct import Built, Choice
from migrator.planner.placement import Mover, Site
from migrator.planner.room import Load
from migrator.planner.rulebook import Rulebook
from migrator.planner.search import Barred, Found, Sites, assign, options
from migrator.planner.survive import every, few

PAIRS_MAX = 20_000
Choices = dict[str, Choice]


def place_closely(
    movers: Sequence[Mover],
    built: Built,
    targets: Sequence[NodeFacts],
    policy: PlanPolicy,
    cluster: Cluster,
) -> tuple[Choices, list[Stuck], tuple[Reason, ...]]:
    """Where each container goes; those that find no place, with what each node lacked; and doubts about that.

    `built` is what the quick construction came to: in a large fleet, or under rules where there are more than a few
    placements, that is the answer, and is only explained.
    """
    sites = {node.name: Site.of(node, policy) for node in targets if node.answered and node.cordon is None}
    open_nodes = [site.node for site in sites.values()]
    book = Rulebook(open_nodes, cluster.nodes, policy)
    crossings = Crossings(cluster.links)
    proved = bool(book.hard) and few(movers, open_nodes)
    if proved and (one := next(every(movers, Targets(open_nodes, policy, cluster)), None)) is not None:
        return one.choices, [], ()
    if book.hard or len(movers) * len(targets) > PAIRS_MAX:
        index = {name: number for number, name in enumerate(sites)}
        book.leave(movers)
        filled = dict(sites)
        for mover in movers:
            if mover.name in built.choices:
                name = built.choices[mover.name].target
                filled[name] = filled[name].place(mover)
                book.place(mover, index[name])
        closed = _barred(built.stuck, targets, policy, crossings)
        proved = proved or _homeless(built.stuck, sites, closed, Rulebook(open_nodes, cluster.nodes, _fixed(policy)))
        for mover in built.stuck if book.hard else ():
            for name in sites:
                if why := book.why_not(mover, index[name]):
                    closed[mover.name, name] = (*closed.get((mover.name, name), ()), why)
        barriers = _by_container(closed)
        stuck = [_stuck(mover, filled, sites, barriers.get(mover.name, {})) for mover in built.stuck]
        return built.choices, stuck, _doubts(Found({}, filled, built.stuck, proved), movers)
    closed = _barred(movers, targets, policy, crossings)
    found = assign(movers, sites, closed)
    barriers = _by_container(closed)
    stuck = [_stuck(mover, found.sites, sites, barriers.get(mover.name, {})) for mover in found.stuck]
    return ({} if stuck else _choices(movers, found, sites, closed)), stuck, _doubts(found, movers)


def _barred(
    movers: Sequence[Mover], targets: Sequence[NodeFacts], policy: PlanPolicy, crossings: Crossings
) -> dict[tuple[str, str], tuple[str, ...]]:
    """For each container and target: why it can never go there. No entry means that it can."""
    barriers, found = Barriers(policy, crossings), {}
    for mover in movers:
        for target in targets:
            if reasons := barriers.against(mover, target):
                found[mover.name, target.name] = reasons
    return found


def _by_container(closed: Barred) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each container the nodes that are closed to it, with why."""
    found: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for (name, node), texts in closed.items():
        found[name][node] = texts
    return found


def _stuck(mover: Mover, filled: Sites, alone: Sites, closed: Mapping[str, tuple[str, ...]]) -> Stuck:
    """What each node lacked for this container: by itself, or with those coming that have found a place there.

    `closed` are the nodes that can never take it, with why.
    """
    reasons = [Reason(text, node) for node, texts in closed.items() for text in texts]
    for name, site in filled.items():
        if name in closed:
            continue
        lacking = alone[name].lacks(mover) or site.lacks(mover)
        if lacking:
            short = site.short(mover)
            reasons.append(Reason(lacking, name, None if short == Load() else (short.limits, short.measured)))
    if not reasons:
        reasons = [Reason("there is no other node")]
    return Stuck(mover.name, mover.source.name, tuple(sorted(reasons, key=lambda reason: reason.node)))


def _fixed(policy: PlanPolicy) -> PlanPolicy:
    """The policy with those hard rules alone that say the same wherever other containers are."""
    return replace(policy, rules=tuple(r for r in policy.rules if isinstance(r, Ban | Fence | Pin) and not r.soft))


def _homeless(stuck: Sequence[Mover], sites: Sites, closed: Barred, fixed: Rulebook) -> bool:
    """Whether one of these can go to no node, even if nothing else comes to any: then no arrangement has a place."""
    return any(
        all(
            (mover.name, name) in closed or not allowed or site.lacks(mover)
            for (name, site), allowed in zip(sites.items(), fixed.allows(mover), strict=True)
        )
        for mover in stuck
    )


def _doubts(found: Found, movers: Sequence[Mover]) -> tuple[Reason, ...]:
    if not found.stuck or found.proved:
        return ()
    several = len({mover.source.name for mover in movers}) > 1
    fewer = "; drain fewer nodes at once to see whether that fits" if several else ""
    return (Reason(f"not every arrangement was tried{fewer}"),)


def _choices(movers: Sequence[Mover], found: Found, sites: Sites, closed: Barred) -> Choices:
    """Why each container goes where it goes: the placement once more, looking at what else there was."""
    by_name = {mover.name: mover for mover in movers}
    choices, sites = {}, dict(sites)
    for name, target in found.targets.items():
        fitting = sorted(options(by_name[name], sites, closed))
        choices[name] = _choice(target, fitting)
        sites[target] = sites[target].place(by_name[name])
    return choices


def _choice(target: str, fitting: Sequence[tuple[float, str]]) -> Choice:
    best_share, best = fitting[0]
    return Choice(
        target=target,
        share=next(share for share, name in fitting if name == target),
        fitting=len(fitting),
        best=best,
        best_share=best_share,
        next_best=next((name for _, name in fitting if name != target), None),
    )
