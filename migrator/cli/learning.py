"""Which journal a plan learns from: the one that is there, for facts as they are now; a named one, for saved facts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.shared import journal_path

if TYPE_CHECKING:
    from migrator.journal.learnt import History
    from migrator.journal.store import Journal
    from migrator.model.facts import Cluster
    from migrator.model.plan_policy import PlanPolicy
    from migrator.model.rates import Rates, Way

RUNS_MAX = 200  # the latest of the journal
PAUSES_MIN = 5

Range = tuple[float, float] | None  # from, to, in seconds


def learnt_for(
    ctx: click.Context, cluster: Cluster, policy: PlanPolicy, learn_from: Path | None = None, live: bool = True
) -> dict[str, dict[str, Rates]]:
    """What the journal shows of pairs of nodes of this cluster, by the way that memory goes between them under this
    policy; nothing for saved facts unless a journal is named.
    """
    if learn_from is None and not live:
        return {}
    from migrator.errors import BadInput
    from migrator.journal.learnt import learn
    from migrator.journal.store import Journal
    from migrator.model.memory_way import trusted_networks

    if learn_from is not None and not learn_from.is_file():
        raise BadInput(f"--learn-from {learn_from}: there is no such journal")
    path = learn_from or journal_path(ctx)
    if not path.is_file():
        return {}
    nodes = {node.name: node for node in cluster.nodes}

    def way(source: str, target: str) -> Way:
        known = source in nodes and target in nodes  # others are in no plan
        return policy.way(nodes[source], nodes[target]) if known else policy.memory_way

    def plain(source: str, target: str) -> bool:
        known = source in nodes and target in nodes
        return known and bool(trusted_networks(nodes[source], nodes[target]))

    journal = Journal(path)
    try:
        return learn(histories(journal, cluster.name), way, plain)
    finally:
        journal.close()


def histories(journal: Journal, cluster: str) -> Iterator[History]:
    """The migrations of a cluster's latest runs, the latest first."""
    for run in journal.runs(RUNS_MAX):
        plan: Any = run.document.get("plan")
        # One that was held back tells how fast it was let be.
        if isinstance(plan, dict) and plan.get("cluster") == cluster and not _held_back(plan):
            for migration in reversed(journal.migrations(run.id)):
                yield migration, journal.events(migration.id)


def _held_back(plan: dict[str, Any]) -> bool:
    return plan.get("policy", {}).get("bandwidth_bytes_per_s") is not None


def pause_range_s(
    journal: Journal, cluster: str, source: str, target: str, blackout_s: float, rates: Rates, plain: bool
) -> Range:
    """The range in which nine of ten pauses of this pair would have been, by its latest migrations; None below five."""
    from migrator.journal.learnt import pauses_seen

    seen = pauses_seen(histories(journal, cluster), source, target, rates, plain)
    if len(seen) < PAUSES_MIN:
        return None
    cut = len(seen) // 20
    return round(blackout_s * seen[cut], 3), round(blackout_s * seen[-1 - cut], 3)
