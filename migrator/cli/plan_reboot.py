"""migrator plan reboot, plan group: nodes that can be down together, proved by the checker before they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.hints import pasteable
from migrator.cli.intents import facts_asked, labelled, planning, policy_asked
from migrator.cli.output import clean, fail, json_option, print_json, print_table
from migrator.cli.plan import file_type
from migrator.cli.shared import not_over

if TYPE_CHECKING:
    from migrator.checker.findings import Finding
    from migrator.model.facts import Cluster
    from migrator.model.plan import Plan, Reason, Refusal
    from migrator.model.reboot import Reboot

NODES_SHOWN = 8
NOTES_SHOWN = 8


@click.command("reboot")
@click.option("--all", "every", is_flag=True, help="Every node of the cluster.")
@click.option("--label", metavar="KEY=VALUE", help="The nodes with this label.")
@planning
@click.pass_context
def plan_reboot(ctx: click.Context, /, every: bool, label: str | None, **given: Any) -> int:
    """Plan to reboot nodes in the fewest groups: each is drained, rebooted, and what was moved goes back."""
    from dataclasses import replace

    from migrator.errors import BadInput
    from migrator.inventory.snapshot import digest
    from migrator.planner.reboot import reboot

    if every == bool(label):
        raise BadInput("which nodes? say --all, or --label KEY=VALUE")
    cluster, notes = facts_asked(ctx, **given)
    names = labelled(cluster, label) if label else tuple(node.name for node in cluster.nodes)
    made = reboot(cluster, names, digest(cluster), policy_asked(ctx, cluster, given), label or "--all")
    noted, back = (tuple(replace(p, notes=(*p.notes, *notes)) for p in plans) for plans in (made.groups, made.returns))
    made = replace(made, groups=noted, returns=back, notes=(*made.notes, *notes))
    return _show(_folded(made), cluster, **given)


@click.command("group")
@click.argument("reboot_path", type=file_type, metavar="REBOOT")
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@click.option("--return", "back", is_flag=True, help="The plan that brings back what the group's drain has moved.")
@click.option("-o", "--output", type=file_type, metavar="FILE", help="Write the plan here.")
@json_option
def plan_group(reboot_path: Path, number: int, back: bool, output: Path | None, as_json: bool) -> int:
    """Take the plan of group N out of REBOOT, a file of plan reboot: to check and to apply."""
    from migrator.cli.planning import show
    from migrator.errors import BadInput
    from migrator.inventory import reboot_file

    not_over(output, reboot_path)
    loaded = reboot_file.load(reboot_path)
    groups = loaded.returns if back else loaded.groups
    if number > len(groups):
        raise BadInput(f"{reboot_path}: there is no group {number}: it has {len(groups)}")
    return show(groups[number - 1], (), output, as_json)


def _show(made: Reboot, cluster: Cluster, output: Path | None, as_json: bool, **_: Any) -> int:
    """Proves the groups, then writes or prints them, with what was refused; the exit code."""
    from migrator.cli.plan_text import findings_json, print_findings
    from migrator.inventory import reboot_file

    findings = unproved(cluster, made)
    if findings:
        if not as_json:
            print_findings(findings)
        message = f"{made.intent}: the checker does not pass it: {findings[0].text}"
        return fail(message, 3, as_json, {"findings": findings_json(findings)})
    if output is not None and made.groups:
        reboot_file.save(made, output)
    document = reboot_file.to_document(made) if as_json else {}
    if not as_json:
        if output is None:
            print_groups(made)
        _print_refused(made)
        if made.groups:
            click.echo(clean(f"{output}: {summary(made)}" if output is not None else summary(made)))
        if output is not None:
            _print_notes(made, err=True)
    if made.refused:
        return fail(_refused_line(made), 3, as_json, document)
    if as_json:
        print_json(document)
    return 0


def unproved(cluster: Cluster, made: Reboot) -> list[Finding]:
    """What the checker finds wrong with the groups' drains and returns, one after the other."""
    from migrator.checker.reboot import check_reboot

    return list(check_reboot(cluster, made))


def summary(made: Reboot, proved: bool = True) -> str:
    """One line: how many groups, of how many nodes, how far from the fewest, how much moves, and how long."""
    from migrator.cli.plan_text import waived_said
    from migrator.model.units import counted, format_bytes, format_seconds

    waived = waived_said(made.policy)
    count = len(made.groups)
    nodes = sum(len(plan.empties) for plan in made.groups)
    out, back = (sum(m.estimate.bytes for p in plans for m in p.moves) for plans in (made.groups, made.returns))
    lasts_s = sum(plan.makespan_s for plan in (*made.groups, *made.returns))
    least = (
        "fewer cannot do"
        if count == made.groups_min
        else f"at least {made.groups_min} {'is' if made.groups_min == 1 else 'are'} needed"
    )
    return (
        f"{made.intent}: {counted(count, 'group')} of {counted(nodes, 'node')}, {least}; "
        f"{format_bytes(out)} to move out and {format_bytes(back)} to bring back, about {format_seconds(lasts_s)} "
        "for all drains and returns one after the other, the reboots themselves not counted"
        f"{'; the checker passes every group and its return' * proved}{waived and '; ' + waived}"
    )


def print_groups(made: Reboot) -> None:
    """A line for each group: its nodes, its drain, its return, and how many containers do not come back; then notes."""
    from migrator.inventory.reboot_file import group_totals

    if not made.groups:
        return
    rows = []
    for number, (plan, back) in enumerate(zip(made.groups, made.returns, strict=True), 1):
        away = len(group_totals(plan, back)["away"])
        rows.append((str(number), folded_names(plan.empties), _told(plan), _told(back), str(away)))
    print_table(("GROUP", "NODES", "DRAIN", "RETURN", "AWAY"), rows)
    _print_notes(made)


def _told(plan: Plan) -> str:
    from migrator.model.units import counted, format_bytes, format_seconds

    total = format_bytes(sum(move.estimate.bytes for move in plan.moves))
    return (
        f"{counted(len(plan.moves), 'move')}, {total}, {format_seconds(plan.makespan_s)}" if plan.moves else "no move"
    )


def _print_notes(made: Reboot, err: bool = False) -> None:
    """The notes on all groups and of their plans, once each; how memory goes is told of all moves together."""
    from migrator.cli.notes_text import folded, print_notes
    from migrator.model.units import counted
    from migrator.planner.way_notes import MEMORY_WAY

    of_groups = (note for plan in made.groups for note in plan.notes if not note.startswith(MEMORY_WAY))
    stays = (note for plan in made.returns for note in plan.notes if " stays on " in note or " more stay where" in note)
    notes = folded(dict.fromkeys((*made.notes, *of_groups, *stays)))
    print_notes(notes[:NOTES_SHOWN], err)
    if len(notes) > NOTES_SHOWN:
        click.echo(f"note: and {counted(len(notes) - NOTES_SHOWN, 'more note')}; --json has them all", err=err)


def folded_names(names: Sequence[str]) -> str:
    """The names, or of many the first and the last."""
    if len(names) <= NODES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: NODES_SHOWN - 2])} ... {names[-1]} ({len(names)} nodes)"


def _folded(made: Reboot) -> Reboot:
    """The same with each refused container told once for a class of nodes: of a thousand nodes few reasons are left."""
    from dataclasses import replace

    from migrator.cli.refusal_text import classes

    def fold(refusal: Refusal) -> Refusal:
        told = tuple(replace(stuck, reasons=tuple(classes(stuck.reasons))) for stuck in refusal.containers)
        return replace(refusal, containers=told)

    return replace(made, refused=tuple(replace(one, refusal=fold(one.refusal)) for one in made.refused))


def _print_refused(made: Reboot) -> None:
    """A line for each reason against nodes that are in no group: those of one reason together."""
    from migrator.cli.refusal_text import print_stuck, same_reasons

    by_reason: dict[tuple[Reason, ...], list[str]] = {}
    for one in made.refused:
        if one.refusal.reasons:
            by_reason.setdefault(one.refusal.reasons, []).append(one.node)
    told = [(folded_names(names), "-", reasons) for reasons, names in by_reason.items()]
    stuck = [stuck for one in made.refused for stuck in one.refusal.containers]
    told += [(one.nodes, one.names, one.reasons) for one in same_reasons(stuck)]
    print_stuck(("REFUSED", "CONTAINER", "NODE", "WHY NOT"), told)
    changes: dict[str, list[str]] = {}
    for one in made.refused:
        if one.refusal.change:
            changes.setdefault(one.refusal.change, []).append(one.node)
    for change, names in changes.items():
        click.echo(pasteable(clean(f"{folded_names(names)} could be emptied {change}")))


def _refused_line(made: Reboot) -> str:
    """Which nodes are in no group, and of the first why."""
    from migrator.cli.refusal_text import refusal_line

    names = [one.node for one in made.refused]
    asked = len(names) + sum(len(plan.empties) for plan in made.groups)
    return (
        f"{made.intent}: {len(names)} of {asked} node{'s' * (asked != 1)} cannot be emptied "
        f"({folded_names(names)}): {refusal_line(made.refused[0].refusal)}"
    )
