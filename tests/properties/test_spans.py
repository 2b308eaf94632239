"""At least so many failure domains: what is planned keeps a group in them, at the end or whoever moves first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Refusal, move_name
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import DomainsMin, Rule, Spread
from migrator.planner.domains_left import domains_missing
from migrator.planner.drain import drain, sorted_out
from migrator.planner.look import end_state
from migrator.planner.moves import move
from migrator.planner.rebalance import Terms, rebalance
from migrator.planner.spans import fewest
from tests.properties.fleets import GIB, MIB, cluster, ct, named, node
from tests.properties.oracle import moments

RACKS = ("r1", "r2", "r3", "r4")


@st.composite
def racked(draw: st.DrawFn) -> Cluster:
    """Roomy nodes in a few racks, with the members of two services all over them."""
    number, nodes = 0, []
    for index in range(draw(st.integers(4, 7))):
        held = []
        for _ in range(draw(st.integers(0, 2))):
            held.append(ct(f"c{number}", 100 + number, labels={"app": draw(st.sampled_from("ab"))}, anon_bytes=MIB))
            number += 1
        nodes.append(node(f"n{index}", *held, labels={"rack": draw(st.sampled_from(RACKS))}, memory=64 * GIB))
    return cluster(*nodes)


rules = st.builds(DomainsMin, st.just("app"), st.just("rack"), st.integers(2, 4), continuous=st.booleans())
more = st.lists(st.builds(Spread, st.just("app"), st.just("rack"), st.integers(1, 3)), max_size=1)


def domains(fleet: Cluster, at: dict[str, str]) -> dict[str, set[str]]:
    """For each service the racks that it is in; `at` gives other nodes to some containers."""
    found: dict[str, set[str]] = {}
    for n in fleet.nodes:
        for c in n.containers:
            assert c.descriptor is not None
            where = fleet.node(at.get(c.name, n.name)).labels["rack"]
            found.setdefault(c.descriptor.labels["app"], set()).add(where)
    return found


def keeps(fleet: Cluster, plan: Plan, rule: DomainsMin, ends: Iterator[dict[str, str]]) -> None:
    first = domains(fleet, {})
    for at in ends:
        for app, now in domains(fleet, at).items():
            assert len(now) >= min(rule.at_least, len(first[app]))


def ways(plan: Plan, data: st.DataObject, rule: DomainsMin) -> Iterator[dict[str, str]]:
    """Where the moved containers are after each begin and end, in some order; or only at the end."""
    if rule.continuous:
        for _, ended in moments(plan, lambda count: data.draw(st.integers(0, count - 1))):
            yield {m.container: m.target for m in sorted(ended, key=lambda m: m.leg)}
    yield {m.container: m.target for m in sorted(plan.moves, key=lambda m: m.leg)}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(racked(), rules, more, st.integers(1, 2), st.data())
def test_a_drain_leaves_every_group_in_domains_enough_whoever_moves_first(
    fleet: Cluster, rule: DomainsMin, others: list[Rule], count: int, data: st.DataObject
) -> None:
    policy = PlanPolicy(headroom_percent=0, rules=(rule, *others))
    made = drain(fleet, [n.name for n in fleet.nodes[:count]], "-", policy)
    if isinstance(made, Plan):
        assert check(fleet, made, policy) == ()
        keeps(fleet, made, rule, ways(made, data, rule))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(racked(), rules, st.data())
def test_moves_by_name_and_a_rebalance_do_too(fleet: Cluster, rule: DomainsMin, data: st.DataObject) -> None:
    policy = PlanPolicy(headroom_percent=0, rules=(rule,))
    names = [c.name for n in fleet.nodes for c in n.containers]
    wishes = {name: data.draw(st.sampled_from(fleet.nodes)).name for name in names[: data.draw(st.integers(1, 4))]}
    for made in (
        move(fleet, wishes, "-", policy, named(wishes)) if names else None,
        rebalance(fleet, "-", policy, Terms(iterations=30, min_gain=0.0)),
    ):
        if isinstance(made, Plan):
            assert check(fleet, made, policy) == ()
            keeps(fleet, made, rule, ways(made, data, rule))


def reachable(
    fleet: Cluster,
    rule: DomainsMin,
    movers: list[str],
    open_nodes: list[str],
    done: Callable[[Mapping[str, str]], bool],
) -> bool:
    """Whether single moves, one after the other and each to any open node, come to a place that will do."""
    first = domains(fleet, {})
    begin = {c.name: n.name for n in fleet.nodes for c in n.containers if c.name in movers}
    waiting, seen = deque([begin]), {tuple(begin.items())}
    while waiting:
        at = waiting.popleft()
        if done(at):
            return True
        for after in ({**at, name: to} for name in at for to in open_nodes if to != at[name]):
            enough = all(len(now) >= min(rule.at_least, len(first[app])) for app, now in domains(fleet, after).items())
            if enough and tuple(after.items()) not in seen:
                seen.add(tuple(after.items()))
                waiting.append(after)
    return False


always = st.builds(DomainsMin, st.just("app"), st.just("rack"), st.integers(2, 4))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(racked(), always, st.data())
def test_moves_are_planned_exactly_if_some_order_of_them_keeps_domains_enough(
    fleet: Cluster, rule: DomainsMin, data: st.DataObject
) -> None:
    policy, everywhere = PlanPolicy(headroom_percent=0, rules=(rule,)), [n.name for n in fleet.nodes]
    names = [c.name for n in fleet.nodes for c in n.containers][: data.draw(st.integers(1, 4))]
    wishes = {name: data.draw(st.sampled_from(everywhere)) for name in names}
    if wishes:
        made = move(fleet, wishes, "-", policy, named(wishes))
        assert isinstance(made, Plan) == reachable(fleet, rule, names, everywhere, lambda at: at == wishes)
    down = everywhere[: data.draw(st.integers(1, 2))]
    movers = [c.name for name in down for c in fleet.node(name).containers]
    made = drain(fleet, down, "-", policy)
    assert isinstance(made, Plan) == reachable(
        fleet, rule, movers, everywhere[len(down) :], lambda at: not {*at.values()} & {*down}
    )


@settings(max_examples=120, deadline=None, derandomize=True)
@given(racked(), always, st.data())
def test_the_checker_finds_moves_that_do_not_wait_exactly_if_they_may_leave_too_few_domains(
    fleet: Cluster, rule: DomainsMin, data: st.DataObject
) -> None:
    policy = PlanPolicy(headroom_percent=0, rules=(rule,))
    names = [c.name for n in fleet.nodes for c in n.containers]
    wishes = {name: data.draw(st.sampled_from(fleet.nodes)).name for name in names[: data.draw(st.integers(1, 4))]}
    made = move(fleet, wishes, "-", policy, named(wishes)) if wishes else None
    if not isinstance(made, Plan):
        return
    hasty = data.draw(st.sets(st.sampled_from([m.name for m in made.moves])) if made.moves else st.just(set()))
    own = {m.name: (move_name(m.container, m.leg - 1),) if m.leg > 1 else () for m in made.moves}
    moves = (replace(m, waits_for=own[m.name]) if m.name in hasty else m for m in made.moves)
    plan = replace(made, moves=tuple(moves))
    first = domains(fleet, {})
    thin = any(
        len(now) < min(rule.at_least, len(first[app])) for at in _made(plan) for app, now in domains(fleet, at).items()
    )
    assert any(finding.code is Code.SPREAD for finding in check(fleet, plan, policy)) == thin


def _made(plan: Plan) -> Iterator[dict[str, str]]:
    """Where the moved containers are, for every set of moves that holds with each all that it waits for."""
    for bits in range(1 << len(plan.moves)):
        some = [m for number, m in enumerate(plan.moves) if bits >> number & 1]
        if {name for m in some for name in m.waits_for} <= {m.name for m in some}:
            yield {m.container: m.target for m in sorted(some, key=lambda m: m.leg)}


def test_two_that_keep_two_domains_change_places_over_a_third_and_are_refused_without_one() -> None:
    app = {"app": "a"}
    racks = [node("r0", ct("c0", 20, app), labels={"rack": "r0"}), node("r1", ct("c1", 21, app), labels={"rack": "r1"})]
    policy, wishes = PlanPolicy(rules=(DomainsMin("app", "rack", 2),)), {"c0": "r1", "c1": "r0"}
    refused = move(cluster(*racks), wishes, "-", policy, named(wishes))
    assert isinstance(refused, Refusal)
    assert "rule spread: others have to come first" in str(refused.containers[0])
    made = move(cluster(*racks, node("r2", labels={"rack": "r2"})), wishes, "-", policy, named(wishes))
    assert isinstance(made, Plan)
    assert [len(m.waits_for) for m in made.moves] == [0, 1, 1]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(racked(), rules)
def test_a_rebalance_mends_what_it_can(fleet: Cluster, rule: DomainsMin) -> None:
    policy = PlanPolicy(headroom_percent=0, rules=(rule,))
    made = rebalance(fleet, "-", policy, Terms(iterations=200, min_gain=0.0))
    free = {n.labels["rack"] for n in fleet.nodes}
    first, last = domains(fleet, {}), domains(end_state(fleet, made), {})
    sizes = {app: sum(c.descriptor.labels["app"] == app for n in fleet.nodes for c in n.containers if c.descriptor)
             for app in first}  # fmt: skip
    for app, found in last.items():
        assert len(found) >= min(rule.at_least, sizes[app], len(free))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=5), st.frozensets(st.integers(0, 5)))
def test_the_fewest_domains_are_those_of_the_worst_moment(edges: list[tuple[int, int]], held: frozenset[int]) -> None:
    worst = min(
        len(held | {way[bits >> place & 1] for place, way in enumerate(edges)}) for bits in range(1 << len(edges))
    )
    for enough in range(1, 8):
        assert fewest(held, edges, enough) == min(worst, enough)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(racked(), rules, st.integers(1, 4))
def test_what_is_told_to_be_impossible_by_counting_has_no_arrangement(
    fleet: Cluster, rule: DomainsMin, down: int
) -> None:
    policy = PlanPolicy(rules=(rule,))
    names = [n.name for n in fleet.nodes[:down]]
    movers, _, _ = sorted_out(fleet, [fleet.node(name) for name in names], policy)
    missing = domains_missing(movers, fleet.nodes[down:], fleet, policy)
    made = drain(fleet, names, "-", policy)
    assert missing == () if isinstance(made, Plan) else missing in ((), made.reasons)


def three_racks() -> Cluster:
    app = {"app": "a"}
    spread = (node(f"r{n}-1", ct(f"c{n}", 20 + n, app), labels={"rack": f"r{n}"}) for n in range(3))
    return cluster(*spread, *(node(f"r{n}-2", labels={"rack": f"r{n}"}) for n in range(2)))


def test_a_domain_that_is_given_up_by_a_rule_for_as_many_is_told_by_counting_with_the_smallest_change() -> None:
    fleet = three_racks()
    made = drain(fleet, ["r2-1"], "-", PlanPolicy(rules=(DomainsMin("app", "rack", 3),)))
    assert isinstance(made, Refusal)
    assert [str(reason) for reason in made.reasons] == [
        "rule 1 (spread): no arrangement can keep app=a in 3 of rack: only 2 are left, in rack=r0, rack=r1; "
        "possible with open nodes in 1 more of rack, or with at_least: 2"
    ]


def test_a_domain_in_which_a_member_stays_counts_also_if_nothing_can_come_there() -> None:
    app = {"app": "a"}
    fleet = cluster(
        node("r0-1", ct("c0", 20, app), labels={"rack": "r0"}, cordon="operator"),
        node("r1-1", ct("c1", 21, app), labels={"rack": "r1"}),
        node("r1-2", labels={"rack": "r1"}),
    )
    policy = PlanPolicy(rules=(DomainsMin("app", "rack", 2),))
    assert isinstance(drain(fleet, ["r1-1"], "-", policy), Plan)
    gone = drain(fleet, ["r0-1"], "-", policy)
    assert isinstance(gone, Refusal)
    assert "in 2 of rack: only 1 is left, in rack=r1; possible with open nodes in 1 more of rack" in str(
        gone.reasons[0]
    )
