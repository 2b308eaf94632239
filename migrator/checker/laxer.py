"""Is a plan made under laxer rules than those that the cluster has by now? It is checked under its own all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from migrator.checker.check import check
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import Headroom, PlanPolicy, Standing
from migrator.model.rules import Rule, rule_in_words
from migrator.model.units import format_bytes, format_seconds

WORDS_MAX = 5  # rules that are named


def laxer_note(cluster: Cluster, plan: Plan) -> str:
    """What the cluster's policy forbids and the plan's does not, and whether the plan would hold under it; else empty.

    Rules that were waived were left out on purpose, and said. What the plan forbids beyond the cluster's is no harm.
    """
    words = [*_rules(cluster.policy, plan.policy), *_bounds(cluster.policy, plan.policy)]
    if not words:
        return ""
    more = f" and {len(words) - WORDS_MAX} more" if len(words) > WORDS_MAX else ""
    stricter = _under(cluster.policy, plan.policy)
    findings = check(cluster, replace(plan, policy=stricter), stricter)
    against = next((finding.text for finding in findings if not finding.code.drifts), "")
    then = f"under the cluster's it would not hold ({against})" if against else "under the cluster's it would hold too"
    return (
        f"the cluster's rules differ from the plan's: {'; '.join(words[:WORDS_MAX])}{more}; only the plan's own are "
        f"checked, {then}: plan again, unless it was meant so"
    )


def _missing(standing: Standing, policy: PlanPolicy) -> list[Rule]:
    waived = {waived.words for waived in policy.waived}
    return [rule for rule in standing.rules if rule not in policy.rules and rule_in_words(rule) not in waived]


def _rules(standing: Standing, policy: PlanPolicy) -> Iterator[str]:
    for rule in _missing(standing, policy):
        yield f"{rule_in_words(rule)} is not in the plan"
    waived = {waived.words for waived in policy.waived}
    for key in standing.anti_affinity or ():
        if key not in policy.anti_affinity and f"keeping apart by {key}" not in waived:
            yield f"keeping apart by {key} is not in the plan"


def _bounds(standing: Standing, policy: PlanPolicy) -> Iterator[str]:
    percents = zip(("CPU", "memory", "disk"), _headrooms(standing), policy.headrooms, strict=True)
    apart = [(what, now, then) for what, now, then in percents if now is not None and now > then]
    if len({each[1:] for each in apart}) == 1 and len(apart) == 3:
        yield f"headroom {apart[0][1]}%, {apart[0][2]}% in the plan"
    else:
        yield from (f"headroom of {what} {now}%, {then}% in the plan" for what, now, then in apart)
    longest_s, most = standing.blackout_s_max, standing.moves_per_node_max
    if longest_s is not None and longest_s < policy.blackout_s_max:
        yield f"longest pause {format_seconds(longest_s)}, {format_seconds(policy.blackout_s_max)} in the plan"
    if most is not None and most < policy.moves_per_node_max:
        yield f"moves of one node at a time {most}, {policy.moves_per_node_max} in the plan"
    if standing.overlapping_pauses is False and policy.overlapping_pauses:
        yield "pauses over one link may not overlap, and may in the plan"
    if standing.leave_stopped is False and policy.leave_stopped:
        yield "stopped containers may not be left, and may in the plan"
    rate, own = standing.bandwidth_bytes_per_s, policy.bandwidth_bytes_per_s
    if rate is not None and (own is None or rate < own):
        yield f"bandwidth {format_bytes(rate)}/s, {'no bound' if own is None else f'{format_bytes(own)}/s'} in the plan"
    if standing.mode is not None and standing.mode != policy.mode:
        yield f"mode {standing.mode}, {policy.mode} in the plan"


def _headrooms(standing: Standing) -> tuple[int | None, int | None, int | None]:
    """Percent of CPU, memory and disk that the cluster asks for; None where it says nothing."""
    own, for_all = standing.headroom or Headroom(), standing.headroom_percent
    cpu, memory, disk = (for_all if said is None else said for said in (own.cpu, own.memory, own.disk))
    return cpu, memory, disk


def _under(standing: Standing, policy: PlanPolicy) -> PlanPolicy:
    """The plan's policy, made as strict as the cluster's on who may be where and how full a node may be."""
    pairs = zip(_headrooms(standing), policy.headrooms, strict=True)
    keys = (*policy.anti_affinity, *(standing.anti_affinity or ()))
    return replace(
        policy,
        rules=(*policy.rules, *_missing(standing, policy)),
        anti_affinity=tuple(dict.fromkeys(keys)),
        headroom=Headroom(*(max(now or 0, then) for now, then in pairs)),
    )
