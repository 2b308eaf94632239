"""migrator plan show, and explain: a plan drawn, and one move of it told in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import clean, json_option, print_json
from migrator.cli.plan import file_type
from migrator.cli.reboot_look import show_reboot
from migrator.cli.shared import not_over
from migrator.cli.what_if import facts_asked, facts_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.model.facts import Cluster
    from migrator.model.plan import Plan, PlannedMove
    from migrator.planner.look import Alternative
    from migrator.planner.look_balance import Balanced
    from migrator.planner.schedule import When

SHARED_S = 0.05  # by which a pause is told to be longer than by itself
OTHERS_SHOWN = 5


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


@click.command()
@click.argument("plan_path", type=file_type, metavar="PLAN")
@click.argument("container")
@facts_options
@json_option
@click.pass_context
def explain(
    ctx: click.Context,
    /,
    plan_path: Path,
    container: str,
    as_json: bool,
    **asked: Any,
) -> int:
    """Say why CONTAINER moves in PLAN, why there, what else there was, and whom it waits for; or why it stays.

    One of several moves, as in CONTAINER#2, stands for all moves of its container.
    """
    from dataclasses import asdict

    from migrator.cli.plan_text import waived_json
    from migrator.errors import BadInput, quoted
    from migrator.inventory import plan_file
    from migrator.planner.look import alternatives, spans
    from migrator.planner.look_late import turns_told
    from migrator.planner.look_rules import rules_there, rules_told

    plan = plan_file.load(plan_path)
    whose = {name: m.container for m in plan.moves for name in (m.container, m.name)}
    cluster = followed(facts_asked(ctx, **asked)[0], plan)
    if container not in whose:
        if not any(node.container(container) for node in cluster.nodes):
            where = f"is on no node of cluster {cluster.name!r}"
            raise BadInput(f"{plan_path}: container {quoted(container)} does not move in this plan, and {where}")
        return _explain_stays(cluster, plan, container, as_json)
    container = whose[container]
    others = sorted(alternatives(cluster, plan, container), key=lambda a: (bool(a.lacks), a.share, a.node))
    when = spans(cluster, plan)
    scores = _balanced(cluster, plan, container, others)
    rules = list(rules_told(cluster, plan, container))
    late = [line for leg in plan.ways()[container] for line in turns_told(cluster, plan, when, leg)]
    if as_json:
        *stops, last = [_leg_json(plan, move, when) for move in plan.ways()[container]]
        document: dict[str, Any] = {
            **last,
            "stop_overs": stops,
            "rules": rules,
            "late": late,
            "waived": waived_json(plan.policy),
        }
        document |= {"balance": asdict(scores)} if scores else {}
        print_json(document | {"alternatives": [asdict(other) for other in others]})
        return 0
    there = rules_there(cluster, plan, container, [other.node for other in others if not other.lacks][:OTHERS_SHOWN])
    for line in [*_told(plan, container, when, scores, rules, late), *_elsewhere(others, there)]:
        click.echo(clean(line))
    return 0


def _explain_stays(cluster: Cluster, plan: Plan, container: str, as_json: bool) -> int:
    """Says why a container that the plan does not move stays, and which violations stay with it."""
    from dataclasses import asdict

    from migrator.cli.hints import pasteable
    from migrator.cli.plan_text import waived_json, waived_said
    from migrator.model.plan import brief
    from migrator.planner.look import alternatives
    from migrator.planner.look_rules import rules_there
    from migrator.planner.look_stays import stays

    others = sorted(alternatives(cluster, plan, container), key=lambda a: (bool(a.lacks), a.share, a.node))
    found = stays(cluster, plan, container, others)
    if as_json:
        document = {"stays": asdict(found), "alternatives": [asdict(other) for other in others]}
        print_json(document | {"waived": waived_json(plan.policy)})
        return 0
    there = rules_there(cluster, plan, container, [other.node for other in others if not other.lacks][:OTHERS_SHOWN])
    lines = [
        f"{container}: stays on {found.node}, of the plan: {brief(plan.intent)}",
        *(f"why it stays: {why}" for why in found.why or ("nothing in the plan or the facts tells",)),
        *found.broken,
        *([waived] if (waived := waived_said(plan.policy)) else []),
        *_elsewhere(others, there),
    ]
    for line in lines:
        click.echo(pasteable(clean(line)))
    return 0


def _leg_json(plan: Plan, move: PlannedMove, when: dict[str, When]) -> dict[str, Any]:
    from dataclasses import asdict

    rates = asdict(plan.policy.rates(move.source, move.target, move.memory_way))
    return {"move": asdict(move), "when": asdict(when[move.name]), "rates": rates}


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


def _balanced(cluster: Cluster, plan: Plan, container: str, others: Sequence[Alternative]) -> Balanced | None:
    """Of a rebalance: what the container's node had too much of, and the scores of what else there was."""
    if plan.intent != "rebalance":
        return None
    from migrator.planner.look_balance import balanced

    return balanced(cluster, plan, container, [other.node for other in others if not other.lacks])


def _scores(move: PlannedMove, scores: Balanced) -> list[str]:
    """Why a rebalance moves a container: what its node had too much of, and what else the score would be."""
    than = [f"{scores.left:.4f} if it stayed"]
    than += [f"{other.score:.4f} on {other.node}" for other in scores.others[:1]]
    more = ", ".join(f"{other.score:.4f} on {other.node}" for other in scores.others[1:])
    return [
        f"if it stayed: {move.source} {scores.share:.0%} full of {scores.resource}, the mean is {scores.mean:.0%}; "
        f"{scores.containers} containers, the mean is {scores.containers_mean:.1f}",
        f"score of the fleet: {scores.score:.4f} as planned; {', second best '.join(than)}"
        + (f"; then {more}" if more else ""),
    ]


def _told(
    plan: Plan,
    container: str,
    when: dict[str, When],
    scores: Balanced | None,
    rules: Sequence[str],
    late: Sequence[str],
) -> list[str]:
    """The explanation, a line each."""
    from migrator.cli.plan_text import moment, waived_said
    from migrator.model.plan import brief
    from migrator.model.rules import Budget
    from migrator.model.units import format_bytes, format_seconds

    way = plan.ways()[container]
    move = way[-1]
    why = f"{way[0].source} is emptied" if way[0].source in plan.empties else move.reason
    nodes = " -> ".join([way[0].source, *(leg.target for leg in way)])
    estimates = [leg.estimate for leg in way]
    begin_s = when[way[0].name].start_s
    lasts_s = [when[leg.name].end_s - when[leg.name].pause_s for leg in way]
    if any(seconds > e.blackout_s + SHARED_S for seconds, e in zip(lasts_s, estimates, strict=True)):
        pauses = " and ".join(map(format_seconds, lasts_s))
        alone = " and ".join(format_seconds(estimate.blackout_s) for estimate in estimates)
        pauses += f", because others send over its links meanwhile: by itself, {alone}"
    else:  # as the table of the plan rounds it
        pauses = " and ".join(format_seconds(estimate.blackout_s) for estimate in estimates)
    lines = [
        f"{container}: {nodes}, of the plan: {brief(plan.intent)}",
        f"why it moves: {why}",
        *([_chosen(move)] if scores is None else _scores(move, scores)),
        *rules,
        *([waived] if (waived := waived_said(plan.policy)) else []),
        *(f"why over {leg.target}: {leg.reason}" for leg in way[:-1]),
        f"when: from {moment(plan, begin_s)} to {moment(plan, when[move.name].end_s)}"
        f"{'' if plan.policy.start else ' of the plan'}, "
        f"paused from {' and '.join(moment(plan, when[leg.name].pause_s) for leg in way)}",
        *(
            f"by {leg.mode}, its memory follows for {format_seconds(when[leg.name].follows_s)} after that"
            for leg in way
            if when[leg.name].follows_s
        ),
        *late,
        f"cost: {format_bytes(sum(e.memory_bytes for e in estimates))} of memory and "
        f"{format_bytes(sum(e.files_bytes for e in estimates))} of files; paused for {pauses}",
        *(f"estimated {_rested(plan, leg)}" for leg in way),
    ]
    own = {leg.name for leg in way}
    waits = [plan.move(name) for name in dict.fromkeys(n for leg in way for n in leg.waits_for) if name not in own]
    if waits:
        room = [f"{w.name} ({w.source} -> {w.target})" for w in waits]
        why = "only then is there room at every moment"
        if any(isinstance(rule, Budget) for rule in plan.policy.rules):
            why += ", and no more in motion than a disruption budget lets"
        lines.append(f"waits for: {', '.join(room)}: {why}")
    else:
        lines.append("waits for: none")
    waited = [other.name for other in plan.moves if other.name not in own and own.intersection(other.waits_for)]
    if waited:
        lines.append(f"wait for it: {', '.join(waited)}")
    return lines


def _chosen(move: PlannedMove) -> str:
    """Why a node was chosen; of a choice among several is said that some of the others had no place yet."""
    when = ", when its place was chosen (large containers first)" if "full by then" in move.reason else ""
    return f"why there{when}: {move.reason}"


def _elsewhere(others: Sequence[Alternative], rules: dict[str, str]) -> list[str]:
    """Where else the container could go beside all the others at the plan's end, and why not to the rest."""
    from migrator.cli.refusal_text import classes
    from migrator.model.plan import Reason

    fitting = [o for o in others if not o.lacks]
    if fitting:
        broken = {node: f", but {names} would be broken" for node, names in rules.items() if names}
        shown = ", ".join(f"{o.node} ({o.share:.0%} full{broken.get(o.node, '')})" for o in fitting[:OTHERS_SHOWN])
        more = f" and {len(fitting) - OTHERS_SHOWN} more" if len(fitting) > OTHERS_SHOWN else ""
        lines = [f"once all the others have moved it would fit too on, least loaded first: {shown}{more}"]
    else:
        lines = ["once all the others have moved it would fit nowhere else"]
    lacking = [Reason(o.lacks, o.node) for o in others if o.lacks]
    return lines + [f"not {reason}" for reason in classes(lacking)]


def _rested(plan: Plan, leg: PlannedMove) -> str:
    """What the estimate of a move rests on, in words."""
    from migrator.model.memory_way import WAYS, WERE
    from migrator.model.units import format_bytes, format_seconds

    rates = plan.policy.rates(leg.source, leg.target, leg.memory_way)
    way, pair = WAYS[leg.memory_way], f"{leg.source} -> {leg.target}"
    if not rates.runs:
        return f"by the default rates for memory that {way}: nothing was learnt of {pair}"
    steps = {
        "dump": rates.dump_bytes_per_s,
        "send": rates.send_bytes_per_s,
        "restore": rates.restore_bytes_per_s,
        "files": rates.files_bytes_per_s,
    }
    told = ", ".join(f"{step} {format_bytes(rate)}/s" for step, rate in steps.items() if rate)
    fixed = f"{format_seconds(rates.constant_s(leg.mode))} of the pause and {format_seconds(rates.setup_s)} around it"
    seen = f"{rates.runs} migration{'s' * (rates.runs != 1)} {pair} whose memory {WERE[leg.memory_way]}"
    return f"by {seen}: {told}; beside that {fixed}"
