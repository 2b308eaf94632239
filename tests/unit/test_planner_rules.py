"""Rules in the planner, one case each: what is chosen, what is said, what is refused."""

from __future__ import annotations

import pytest

from migrator.checker.check import check
from migrator.model.facts import Cluster
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import Headroom, PlanPolicy
from migrator.model.rules import Affinity, Ban, DomainsMin, Fence, Pin, Rule, Spread
from migrator.planner.balance import Terms
from migrator.planner.drain import drain
from migrator.planner.look import alternatives
from migrator.planner.moves import move
from migrator.planner.rebalance import rebalance
from migrator.planner.remedies import helped
from migrator.planner.returns import bring_back
from tests.properties.fleets import GIB, MIB, cluster, ct, named, node

PAIR = {"pair": "p"}


def under(*rules: Rule) -> PlanPolicy:
    return PlanPolicy(headroom_percent=0, rules=rules)


def planned(fleet: Cluster, policy: PlanPolicy) -> dict[str, str]:
    made = drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan)
    assert check(fleet, made, policy) == ()
    return {m.container: m.target for m in made.moves}


def pair_and_others() -> Cluster:
    """n1 is the emptier in shares, but too small for both of the pair with their images."""
    return cluster(
        node("n0", ct("a", 20, PAIR, memory=2 * GIB), ct("b", 21, PAIR, memory=2 * GIB)),
        node("n1", memory=4 * GIB),
        node("n2", ct("d", 22, memory=10 * GIB), memory=16 * GIB),
    )


def test_a_pair_goes_where_both_have_room_and_not_where_the_first_would_fit_best():
    assert planned(pair_and_others(), under()) == {"a": "n1", "b": "n2"}
    assert planned(pair_and_others(), under(Affinity("pair"))) == {"a": "n2", "b": "n2"}


def test_a_pair_that_fits_on_no_node_together_is_refused_with_where_the_other_went():
    fleet = cluster(*pair_and_others().nodes[:2], node("n2", ct("d", 22, memory=13 * GIB), memory=16 * GIB))
    made = drain(fleet, ["n0"], "-", under(Affinity("pair")))
    assert isinstance(made, Refusal)
    assert [stuck.container for stuck in made.containers] == ["b"]
    told = {reason.node: reason.text for reason in made.containers[0].reasons}
    assert told["n2"] == "rule affinity: others of pair=p are on node n1 or come there"
    assert told["n1"].startswith("memory ")


def test_a_pair_that_fits_on_no_node_together_is_parted_if_the_rule_is_soft_and_the_plan_says_so():
    fleet = cluster(*pair_and_others().nodes[:2], node("n2", ct("d", 22, memory=13 * GIB), memory=16 * GIB))
    policy = under(Affinity("pair", soft=True, weight=3))
    made = drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan)
    said = "soft rule 1 (affinity, weight 3) is broken by this plan: pair=p is apart, on nodes n1, n2"
    assert said in made.notes


def test_a_group_stays_in_its_rack_and_may_be_on_several_nodes_of_it():
    members = [ct(f"a{i}", 20 + i, PAIR, memory=3 * GIB) for i in range(4)]
    racks = {"n1": "r1", "n2": "r1", "n3": "r2", "n4": "r2"}
    sizes = {"n1": 20, "n2": 1, "n3": 9, "n4": 9}
    others = [node(name, labels={"rack": rack}, memory=sizes[name] * GIB) for name, rack in racks.items()]
    fleet = cluster(node("n0", *members, memory=16 * GIB, labels={"rack": "r0"}), *others)
    assert set(planned(fleet, under(Affinity("pair", "rack"))).values()) == {"n1"}
    fleet = cluster(*(n for n in fleet.nodes if n.name != "n1"), node("n1", labels={"rack": "r1"}, memory=9 * GIB))
    assert set(planned(fleet, under(Affinity("pair", "rack"))).values()) == {"n3", "n4"}


def test_a_group_that_is_apart_already_comes_together_where_it_can_and_is_no_reason_to_refuse():
    fleet = cluster(
        node("n0", ct("a", 20, PAIR)), node("n1", ct("d", 22, memory=4 * GIB)), node("n2", ct("b", 21, PAIR))
    )
    policy = under(Affinity("pair"))
    assert planned(fleet, policy) == {"a": "n2"}
    made = drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan)
    apart = "pair=p is apart, on nodes n0, n2"
    assert f"rule 1 (affinity) is broken already and is mended by this plan: {apart}" in made.notes
    full = cluster(*fleet.nodes[:2], node("n2", ct("b", 21, PAIR, memory=8 * GIB)))
    assert planned(full, policy) == {"a": "n1"}


def test_a_pair_may_be_moved_by_name_together_and_not_one_without_the_other():
    fleet, policy = pair_and_others(), under(Affinity("pair"))
    made = move(fleet, {"a": "n2", "b": "n2"}, "-", policy, named({"a": "n2", "b": "n2"}))
    assert isinstance(made, Plan)
    assert check(fleet, made, policy) == ()
    one = move(fleet, {"a": "n2"}, "-", policy, named({"a": "n2"}))
    assert isinstance(one, Refusal)
    said = "rule affinity: others of pair=p are on node n0 or come there"
    assert [reason.text for reason in one.containers[0].reasons] == [said]


def test_a_continuous_affinity_keeps_a_group_in_its_rack_at_every_moment():
    racks = {"n1": "r1", "n2": "r2"}
    others = [node(name, labels={"rack": rack}) for name, rack in racks.items()]
    fleet = cluster(node("n0", ct("a", 20, PAIR), ct("b", 21, PAIR), labels={"rack": "r2"}), *others)
    assert planned(fleet, under(Affinity("pair", "rack", continuous=True))) == {"a": "n2", "b": "n2"}
    gone = cluster(*(n for n in fleet.nodes if n.name != "n2"))
    assert isinstance(drain(gone, ["n0"], "-", under(Affinity("pair", "rack", continuous=True))), Refusal)
    assert planned(gone, under(Affinity("pair", "rack"))) == {"a": "n1", "b": "n1"}


def test_two_of_a_group_may_change_racks_if_only_the_end_counts():
    labels = {"app": "web"}
    fleet = cluster(
        node("n0", ct("a", 20, labels), labels={"rack": "r1"}),
        node("n1", ct("b", 21, labels), labels={"rack": "r2"}),
    )
    for continuous, kind in ((True, Refusal), (False, Plan)):
        policy = under(Spread("app", "rack", 1, continuous=continuous))
        made = move(fleet, {"a": "n1", "b": "n0"}, "-", policy, named({"a": "n1", "b": "n0"}))
        assert isinstance(made, kind)
        assert isinstance(made, Refusal) or check(fleet, made, policy) == ()


def test_the_weight_of_a_soft_rule_is_set_against_the_load():
    fleet = cluster(node("n0", ct("a", 20)), node("n1"), node("n2", ct("d", 22, memory=2 * GIB)))
    ban = Ban("a", ("n1",), soft=True, weight=0.01)
    assert planned(fleet, under(ban)) == {"a": "n1"}
    made = drain(fleet, ["n0"], "-", under(Ban("a", ("n1",), soft=True)))
    assert isinstance(made, Plan)
    assert (made.moves[0].target, made.moves[0].reason) == (
        "n2",
        "so that rules hold (28% full by then); n1 would be less loaded (3%)",
    )
    assert made.notes == ()


def test_a_rebalance_mends_rules_that_are_broken_and_leaves_a_soft_pin_for_what_is_worth_more():
    full = [ct(f"a{i}", 20 + i, memory=GIB, anon_bytes=MIB) for i in range(6)]
    fleet = cluster(node("n0", *full), node("n1"))
    moved = len(rebalance(fleet, "-", under(), Terms(100, 0.05)).moves)
    assert moved > 1
    pinned = [Pin(f"a{i}", soft=True, weight=1000) for i in range(5)]
    assert [m.container for m in rebalance(fleet, "-", under(*pinned), Terms(100, 0.05)).moves] == ["a5"]
    even = cluster(node("n0", ct("a", 20)), node("n1", ct("b", 21)), node("n2", ct("c", 22)))
    policy = under(Fence("a", ("n1", "n2")))
    made = rebalance(even, "-", policy, Terms(100, 0.05))
    assert "a" in [m.container for m in made.moves]
    assert check(even, made, policy) == ()
    assert any(note.startswith("rule 1 (fence) is broken already and is mended") for note in made.notes)


def test_explain_names_the_rule_that_closes_another_node():
    fleet = pair_and_others()
    made = drain(fleet, ["n0"], "-", under(Affinity("pair")))
    assert isinstance(made, Plan)
    told = {other.node: other.lacks for other in alternatives(fleet, made, "a")}
    assert told["n1"] == "rule affinity: others of pair=p are on node n2 or come there"
    assert "n2" not in told  # it is where the plan brings it


def test_what_a_rule_names_and_nothing_is_is_noted():
    fleet = cluster(node("n0", ct("a", labels={"app": "web"})), node("n1"))
    made = drain(fleet, ["n0"], "-", under(Ban("app=wbe", ("rack=r9", "n1")), Spread("app", "rack", 2)))
    assert isinstance(made, Plan)
    assert made.notes == (
        "rule 1 (ban): no container is app=wbe",
        "rule 1 (ban): no node is rack=r9",
        "rule 2 (spread): no node has a label rack, so each node is a domain of its own",
    )


def helped_drain(fleet: Cluster, policy: PlanPolicy, *names: str) -> Refusal:
    made = helped(drain(fleet, names, "-", policy), fleet, policy, lambda facts, rules: drain(facts, names, "-", rules))
    assert isinstance(made, Refusal)
    return made


def test_a_refusal_for_headroom_tells_the_most_that_can_be_kept_free():
    fleet = cluster(node("n0", ct("a", 20, memory=8 * GIB, anon_bytes=0)), node("n1", memory=10 * GIB))
    made = helped_drain(fleet, PlanPolicy(headroom=Headroom(memory=30)), "n0")
    assert "with 19 % kept free (--headroom 19)" in made.change
    kept = PlanPolicy(headroom_percent=19)
    assert isinstance(drain(fleet, ["n0"], "-", kept), Plan)
    assert isinstance(drain(fleet, ["n0"], "-", PlanPolicy(headroom_percent=20)), Refusal)


def test_a_drain_refused_for_its_pauses_tells_the_one_limit_that_lets_all_of_them_go():
    movers = [ct(f"c{i}", 20 + i, anon_bytes=(100 + 50 * i) * MIB, memory=GIB) for i in range(12)]
    fleet = cluster(node("n0", *movers, memory=64 * GIB), node("n1", memory=64 * GIB))
    made = helped_drain(fleet, PlanPolicy(blackout_s_max=0.2), "n0")
    limit_s = float(made.change.split("--max-blackout ")[1].split(")")[0])
    assert isinstance(drain(fleet, ["n0"], "-", PlanPolicy(blackout_s_max=limit_s)), Plan)
    assert isinstance(drain(fleet, ["n0"], "-", PlanPolicy(blackout_s_max=limit_s - 1)), Refusal)


def test_a_refusal_tells_how_many_nodes_more_let_the_whole_plan_go():
    movers = [ct(f"c{i}", 20 + i, memory=3 * GIB, anon_bytes=0) for i in range(5)]
    home = node("n0", *movers, memory=64 * GIB, labels={"rack": "old"})
    policy = under(*(Ban(mover.name, ("rack=old",)) for mover in movers))
    made = helped_drain(cluster(home, node("n1", memory=4 * GIB)), policy, "n0")
    assert made.change == "with 4 nodes more like n1 (--add-node=extra-{1..4}=n1)"


def test_a_fence_of_nodes_that_are_not_there_says_so():
    fleet = cluster(node("n0", ct("a", 20)), node("n1"))
    made = helped_drain(fleet, under(Fence("a", ("rack=r9",))), "n0")
    assert made.containers[0].reasons[0].text == "rule fence: a only on rack=r9 (no node is rack=r9)"


def test_of_two_full_nodes_that_change_places_the_least_room_is_told_however_small_its_node_is():
    for size, said in ((15.5, "with 236.0 MiB more memory on n3"), (8, "with 7.8 GiB more memory on n3")):
        movers = [ct(name, 100 + i, memory=15 * GIB, anon_bytes=200 * MIB) for i, name in enumerate("ab")]
        full = [node(f"n{i}", mover, memory=16 * GIB) for i, mover in enumerate(movers, 1)]
        fleet, policy = cluster(*full, node("n3", memory=int(size * GIB))), PlanPolicy(headroom_percent=3)
        wishes = {"a": "n2", "b": "n1"}
        made = helped(
            move(fleet, wishes, "-", policy, named(wishes)),
            fleet,
            policy,
            lambda facts, rules, wishes=wishes: move(facts, wishes, "-", rules, named(wishes)),
        )
        assert isinstance(made, Refusal)
        assert made.change.startswith(said)
        assert {stuck.change for stuck in made.containers} == {made.change}
        assert not any("more memory" in reason.text for reason in made.reasons)


def test_a_return_brings_back_what_it_can_and_says_what_stays_and_why():
    together = {"anti-affinity": "g"}
    fleet = cluster(
        node("n0"), node("n1", ct("a", 20, together), ct("c", 21)), node("n2", ct("b", 22, together)), node("n3")
    )
    made = bring_back(fleet, {"a": "n0", "b": "n0", "c": "n0"}, "-", under(), "return")
    assert isinstance(made, Plan)
    assert check(fleet, made, under()) == ()
    assert {m.container for m in made.moves} == {"a", "c"}
    (note,) = (note for note in made.notes if note.startswith("container b stays on n2: "))
    assert "n0: a comes there too, and they must not be together; possible without keeping apart what" in note
    assert note.endswith("--waive anti-affinity")


def test_a_return_to_a_cordoned_node_says_how_the_cordon_is_taken_off():
    fleet = cluster(node("n0", cordon="operator"), node("n1", ct("a", 20), ct("b", 21)), node("n2"))
    made = bring_back(fleet, {"a": "n0"}, "-", under(), "return")
    assert isinstance(made, Refusal)
    assert (
        made.containers[0].reasons[0].text
        == "cordoned (by operator); take it off: migrator uncordon n0, or --uncordon n0 to see"
    )
    some = bring_back(fleet, {"a": "n0", "b": "n2"}, "-", under(), "return")
    assert isinstance(some, Plan)
    assert [m.container for m in some.moves] == ["b"]
    assert "migrator uncordon n0" in some.notes[0]


def test_a_node_that_several_rules_close_is_told_with_all_of_them_and_which_to_waive_together():
    web = {"app": "web"}
    fleet = cluster(
        node("n0", ct("a", 20, web), labels={"rack": "r1"}),
        node("n1", ct("b", 21, web), labels={"rack": "r2"}),
    )
    policy = under(DomainsMin("app", "rack", 2), Pin("nobody"), Ban("a", ("n1",)))
    made = helped(
        drain(fleet, ["n0"], "-", policy), fleet, policy, lambda facts, rules: drain(facts, ["n0"], "-", rules)
    )
    assert isinstance(made, Refusal)
    assert made.containers[0].reasons[0].text == (
        "rule spread: at least 2 of rack, and app=web would be in fewer; rule ban: a never on n1"
    )
    assert made.change == (
        "without rules 1 (spread) and 3 (ban): --waive 1 --waive 3, "
        "or with one node more like n0 (--add-node extra-1=n0)"
    )
    assert made.reasons[0].text.startswith(
        "rule 1 (spread): no arrangement can keep app=web in 2 of rack"
    )  # with so few placements nothing is in doubt


def test_a_pinned_container_leaves_no_doubt_that_its_node_cannot_be_emptied():
    held = [ct(f"c{number:02}", 20 + number) for number in range(20)]
    refused = drain(cluster(node("n1", *held), *(node(f"m{n}") for n in range(9))), ["n1"], "-", under(Pin("c07")))
    assert isinstance(refused, Refusal)
    assert refused.reasons == ()


def test_of_many_pairs_that_are_to_be_apart_one_each_goes_back_beside_many_others() -> None:
    small = {"memory": MIB, "disk": MIB, "anon_bytes": MIB, "files_bytes": 0}
    sides = [(n, side) for n in range(8) for side in "ab"]
    pairs = [ct(f"{s}{n}", 1 + 2 * n + (s == "b"), {"anti-affinity": f"pair{n}"}, **small) for n, s in sides]
    others = [ct(f"s{n}", 100 + n, **small) for n in range(300)]
    homes = [node(f"m{n}", *pairs[n::2], *others[n::2], memory=64 * GIB, cpu_milli=640_000) for n in range(2)]
    fleet = cluster(node("n0", memory=64 * GIB, cpu_milli=640_000), *homes)
    wishes = {c.name: "n0" for c in (*pairs, *others)}
    made = bring_back(fleet, wishes, "-", PlanPolicy(blackout_s_max=86_400), "return")
    assert isinstance(made, Plan)
    gone = {m.container for m in made.moves}
    assert [len(gone & {f"a{n}", f"b{n}"}) for n in range(8)] == [1] * 8
    assert {c.name for c in others} <= gone


@pytest.mark.parametrize("fences", [("n4", "n5"), ("n4", "n2 n5"), ("n4 n5", "n2")])
def test_a_drain_finds_places_that_are_free_once_another_has_left_its_domain(fences: tuple[str, str]) -> None:
    web, racks = {"app": "web"}, {"n1": "r1", "n2": "r1", "n3": "r2", "n4": "r2", "n5": "r3"}
    held = {"n1": [ct("a1", 20, web)], "n3": [ct("a2", 21, web)]}
    fleet = cluster(*(node(name, *held.get(name, []), labels={"rack": rack}) for name, rack in racks.items()))
    policy = under(Spread("app", "rack", 1), *(Fence(f"a{i + 1}", tuple(on.split())) for i, on in enumerate(fences)))
    made = drain(fleet, ["n1", "n3"], "-", policy)
    assert isinstance(made, Plan)
    assert check(fleet, made, policy) == ()
