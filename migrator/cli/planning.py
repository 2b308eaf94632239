"""migrator plan ...: one command an intent. Each decides what moves where and writes it down; nothing is moved."""

from __future__ import annotations

import gc
import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.intents import facts_asked, labelled, planning, policy_asked
from migrator.cli.look import plan_show
from migrator.cli.output import print_json
from migrator.cli.plan import known_nodes, make_drain, refused

if TYPE_CHECKING:
    from migrator.model.plan import Plan, Refusal

ELSEWHERE = {
    "reboot": ("migrator.cli.plan_reboot", "plan_reboot"),
    "group": ("migrator.cli.plan_reboot", "plan_group"),
    "rebalance": ("migrator.cli.planning_balance", "plan_rebalance"),
    "consolidate": ("migrator.cli.planning_balance", "plan_consolidate"),
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


# Planning makes a great many objects that stay, and hardly a cycle: to look through all of them for garbage after
# every 700 new ones, as Python does by itself, was a quarter of a large plan's time.
_OBJECTS_BETWEEN_COLLECTIONS = 500_000


@click.group(cls=_Plans)
@click.pass_context
def plan(ctx: click.Context) -> None:
    """Decide what moves where, and write it down. Nothing is moved."""
    ctx.call_on_close(partial(gc.set_threshold, *gc.get_threshold()))
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)


@plan.command("drain")
@click.argument("nodes", nargs=-1, metavar="NODE...")
@click.option("--cordoned", is_flag=True, help="Also every node that is cordoned.")
@planning
@click.pass_context
def plan_drain(ctx: click.Context, /, nodes: tuple[str, ...], cordoned: bool, **given: Any) -> int:
    """Plan to empty the nodes: each container to where it fits best."""
    from migrator.errors import BadInput

    cluster, notes = facts_asked(ctx, **given)
    known_nodes(cluster, nodes, given["gone"])
    marked = [node.name for node in cluster.nodes if node.cordon is not None] if cordoned else []
    if not nodes and not marked:
        raise BadInput("no node is cordoned" if cordoned else "which nodes? name them, or use --cordoned")
    return show(make_drain(cluster, (*nodes, *marked), policy_asked(ctx, cluster, given)), notes, **given)


@plan.command("evacuate")
@click.option("--label", required=True, metavar="KEY=VALUE", help="The nodes with this label: a failure domain.")
@planning
@click.pass_context
def plan_evacuate(ctx: click.Context, /, label: str, **given: Any) -> int:
    """Plan to empty a failure domain: everything on the nodes with a label goes to the others."""
    from dataclasses import replace

    cluster, notes = facts_asked(ctx, **given)
    inside = labelled(cluster, label)
    policy = policy_asked(ctx, cluster, given)
    made = make_drain(cluster, inside, policy, lambda facts: labelled(facts, label))
    return show(replace(made, intent=f"evacuate {label}"), notes, **given)


plan.add_command(plan_show)


def show(
    made: Plan | Refusal, notes: tuple[str, ...], output: Path | None, as_json: bool, unfound: str = "", **_: Any
) -> int:
    """Writes or prints a plan, or says why there is none; the exit code. `unfound` is why an empty one is no answer."""
    from dataclasses import replace

    from migrator.cli.notes_text import print_notes
    from migrator.cli.output import fail
    from migrator.cli.plan_text import print_plan, summary
    from migrator.cli.shared import Interrupted
    from migrator.inventory import plan_document
    from migrator.model.plan import Refusal

    if isinstance(made, Refusal):
        return refused(made, as_json)
    made = replace(made, notes=(*made.notes, *notes))
    if output is not None:
        plan_document.save(made, output)
    if as_json and not unfound:
        print_json(plan_document.to_document(made))
    elif as_json:
        pass  # its document tells the error as well
    elif output is not None:
        click.echo(f"{output}: {summary(made)}")
        print_notes(made.notes, err=True)
    else:
        print_plan(made)
    if unfound:
        document = plan_document.to_document(made) if as_json else None
        return fail(f"{made.intent}: {unfound}", Interrupted.exit_code, as_json, document)
    return 0
