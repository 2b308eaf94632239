"""Which journal a plan learns from: the one that is there, for facts as they are now; a named one, for saved facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.shared import journal_path

if TYPE_CHECKING:
    from migrator.journal.learnt import History
    from migrator.journal.store import Journal
    from migrator.model.facts import Cluster
    from migrator.model.modes import Mode
    from migrator.model.plan_policy import PlanPolicy
    from migrator.model.rates import Rates, Way

RUNS_MAX = 200  # the latest of the journal

Range = tuple[float, float]  # from, to, in seconds


def taught(
    ctx: click.Context, cluster: Cluster, policy: PlanPolicy, learn_from: Path | None = None, live: bool = True
) -> PlanPolicy:
    """The policy with what the journal shows: of pairs of nodes of this cluster, by the way that memory goes between
    them, and of containers, how fast they write their memory. For saved facts nothing, unless a journal is named.
    """
    if learn_from is None and not live:
        return policy
    from migrator.errors import BadInput
    from migrator.journal.learnt import learn, writing
    from migrator.journal.store import Journal
    from migrator.model.memory_way import trusted_networks

    if learn_from is not None and not learn_from.is_file():
        raise BadInput(f"--learn-from {learn_from}: there is no such journal")
    path = learn_from or journal_path(ctx)
    if not path.is_file():
        return policy
    nodes = {node.name: node for node in cluster.nodes}

    def way(source: str, target: str) -> Way:
        known = source in nodes and target in nodes  # others are in no plan
        return policy.way(nodes[source], nodes[target]) if known else policy.memory_way

    def plain(source: str, target: str) -> bool:
        known = source in nodes and target in nodes
        return known and bool(trusted_networks(nodes[source], nodes[target]))

    journal = Journal(path)
    try:
        seen = list(histories(journal, cluster.name))
    finally:
        journal.close()
    return replace(policy, learnt=learn(seen, way, plain), written_bytes_per_s=writing(seen))


def histories(journal: Journal, cluster: str) -> Iterator[History]:
    """The migrations of a cluster's latest runs, the latest first."""
    for run in journal.runs(RUNS_MAX):
        plan: Any = run.document.get("plan")
        # One that was held back tells how fast it was let be; one that compared its files, how many it has.
        of_us = isinstance(plan, dict) and plan.get("cluster") == cluster
        if of_us and not _held_back(plan) and not _compared_files(run.document.get("policy")):
            for migration in reversed(journal.migrations(run.id)):
                yield migration, journal.events(migration.id)


def _held_back(plan: dict[str, Any]) -> bool:
    return plan.get("policy", {}).get("bandwidth_bytes_per_s") is not None


def _compared_files(policy: Any) -> bool:
    """Whether each pause of a run was made longer by reading all files on both sides."""
    return isinstance(policy, dict) and bool(policy.get("verify_files"))


def pause_range_s(
    journal: Journal, cluster: str, source: str, target: str, blackout_s: float, rates: Rates, mode: Mode, plain: bool
) -> tuple[Range, int]:
    """The range in which nine of ten such pauses are expected, and how many of this pair it rests on."""
    from migrator.journal.learnt import pauses_seen, spread

    seen = pauses_seen(histories(journal, cluster), source, target, rates, mode, plain)
    low, high = spread(seen)
    return (round(blackout_s * low, 3), round(blackout_s * high, 3)), len(seen)
