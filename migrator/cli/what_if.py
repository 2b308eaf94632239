"""Facts as options: a snapshot in place of the nodes, and "what if" of nodes that are gone or come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.cli.plan import snapshot_option
from migrator.errors import BadInput, quoted

if TYPE_CHECKING:
    from migrator.model.facts import Cluster

F = TypeVar("F", bound=Callable[..., Any])


def facts_options(command: F) -> F:
    """Adds what says of which facts is asked."""
    for option in (
        click.option(
            "--add-node",
            "more",
            multiple=True,
            metavar="NAME=LIKE",
            help="What if there were one node more, empty, and like node LIKE; may be repeated.",
        ),
        click.option(
            "--uncordon",
            "freed",
            multiple=True,
            metavar="NODE",
            help="What if this node were not cordoned; may be repeated.",
        ),
        click.option(
            "--without", "gone", multiple=True, metavar="NODE", help="What if this node did not exist; may be repeated."
        ),
        snapshot_option,
    ):
        command = option(command)
    return command


def facts_asked(
    ctx: click.Context,
    snapshot: Path | None,
    gone: tuple[str, ...],
    more: tuple[str, ...],
    freed: tuple[str, ...],
    **_: Any,
) -> tuple[Cluster, tuple[str, ...]]:
    """The facts, changed by what is asked "what if", and how they were changed."""
    from migrator.cli.plan import facts

    return what_if(facts(ctx, snapshot), gone, more, freed)


def what_if(
    cluster: Cluster, gone: tuple[str, ...], more: tuple[str, ...], freed: tuple[str, ...] = ()
) -> tuple[Cluster, tuple[str, ...]]:
    """The cluster without some nodes, with others and with fewer marks, and how it was changed; BadInput for what
    cannot be so.
    """
    from migrator.cli.plan import known_nodes
    from migrator.model.what_if import uncordoned, with_nodes, without

    pairs = _pairs(cluster, more)
    known_nodes(cluster, (*gone, *freed, *(like for _, like in pairs)))
    for _, like in pairs:
        if not cluster.node(like).answered:
            raise BadInput(f"--add-node: {like} does not answer, so nobody knows what a node like it has")
    changed = without(with_nodes(uncordoned(cluster, freed), pairs), gone)
    if not changed.nodes:
        raise BadInput("--without: no node is left")
    notes = [f"what if {name} did not exist" for name in gone]
    notes += [f"what if {name} were not cordoned" for name in freed if cluster.node(name).cordon is not None]
    notes += [f"what if there were a node {name}, empty and like {like}" for name, like in pairs]
    return changed, tuple(notes)


def _pairs(cluster: Cluster, more: tuple[str, ...]) -> list[tuple[str, str]]:
    """The names of the nodes that come, each with the node that it is like."""
    from migrator.inventory.imported import is_node_name

    pairs: list[tuple[str, str]] = []
    for word in more:
        name, equals, like = word.partition("=")
        if not name or not equals:
            raise BadInput(f"--add-node: {quoted(word)} is not NAME=LIKE, such as x1={cluster.nodes[0].name}")
        if not is_node_name(name):
            raise BadInput(
                f"--add-node: {quoted(name)} cannot be the name of a node: letters, digits, '.', '_' and '-'"
            )
        if any(node.name == name for node in cluster.nodes) or name in [n for n, _ in pairs]:
            raise BadInput(f"--add-node: there is a node {quoted(name)} already")
        pairs.append((name, like))
    return pairs
