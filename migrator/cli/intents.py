"""What the commands of every intent share: their options, the facts they are asked of, and nodes by label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.cli import what_if
from migrator.cli.output import json_option
from migrator.cli.plan import file_type, policy_of, rules
from migrator.cli.shared import not_over
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
            "--learn-from",
            type=file_type,
            metavar="JOURNAL",
            help="Estimate by what the runs of this journal took (default: the one there is; none with --snapshot).",
        ),
        what_if.facts_options,
        rules,
    ):
        command = option(command)
    return command


def facts_asked(
    ctx: click.Context,
    snapshot: Path | None,
    output: Path | None = None,
    policy_path: Path | None = None,
    learn_from: Path | None = None,
    **given: Any,
) -> tuple[Cluster, tuple[str, ...]]:
    """The facts, changed by what is asked "what if", and how they were changed; `output` is none of what is read."""
    not_over(output, snapshot, policy_path, learn_from)
    return what_if.facts_asked(ctx, snapshot, **given)


def policy_asked(ctx: click.Context, cluster: Cluster, given: dict[str, Any]) -> PlanPolicy:
    """The rules among a command's options, with what was learnt of this cluster's nodes."""
    from migrator.cli.learning import taught

    return taught(ctx, cluster, policy_of(given, cluster), given["learn_from"], live=given["snapshot"] is None)


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
