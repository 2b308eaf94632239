"""migrator plan show: a plan drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import json_option, print_json
from migrator.cli.plan import file_type
from migrator.cli.reboot_look import show_reboot
from migrator.cli.shared import not_over
from migrator.cli.what_if import facts_asked, facts_options

if TYPE_CHECKING:
    from migrator.model.facts import Cluster
    from migrator.model.plan import Plan


@click.command("show")
@click.argument("plan_path", type=file_type, metavar="PLAN")
@facts_options
@click.option("--svg", type=file_type, metavar="FILE", help="Draw it into this file instead.")
@click.option("--all", "everything", is_flag=True, help="Show every node and move, also of a large plan.")
@json_option
@click.pass_context
def plan_show(
    ctx: click.Context,
    /,
    plan_path: Path,
    svg: Path | None,
    everything: bool,
    as_json: bool,
    **asked: Any,
) -> int:
    """Draw PLAN: every node before and after it, and its moves as a timeline."""
    from dataclasses import asdict

    from migrator.cli.drawn import print_timeline, print_uses, terminal_columns
    from migrator.cli.plan_svg import draw
    from migrator.cli.plan_text import summary, waived_json
    from migrator.errors import BadInput
    from migrator.inventory import plan_file, reboot_file
    from migrator.planner.look import spans, uses

    not_over(svg, plan_path, asked["snapshot"])
    if reboot_file.holds(plan_path):
        return show_reboot(plan_path, svg, as_json)
    plan = plan_file.load(plan_path)
    cluster = followed(facts_asked(ctx, **asked)[0], plan)
    used, when = uses(cluster, plan), spans(cluster, plan)
    if as_json:
        timeline = {name: asdict(span) for name, span in when.items()}
        document = {"plan": str(plan_path), "nodes": [asdict(use) for use in used], "timeline": timeline}
        print_json(document | {"waived": waived_json(plan.policy)})
        return 0
    if svg is not None:
        try:
            svg.write_text(draw(plan, used, when))
        except OSError as error:
            raise BadInput(f"{svg}: cannot be written: {error.strerror}") from error
        click.echo(f"{svg}: {summary(plan)}")
        return 0
    columns = terminal_columns()
    print_uses(used, everything, columns)
    click.echo()
    print_timeline(plan, when, everything, columns)
    click.echo(summary(plan))
    return 0


def followed(cluster: Cluster, plan: Plan) -> Cluster:
    """The facts, if they have every node and container that the plan speaks of."""
    from migrator.errors import Refused
    from migrator.model.plan import brief

    nodes = {node.name: node for node in cluster.nodes}
    for move in plan.moves:
        source = nodes.get(move.source)
        missing = source is None or move.target not in nodes
        if missing or (move.leg == 1 and source is not None and source.container(move.container) is None):
            raise Refused(
                f"{brief(plan.intent)}: container {move.container} from {move.source} to {move.target} is not in these "
                "facts: they are of another time or cluster; use the plan's own with "
                "--snapshot, with its --without, --add-node and --uncordon, or plan again"
            )
    return cluster
