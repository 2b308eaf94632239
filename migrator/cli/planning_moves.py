"""migrator plan move, plan return: moves by name, and the way back of a run's or a plan's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.intents import facts_asked, planning, policy_asked
from migrator.cli.plan import known_nodes
from migrator.cli.planning import show
from migrator.cli.shared import not_over, open_journal
from migrator.errors import nowhere, quoted

if TYPE_CHECKING:
    from migrator.model.facts import Cluster
    from migrator.model.plan import Plan, Refusal
    from migrator.model.plan_policy import PlanPolicy

    Make = Callable[[Cluster, Mapping[str, str], str, PlanPolicy, str], Plan | Refusal]


@click.command("move")
@click.argument("words", nargs=-1, required=True, metavar="CT[=NODE]...")
@click.option("--to", "node", metavar="NODE", help="Where those go that have no node of their own.")
@planning
@click.pass_context
def plan_move(ctx: click.Context, /, words: tuple[str, ...], node: str | None, **given: Any) -> int:
    """Plan to move containers to the nodes that are named: CT --to NODE, or CT=NODE for each."""
    wishes = _wishes(words, node)
    cluster, notes = facts_asked(ctx, **given)
    _known(cluster, wishes, given["gone"])
    intent = f"move {' '.join(f'{name}={wishes[name]}' for name in sorted(wishes))}"
    return show(_made(cluster, wishes, policy_asked(ctx, cluster, given), intent), notes, **given)


@click.command("return")
@click.argument("what", metavar="RUN|PLAN")
@planning
@click.pass_context
def plan_return(ctx: click.Context, /, what: str, **given: Any) -> int:
    """Plan to bring back what a run, or a plan file, has moved, in an order made anew; what has moved on is left.

    RUN may be the begin of an id, as in migrator show.
    """
    from migrator.planner.moves import way_back
    from migrator.planner.returns import bring_back

    not_over(given["output"], Path(what))
    intent, moves = _moved(ctx, what)
    cluster, notes = facts_asked(ctx, **given)
    wishes, left = way_back(cluster, moves)
    known_nodes(cluster, tuple(wishes.values()), given["gone"])
    policy = policy_asked(ctx, cluster, given)
    return show(_made(cluster, wishes, policy, f"return {intent}", bring_back), (*left, *notes), **given)


def _made(
    cluster: Cluster, wishes: Mapping[str, str], policy: PlanPolicy, intent: str, first: Make | None = None
) -> Plan | Refusal:
    """A plan of these moves, by `first` if it is given; a refusal with what would help."""
    from migrator.inventory.snapshot import digest
    from migrator.planner.moves import move
    from migrator.planner.remedies import helped

    known = digest(cluster)
    return helped(
        (first or move)(cluster, wishes, known, policy, intent),
        cluster,
        policy,
        lambda facts, rules: move(facts, wishes, known, rules, intent),
    )


def _moved(ctx: click.Context, what: str) -> tuple[str, list[tuple[str, str, str]]]:
    """What was meant to be done, and each move as (container, source, target): all of a plan's, or those of a run
    that were decided for their target, or settled by an operator.
    """
    from migrator.errors import BadInput
    from migrator.inventory import plan_file
    from migrator.protocol.states import State

    if Path(what).is_file():
        loaded = plan_file.load(Path(what))
        return loaded.intent, [(m.container, m.source, m.target) for m in loaded.moves]
    if "/" in what or "." in what:
        raise BadInput(f"{what}: no such plan file")
    journal = open_journal(ctx)
    run = journal.run(what)
    went = [m for m in journal.migrations(run.id) if m.decision in (State.COMMITTED, State.SETTLED)]
    return run.kind, [(m.container, m.source, m.target) for m in went]


def _wishes(words: tuple[str, ...], node: str | None) -> dict[str, str]:
    """The node that each container is to go to."""
    from migrator.errors import BadInput

    wishes: dict[str, str] = {}
    for word in words:
        name, equals, target = word.partition("=")
        if name in wishes:
            raise BadInput(f"container {name} is named twice")
        if (equals and not target) or not name or not (equals or node):
            raise BadInput(f"{quoted(word)}: where to? say {name or 'CT'}=NODE or --to NODE")
        wishes[name] = target or node or ""
    if node is not None and all("=" in word for word in words):
        raise BadInput("--to is for containers without a node of their own")
    return wishes


def _known(cluster: Cluster, wishes: dict[str, str], gone: tuple[str, ...]) -> None:
    """Raises BadInput for a node that is not there, and what `nowhere` tells of a container that is not."""
    known_nodes(cluster, tuple(wishes.values()), gone)
    there = {container.name for node in cluster.nodes for container in node.containers}
    for name in wishes:
        if name not in there:
            raise nowhere(name, cluster.name, [facts.error for facts in cluster.nodes if not facts.answered])
