"""What a rebalance promises, on fleets of every kind: the checker passes it, it helps, and it comes to an end."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.inventory import plan_file
from migrator.model.facts import Cluster
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Affinity, Ban, Crowd, DomainsMin, Lonely, Spread, SurviveLoss
from migrator.model.what_if import after
from migrator.planner.arrays import Targets
from migrator.planner.balance import LEAST, Terms, price
from migrator.planner.movers import free_movers, open_nodes
from migrator.planner.rebalance import fleet_score, legs_of, rebalance
from tests.properties.fleets import MIB, cluster, ct, fleets, larger_fleets, node, policies
from tests.properties.oracle import carry_out, group, may_come

some = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
TERMS = Terms(iterations=1000, min_gain=0.01)
crowded = st.one_of(larger_fleets, fleets(5, st.integers(0, 6), st.integers(0, 6)))


@some
@given(crowded, policies)
def test_the_checker_finds_nothing_in_a_rebalance(cluster: Cluster, policy: PlanPolicy) -> None:
    plan = rebalance(cluster, "-", policy, TERMS)
    event(f"moves: {min(len(plan.moves), 4)}")
    event(f"waits: {any(move.waits_for for move in plan.moves)}")
    event(f"blocked: {any('no order' in note for note in plan.notes)}")
    event(f"targets that are sources: {bool({m.source for m in plan.moves} & {m.target for m in plan.moves})}")
    assert check(cluster, plan, policy) == ()


@some
@given(crowded, policies)
def test_the_score_never_gets_worse_and_every_move_is_worth_it(cluster: Cluster, policy: PlanPolicy) -> None:
    plan = rebalance(cluster, "-", policy, TERMS)
    before, end = (fleet_score(open_nodes(fleet), policy) for fleet in (cluster, after(cluster, plan)))
    if plan.moves:
        assert end < before
        assert f"score {before:.4f} -> {end:.4f}" in plan.notes
    else:
        assert end == before


@some
@given(crowded, policies)
def test_a_second_rebalance_right_after_the_first_proposes_nothing(cluster: Cluster, policy: PlanPolicy) -> None:
    plan = rebalance(cluster, "-", policy, TERMS)
    again = rebalance(after(cluster, plan), "-", policy, TERMS)
    unfinished = any("no order" in note or "rebalance again" in note for note in plan.notes)
    event(f"unfinished: {unfinished}")
    assert unfinished or again.moves == ()


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Cluster, PlanPolicy]:
    """Small fleets with soft rules that no placement can hold, some of hard ones beside them."""
    nodes = [
        node(
            f"n{i}",
            *[
                ct(
                    f"c{i}-{k}",
                    20 + 10 * i + k,
                    {"app": draw(st.sampled_from(["web", "db", "x"]))},
                    memory=draw(st.sampled_from([1, 2, 4])) * 256 * MIB,
                    anon_bytes=draw(st.integers(1, 200)) * MIB,
                )
                for k in range(draw(st.integers(0, 5)))
            ],
            labels={"rack": f"r{i % 3}"},
        )
        for i in range(draw(st.integers(3, 6)))
    ]
    weight = draw(st.sampled_from([0.1, 0.3, 1.0, 3.0]))
    spread = Spread("app", draw(st.sampled_from(["name", "rack"])), draw(st.integers(1, 2)), soft=True, weight=weight)
    more = [
        SurviveLoss(resources=("memory",)),
        Crowd(5),
        Affinity("app", "rack"),
        Affinity("app", "rack", soft=True, weight=0.2),
        Crowd(3, soft=True, weight=0.3),
        Lonely("c0-0", soft=True, weight=0.4),
        DomainsMin("app", "rack", 2, soft=True, weight=0.3),
        Ban("app=db", ("n0",), soft=True, weight=0.5),
        Spread("app", "rack", 3),
        DomainsMin("app", "rack", 2),
    ]
    return cluster(*nodes), PlanPolicy(rules=(spread, *draw(st.lists(st.sampled_from(more), max_size=3, unique=True))))


@some
@given(labelled())
def test_with_soft_rules_a_rebalance_comes_to_an_end_and_a_second_proposes_nothing(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    plan = rebalance(fleet, "-", policy, TERMS)
    assert not [note for note in plan.notes if note.startswith("stopped early")]
    assert check(fleet, plan, policy) == ()
    again = rebalance(after(fleet, plan), "-", policy, TERMS)
    unfinished = any("no order" in note or "rebalance again" in note for note in plan.notes)
    event(f"unfinished: {unfinished}, soft rules alone: {all(rule.soft for rule in policy.rules)}")
    assert again.moves == () or (unfinished and not all(rule.soft for rule in policy.rules))


@some
@given(crowded, policies, st.data())
def test_however_a_rebalance_is_run_everything_fits(cluster: Cluster, policy: PlanPolicy, data: st.DataObject) -> None:
    plan = rebalance(cluster, "-", policy, TERMS)
    end = carry_out(cluster, plan, lambda count: data.draw(st.integers(0, count - 1)))
    assert isinstance(end, Cluster), end


@some
@given(crowded, policies)
def test_a_rule_that_is_broken_already_is_never_broken_more(cluster: Cluster, policy: PlanPolicy) -> None:
    end = after(cluster, rebalance(cluster, "-", policy, TERMS))
    for old, new in zip(cluster.nodes, end.nodes, strict=True):
        there = [group(c) for c in old.containers]
        come = [group(c) for c in new.containers if old.container(c.name) is None]
        event(f"broken: {len(set(there) - {''}) < len([g for g in there if g])}")
        left = [group(c) for c in new.containers]
        assert all(left.count(g) == 1 for g in come if g)


@some
@given(crowded, policies)
def test_equal_facts_make_an_equal_rebalance_to_the_byte(cluster: Cluster, policy: PlanPolicy) -> None:
    first, second = (rebalance(cluster, "-", policy, TERMS) for _ in range(2))
    assert plan_file.dump(first) == plan_file.dump(second)
    assert plan_file.parse(plan_file.dump(first), "x.json") == first


@some
@given(crowded, policies, st.integers(0, 6))
def test_a_search_that_was_stopped_is_repeated_by_its_count(cluster: Cluster, policy: PlanPolicy, asked: int) -> None:
    answers = iter([False] * asked)
    stopped = rebalance(cluster, "-", policy, Terms(1000, 0.01, lambda: next(answers, True)))
    counts = [note.split()[3] for note in stopped.notes if note.startswith("stopped early")]
    event(f"stopped: {bool(counts)}")
    for count in counts:
        assert rebalance(cluster, "-", policy, Terms(int(count), 0.01)) == stopped


@some
@given(crowded, policies, st.sampled_from([0.01, 0.05, 0.5]))
def test_no_single_move_can_be_taken_back_without_loss(cluster: Cluster, policy: PlanPolicy, least: float) -> None:
    """Where its old node still has room for it: the score with what the moves cost gets worse without any of them."""
    terms = Terms(1000, least)
    plan = rebalance(cluster, "-", policy, terms)
    nodes, end = open_nodes(cluster), after(cluster, plan)
    movers = {mover.name: mover for mover in free_movers(cluster, nodes)}
    legs = legs_of([(movers[m.container], cluster.node(m.target)) for m in plan.moves], policy)
    with_all = fleet_score(nodes, policy, legs, cluster.nodes)
    targets = Targets(nodes, policy, cluster)
    for leg in legs:
        there, home = end.node(leg.target), end.node(leg.source)
        container = there.container(leg.name)
        if container is None or not may_come(container, there, home, [], policy):
            continue
        others = [other for other in legs if other is not leg]
        lost = len(nodes) * (fleet_score(nodes, policy, others, cluster.nodes) - with_all)
        event("a move was held against its toll")
        assert lost > price(leg.mover, targets) + least - 2 * LEAST - 1e-9


@some
@given(crowded)
def test_what_is_worth_most_comes_first_where_nothing_has_to_wait(cluster: Cluster) -> None:
    policy = PlanPolicy()
    plan = rebalance(cluster, "-", policy, TERMS)
    if len(plan.moves) < 2 or any(move.waits_for for move in plan.moves):
        return
    event("two moves or more, and none waits")
    ends = [after(cluster, replace(plan, moves=(move,))) for move in plan.moves]
    scores = [fleet_score(open_nodes(end), policy) for end in ends]
    assert scores[0] <= min(scores) + 1e-9
