"""What the commands of every intent share: their options, the facts they are asked of, and nodes by label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.cli.output import json_option
from migrator.cli.plan import facts, file_type, known_nodes, policy_of, rules, snapshot_option
from migrator.errors import quoted

if TYPE_CHECKING:
    from migrator.model.facts import Cluster
    from migrator.model.plan_policy import PlanPolicy

F = TypeVar("F", bound=Callable[..., Any])


def planning(command: F) -> F:
    """Adds what every intent has: rules, facts, what-if, and where the plan goes."""
    for option in (
        json_option,
        click.option("-o", "--output", type=file_type, metavar="FILE", help="Write the plan here."),
        click.option(
            "--add-node",
            "more",
            multiple=True,
            metavar="NAME=LIKE",
            help="What if there were one node more, empty, and like node LIKE; may be repeated.",
        ),
        click.option(
            "--without", "gone", multiple=True, metavar="NODE", help="What if this node did not exist; may be repeated."
        ),
        click.option(
            "--learn-from",
            type=file_type,
            metavar="JOURNAL",
            help="Estimate by what the runs of this journal took (default: the one there is; none with --snapshot).",
        ),
        snapshot_option,
        rules,
    ):
        command = option(command)
    return command


def facts_asked(
    ctx: click.Context, snapshot: Path | None, gone: tuple[str, ...], more: tuple[str, ...], **_: Any
) -> tuple[Cluster, tuple[str, ...]]:
    """The facts, changed by what is asked "what if", and how they were changed."""
    from migrator.errors import BadInput
    from migrator.model.what_if import with_nodes, without

    cluster = facts(ctx, snapshot)
    pairs: list[tuple[str, str]] = []
    for word in more:
        name, equals, like = word.partition("=")
        if not name or not equals:
            raise BadInput(f"--add-node: {quoted(word)} is not NAME=LIKE, such as x1={cluster.nodes[0].name}")
        if any(node.name == name for node in cluster.nodes) or name in [n for n, _ in pairs]:
            raise BadInput(f"--add-node: there is a node {quoted(name)} already")
        pairs.append((name, like))
    known_nodes(cluster, (*gone, *(like for _, like in pairs)))
    notes = [f"what if {name} did not exist" for name in gone]
    notes += [f"what if there were a node {name}, empty and like {like}" for name, like in pairs]
    return without(with_nodes(cluster, pairs), gone), tuple(notes)


def policy_asked(ctx: click.Context, cluster: Cluster, given: dict[str, Any]) -> PlanPolicy:
    """The rules among a command's options, with what was learnt of this cluster's nodes."""
    from dataclasses import replace

    from migrator.cli.learning import learnt_for

    learnt = learnt_for(ctx, cluster.name, given["learn_from"], live=given["snapshot"] is None)
    return replace(policy_of(given, cluster), learnt=learnt)


def labelled(cluster: Cluster, label: str) -> tuple[str, ...]:
    """The nodes with a label KEY=VALUE; BadInput for what is no label, and for one that no node has."""
    from migrator.errors import BadInput

    key, equals, value = label.partition("=")
    if not key or not equals:
        raise BadInput(f"--label: {quoted(label)} is not KEY=VALUE, such as rack=r1")
    inside = tuple(node.name for node in cluster.nodes if node.labels.get(key) == value)
    if not inside:
        values = sorted({node.labels[key] for node in cluster.nodes if key in node.labels})
        there = f"; {key} is one of {', '.join(values[:10])}" if values else f"; none has a label {key}"
        raise BadInput(f"no node has label {label}{there}")
    return inside
