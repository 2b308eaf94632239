"""migrator plan ...: one command an intent. Each decides what moves where and writes it down; nothing is moved."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.cli.look import plan_show
from migrator.cli.output import json_option, print_json
from migrator.cli.plan import facts, file_type, known_nodes, make_drain, policy_of, refused, rules, snapshot_option

if TYPE_CHECKING:
    from migrator.model.facts import Cluster
    from migrator.model.plan import Plan, Refusal

F = TypeVar("F", bound=Callable[..., Any])
ELSEWHERE = {
    "rebalance": ("migrator.cli.planning_balance", "plan_rebalance"),
    "move": ("migrator.cli.planning_moves", "plan_move"),
    "return": ("migrator.cli.planning_moves", "plan_return"),
}


class _Plans(click.Group):
    """The intents that are in files of their own are loaded when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, attribute = ELSEWHERE[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


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
        snapshot_option,
        rules,
    ):
        command = option(command)
    return command


@click.group(cls=_Plans)
def plan() -> None:
    """Decide what moves where, and write it down. Nothing is moved."""


@plan.command("drain")
@click.argument("nodes", nargs=-1, metavar="NODE...")
@click.option("--cordoned", is_flag=True, help="Also every node that is cordoned.")
@planning
@click.pass_context
def plan_drain(ctx: click.Context, /, nodes: tuple[str, ...], cordoned: bool, **given: Any) -> int:
    """Plan to empty the nodes: each container to where it fits best."""
    from migrator.errors import BadInput

    cluster, notes = asked_cluster(ctx, **given)
    known_nodes(cluster, nodes)
    marked = [node.name for node in cluster.nodes if node.cordon is not None] if cordoned else []
    if not nodes and not marked:
        raise BadInput("no node is cordoned" if cordoned else "which nodes? name them, or use --cordoned")
    return show(make_drain(cluster, (*nodes, *marked), policy_of(given)), notes, **given)


@plan.command("evacuate")
@click.option("--label", required=True, metavar="KEY=VALUE", help="The nodes with this label: a failure domain.")
@planning
@click.pass_context
def plan_evacuate(ctx: click.Context, /, label: str, **given: Any) -> int:
    """Plan to empty a failure domain: everything on the nodes with a label goes to the others."""
    from dataclasses import replace

    from migrator.errors import BadInput

    key, equals, value = label.partition("=")
    if not key or not equals:
        raise BadInput(f"--label: {label!r} is not KEY=VALUE, such as rack=r1")
    cluster, notes = asked_cluster(ctx, **given)
    inside = tuple(node.name for node in cluster.nodes if node.labels.get(key) == value)
    if not inside:
        values = sorted({node.labels[key] for node in cluster.nodes if key in node.labels})
        there = f"; {key} is one of {', '.join(values[:10])}" if values else f"; none has a label {key}"
        raise BadInput(f"no node has label {label}{there}")
    made = make_drain(cluster, inside, policy_of(given))
    return show(replace(made, intent=f"evacuate {label}"), notes, **given)


plan.add_command(plan_show)


def asked_cluster(
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
            raise BadInput(f"--add-node: {word!r} is not NAME=LIKE, such as x1={cluster.nodes[0].name}")
        if any(node.name == name for node in cluster.nodes) or name in [n for n, _ in pairs]:
            raise BadInput(f"--add-node: there is a node {name!r} already")
        pairs.append((name, like))
    known_nodes(cluster, (*gone, *(like for _, like in pairs)))
    notes = [f"what if {name} did not exist" for name in gone]
    notes += [f"what if there were a node {name}, empty and like {like}" for name, like in pairs]
    return without(with_nodes(cluster, pairs), gone), tuple(notes)


def show(made: Plan | Refusal, notes: tuple[str, ...], output: Path | None, as_json: bool, **_: Any) -> int:
    """Writes or prints a plan, or says why there is none; the exit code."""
    from dataclasses import replace

    from migrator.cli.plan_text import print_plan, summary
    from migrator.inventory import plan_file
    from migrator.model.plan import Refusal

    if isinstance(made, Refusal):
        return refused(made, as_json)
    made = replace(made, notes=(*made.notes, *notes))
    if output is not None:
        plan_file.save(made, output)
    if as_json:
        print_json(plan_file.to_document(made))
    elif output is not None:
        click.echo(f"{output}: {summary(made)}")
    else:
        print_plan(made)
    return 0
