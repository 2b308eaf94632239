"""migrator explain: one container of a plan told in words, or of a file of reboot groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.look import followed
from migrator.cli.output import clean, json_option, print_json
from migrator.cli.plan import file_type
from migrator.cli.what_if import facts_asked, facts_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migrator.model.facts import Cluster
    from migrator.model.plan import Plan, PlannedMove
    from migrator.model.reboot import Reboot
    from migrator.planner.look import Alternative
    from migrator.planner.look_balance import Balanced
    from migrator.planner.schedule import When

SHARED_S = 0.05  # by which a pause is told to be longer than by itself
OTHERS_SHOWN = 5
Told = tuple[dict[str, Any], list[str]]  # the same as a document and as lines


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

    One of several moves, as in CONTAINER#2, stands for all moves of its container. PLAN may be a file of reboot groups:
    then every group that moves it is told.
    """
    from migrator.cli.hints import pasteable
    from migrator.inventory import plan_file, reboot_file

    if reboot_file.holds(plan_path):
        reboot = reboot_file.load(plan_path)
        document, lines = _of_reboot(facts_asked(ctx, **asked)[0], reboot, container, plan_path)
    else:
        plan = plan_file.load(plan_path)
        document, lines = _of_plan(followed(facts_asked(ctx, **asked)[0], plan), plan, container, plan_path)
    if as_json:
        print_json(document)
        return 0
    for line in lines:
        click.echo(pasteable(clean(line)))
    return 0


def _of_reboot(cluster: Cluster, reboot: Reboot, container: str, path: Path) -> Told:
    """The same of every drain and return that moves it, each from where all before it have led."""
    from migrator.errors import BadInput, quoted

    documents, lines = list[dict[str, Any]](), list[str]()
    for name, now, plan in _in_turn(cluster, reboot):
        if any(container in (m.container, m.name) for m in plan.moves):
            document, told = _moved(followed(now, plan), plan, _whose(plan, container))
            documents.append({"of": name} | document)
            lines += [f"{name}:", *(f"  {line}" for line in told)]
    if documents:
        return {"reboot": str(path), "container": container, "moves": documents}, lines
    home = next((node.name for node in cluster.nodes if node.container(container)), None)
    if home is None:
        where = f"is on no node of cluster {cluster.name!r}"
        raise BadInput(f"{path}: container {quoted(container)} moves with no group of these, and {where}")
    document, lines = _never_moved(cluster, reboot, container, home)
    return {"reboot": str(path), "container": container, "moves": []} | document, lines


def _never_moved(cluster: Cluster, reboot: Reboot, container: str, home: str) -> Told:
    """Why no group moves a container: its node is in none, cannot be emptied, or leaves it where it is."""
    from migrator.cli.refusal_text import refusal_line

    for _, now, plan in _in_turn(cluster, reboot):
        if home in plan.empties:
            return _stays(now, plan, container)
    why = next((f"{home} is in no group: {refusal_line(r.refusal)}" for r in reboot.refused if r.node == home), None)
    why = why or f"{home} is in no group: it was not asked for"
    return {"stays": {"node": home, "why": [why]}}, [f"{container}: stays on {home}: {why}"]


def _in_turn(cluster: Cluster, reboot: Reboot) -> Iterator[tuple[str, Cluster, Plan]]:
    """Each plan of a reboot, with its name and the cluster that it begins in."""
    from migrator.model.what_if import rebooted, returned

    for number, (drain, back) in enumerate(zip(reboot.groups, reboot.returns, strict=True), 1):
        yield f"group {number}", cluster, drain
        yield f"return of group {number}", rebooted(followed(cluster, drain), drain), back
        cluster = returned(cluster, drain, back)


def _of_plan(cluster: Cluster, plan: Plan, container: str, path: Path) -> Told:
    from migrator.errors import BadInput, quoted

    if any(container in (m.container, m.name) for m in plan.moves):
        return _moved(cluster, plan, _whose(plan, container))
    if not any(node.container(container) for node in cluster.nodes):
        where = f"is on no node of cluster {cluster.name!r}"
        raise BadInput(f"{path}: container {quoted(container)} does not move in this plan, and {where}")
    return _stays(cluster, plan, container)


def _whose(plan: Plan, name: str) -> str:
    """The container that is meant by its own name or by that of one of its moves."""
    return next(m.container for m in plan.moves if name in (m.container, m.name))


def _moved(cluster: Cluster, plan: Plan, container: str) -> Told:
    from dataclasses import asdict

    from migrator.cli.plan_text import waived_json
    from migrator.planner.look import alternatives, spans
    from migrator.planner.look_late import turns_told
    from migrator.planner.look_rules import rules_there, rules_told
    from migrator.planner.range_notes import shifts

    others = sorted(alternatives(cluster, plan, container), key=lambda a: (bool(a.lacks), a.share, a.node))
    when = spans(cluster, plan)
    scores = _balanced(cluster, plan, container, others)
    rules = list(rules_told(cluster, plan, container))
    shifted = shifts(cluster, plan.moves)
    ids = [shifted[leg.name] for leg in plan.ways()[container] if leg.name in shifted]
    late = [line for leg in plan.ways()[container] for line in turns_told(cluster, plan, when, leg)]
    *stops, last = [_leg_json(plan, move, when) for move in plan.ways()[container]]
    document = {**last, "stop_overs": stops, "rules": rules, "late": late, "waived": waived_json(plan.policy)}
    document |= {"ids": ids} if ids else {}
    document |= {"balance": asdict(scores)} if scores else {}
    document |= {"alternatives": [asdict(other) for other in others]}
    there = rules_there(cluster, plan, container, [other.node for other in others if not other.lacks][:OTHERS_SHOWN])
    told = _told(plan, container, when, scores, rules, late)
    return document, [*told, *(f"ids: {text}" for text in ids), *_elsewhere(others, there)]


def _stays(cluster: Cluster, plan: Plan, container: str) -> Told:
    """Why a container that the plan does not move stays, and which violations stay with it."""
    from dataclasses import asdict

    from migrator.cli.plan_text import waived_json, waived_said
    from migrator.model.plan import brief
    from migrator.planner.look import alternatives
    from migrator.planner.look_rules import rules_there
    from migrator.planner.look_stays import stays

    others = sorted(alternatives(cluster, plan, container), key=lambda a: (bool(a.lacks), a.share, a.node))
    found = stays(cluster, plan, container, others)
    document = {
        "stays": asdict(found),
        "alternatives": [asdict(other) for other in others],
        "waived": waived_json(plan.policy),
    }
    there = rules_there(cluster, plan, container, [other.node for other in others if not other.lacks][:OTHERS_SHOWN])
    lines = [
        f"{container}: stays on {found.node}, of the plan: {brief(plan.intent)}",
        *(f"why it stays: {why}" for why in found.why or ("nothing in the plan or the facts tells",)),
        *found.broken,
        *([waived] if (waived := waived_said(plan.policy)) else []),
        *_elsewhere(others, there),
    ]
    return document, lines


def _leg_json(plan: Plan, move: PlannedMove, when: dict[str, When]) -> dict[str, Any]:
    from dataclasses import asdict

    rates = asdict(plan.policy.rates(move.source, move.target, move.memory_way))
    return {"move": asdict(move), "when": asdict(when[move.name]), "rates": rates}


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
        if any(getattr(rule, "continuous", False) and not rule.soft for rule in plan.policy.rules):
            why += ", and the rules that hold at every moment are kept"
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
