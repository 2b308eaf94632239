"""migrator plan move, plan return: moves by name, and the way back of a plan's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.intents import facts_asked, planning
from migrator.cli.plan import file_type, known_nodes, policy_of
from migrator.cli.planning import show

if TYPE_CHECKING:
    from migrator.model.facts import Cluster


@click.command("move")
@click.argument("words", nargs=-1, required=True, metavar="CT[=NODE]...")
@click.option("--to", "node", metavar="NODE", help="Where those go that have no node of their own.")
@planning
@click.pass_context
def plan_move(ctx: click.Context, /, words: tuple[str, ...], node: str | None, **given: Any) -> int:
    """Plan to move containers to the nodes that are named: CT --to NODE, or CT=NODE for each."""
    from migrator.inventory.snapshot import digest
    from migrator.planner.moves import move

    wishes = _wishes(words, node)
    cluster, notes = facts_asked(ctx, **given)
    _known(cluster, wishes)
    intent = f"move {' '.join(f'{name}={wishes[name]}' for name in sorted(wishes))}"
    made = move(cluster, wishes, digest(cluster), policy_of(given), intent)
    return show(made, notes, **given)


@click.command("return")
@click.argument("plan_path", type=file_type, metavar="PLAN")
@planning
@click.pass_context
def plan_return(ctx: click.Context, /, plan_path: Path, **given: Any) -> int:
    """Plan to bring back what a plan has moved, in an order made anew; what has moved on is left alone."""
    from migrator.inventory import plan_file
    from migrator.inventory.snapshot import digest
    from migrator.planner.moves import move, way_back

    loaded = plan_file.load(plan_path)
    cluster, notes = facts_asked(ctx, **given)
    wishes, left = way_back(cluster, [(m.container, m.source, m.target) for way in loaded.ways().values() for m in way])
    known_nodes(cluster, tuple(wishes.values()))
    made = move(cluster, wishes, digest(cluster), policy_of(given), f"return {loaded.intent}")
    return show(made, (*left, *notes), **given)


def _wishes(words: tuple[str, ...], node: str | None) -> dict[str, str]:
    """The node that each container is to go to."""
    from migrator.errors import BadInput

    wishes: dict[str, str] = {}
    for word in words:
        name, equals, target = word.partition("=")
        if name in wishes:
            raise BadInput(f"container {name} is named twice")
        if (equals and not target) or not name or not (equals or node):
            raise BadInput(f"{word!r}: where to? say {name or 'CT'}=NODE or --to NODE")
        wishes[name] = target or node or ""
    if node is not None and all("=" in word for word in words):
        raise BadInput("--to is for containers without a node of their own")
    return wishes


def _known(cluster: Cluster, wishes: dict[str, str]) -> None:
    """Raises BadInput for a container or a node that is not there."""
    from migrator.errors import BadInput

    known_nodes(cluster, tuple(wishes.values()))
    there = {container.name for node in cluster.nodes for container in node.containers}
    for name in wishes:
        if name not in there:
            raise BadInput(f"there is no container {name!r} in cluster {cluster.name!r}")
