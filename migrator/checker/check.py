"""The checker: replays a plan against facts, with code of its own, and says all that is wrong with it.

It shares nothing with the planner but the values of the model, so a mistake in one is not repeated in the other.
First each statement of the plan is held against the facts; only if the plan can be followed at all is it replayed.
"""

from __future__ import annotations

from migrator.checker.budgets import budget_findings
from migrator.checker.estimates import estimate_findings
from migrator.checker.findings import Code, Finding
from migrator.checker.intent import intent_findings
from migrator.checker.pairs import pair_findings
from migrator.checker.pauses import pause_findings
from migrator.checker.replay import replay_findings
from migrator.checker.rules import rule_findings
from migrator.checker.rules_end import end_findings
from migrator.checker.spans import span_findings
from migrator.checker.statements import statement_findings, wrong_cluster
from migrator.checker.survival import survival_findings
from migrator.checker.turns import turn_findings
from migrator.checker.windows import window_findings
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy

_UNFOLLOWABLE = frozenset(
    {
        Code.UNKNOWN_NODE,
        Code.UNKNOWN_CONTAINER,
        Code.DUPLICATE_MOVE,
        Code.BROKEN_WAY,
        Code.WAITS_UNKNOWN,
        Code.WAITS_CYCLE,
        Code.MOVED,
    }
)


def check(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> tuple[Finding, ...]:
    """All findings, in the order of the plan's moves; none means that the plan holds."""
    if plan.cluster != cluster.name:  # of another's nodes nothing would be said that is not said by this
        return (wrong_cluster(cluster, plan),)
    found = [*statement_findings(cluster, plan), *intent_findings(cluster, plan, policy)]
    if not any(finding.code in _UNFOLLOWABLE for finding in found):
        found += pair_findings(cluster, plan, policy)
        found += replay_findings(cluster, plan, policy)
        found += rule_findings(cluster, plan, policy)
        found += end_findings(cluster, plan, policy)
        found += span_findings(cluster, plan, policy)
        found += budget_findings(cluster, plan, policy)
        found += window_findings(cluster, plan, policy)
        found += turn_findings(cluster, plan, policy)
        found += pause_findings(cluster, plan, policy)
        found += estimate_findings(cluster, plan, policy)
        found += survival_findings(cluster, plan, policy)
    return tuple(dict.fromkeys(found))
