"""The planner, the checker and the plain truth of small fleets agree."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.inventory import plan_file
from migrator.model.facts import Cluster, ContainerFacts, Resources
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.ports import Port
from migrator.model.volume import Mounted, Volume
from migrator.planner.drain import drain
from migrator.planner.moves import move as by_name
from migrator.planner.range_notes import shifts
from tests.properties.fleets import just_feasible_fleets, larger_fleets, named, policies, small_fleets
from tests.properties.oracle import can_drain, carry_out

some = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@some
@given(small_fleets, policies)
def test_there_is_a_plan_exactly_when_some_sequence_of_moves_empties_the_node(
    cluster: Cluster, policy: PlanPolicy
) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    event(type(made).__name__)
    assert isinstance(made, Plan) == can_drain(cluster, "n0", policy)


@settings(some, max_examples=300)
@given(just_feasible_fleets(), st.integers(1, 3))
def test_where_there_is_exactly_enough_room_it_is_found(cluster: Cluster, moves_per_node_max: int) -> None:
    policy = PlanPolicy(headroom_percent=0, moves_per_node_max=moves_per_node_max)
    made = drain(cluster, ["n0"], "-", policy)
    event(type(made).__name__)
    assert isinstance(made, Plan) == can_drain(cluster, "n0", policy)
    if isinstance(made, Plan):
        assert check(cluster, made, policy) == ()


@some
@given(st.one_of(small_fleets, larger_fleets), policies)
def test_the_checker_finds_nothing_in_what_the_planner_returns(cluster: Cluster, policy: PlanPolicy) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    if isinstance(made, Plan):
        event(f"waits: {any(move.waits_for for move in made.moves)}")
        assert check(cluster, made, policy) == ()


@settings(some, max_examples=300)
@given(st.one_of(small_fleets, larger_fleets), policies)
def test_nor_in_a_plan_that_empties_several_nodes_at_once(cluster: Cluster, policy: PlanPolicy) -> None:
    made = drain(cluster, [node.name for node in cluster.nodes[:-1] if not node.error], "-", policy)
    if isinstance(made, Plan):
        event(f"sources: {len({move.source for move in made.moves})}")
        assert check(cluster, made, policy) == ()


@some
@given(larger_fleets, policies, st.data())
def test_however_a_plan_is_run_everything_fits_and_the_node_ends_empty(
    cluster: Cluster, policy: PlanPolicy, data: st.DataObject
) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    if isinstance(made, Plan):
        end = carry_out(cluster, made, lambda count: data.draw(st.integers(0, count - 1)))
        assert isinstance(end, Cluster), end
        assert end.node("n0").containers == ()


@some
@given(larger_fleets, policies)
def test_two_nodes_at_once_go_to_the_others_and_pass_the_checker(cluster: Cluster, policy: PlanPolicy) -> None:
    made = drain(cluster, ["n1", "n0"], "-", policy)
    if isinstance(made, Plan):
        assert not {move.target for move in made.moves} & {"n0", "n1"}
        assert check(cluster, made, policy) == ()


@some
@given(small_fleets, policies)
def test_equal_facts_make_equal_answers_to_the_byte(cluster: Cluster, policy: PlanPolicy) -> None:
    first, second = (drain(cluster, ["n0"], "-", policy) for _ in range(2))
    assert first == second
    if isinstance(first, Plan) and isinstance(second, Plan):
        assert plan_file.dump(first) == plan_file.dump(second)


@some
@given(small_fleets, policies)
def test_a_plan_comes_back_from_its_file_as_it_was(cluster: Cluster, policy: PlanPolicy) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    if isinstance(made, Plan):
        assert plan_file.parse(plan_file.dump(made), "x.json") == made


@some
@given(small_fleets, policies)
def test_a_refusal_names_a_reason_for_every_container_and_every_other_node(
    cluster: Cluster, policy: PlanPolicy
) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    if isinstance(made, Refusal):
        others = {node.name for node in cluster.nodes} - {"n0"}
        assert made.containers
        for stuck in made.containers:
            named = {reason.node for reason in stuck.reasons}
            assert named in ({""}, others)
            assert all(reason.text for reason in stuck.reasons)


@some
@given(larger_fleets, policies, st.data())
def test_what_the_checker_passes_fits_however_it_is_run_even_without_the_planners_waits(
    cluster: Cluster, policy: PlanPolicy, data: st.DataObject
) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    if isinstance(made, Plan):
        hasty = replace(made, moves=tuple(replace(move, waits_for=()) for move in made.moves))
        if check(cluster, hasty, policy) == ():
            assert isinstance(carry_out(cluster, hasty, lambda count: data.draw(st.integers(0, count - 1))), Cluster)
        else:
            event("found")


@some
@given(larger_fleets, policies, st.data())
def test_of_who_must_not_meet_for_ids_or_ports_planner_and_checker_say_the_same(
    cluster: Cluster, policy: PlanPolicy, data: st.DataObject
) -> None:
    crowded = with_equal_ids_and_ports(cluster, data)
    made = drain(crowded, ["n0"], "-", policy)
    event(type(made).__name__)
    if isinstance(made, Plan):
        assert check(crowded, made, policy) == ()
        assert not [move for move in shifts(crowded, made.moves) if is_kept(crowded, move.partition("#")[0])]
    names = [container.name for node in crowded.nodes for container in node.containers]
    wishes = {name: data.draw(st.sampled_from([node.name for node in crowded.nodes])) for name in names[:6]}
    asked = by_name(crowded, wishes, "-", policy, named(wishes))
    if isinstance(asked, Plan):
        event(f"waits: {any(move.waits_for for move in asked.moves)}")
        assert check(crowded, asked, policy) == ()


def with_equal_ids_and_ports(cluster: Cluster, data: st.DataObject) -> Cluster:
    """Two ranges of ids for all; some containers have files on a shared volume, some publish a port. There is room."""
    volumes = st.sampled_from([*[()] * 5, (Volume("docs", "/srv/docs"),)])
    hosts = st.sampled_from([*[None] * 5, "", "192.0.2.1", "192.0.2.2"])

    def changed(container: ContainerFacts) -> ContainerFacts:
        assert container.descriptor is not None
        host = data.draw(hosts)
        given = {
            "id_index": data.draw(st.integers(16, 17)),
            "volumes": data.draw(volumes),
            "published": () if host is None else (Port(80, 80, "tcp", host),),
        }
        return replace(container, descriptor=replace(container.descriptor, **given))

    roomy = {"capacity": Resources(10**6, 1 << 50, 1 << 50), "volumes": {"docs": Mounted("/srv")}}
    roomy |= {"memory_available_bytes": 1 << 50, "disk_available_bytes": 1 << 50}
    nodes = (replace(node, containers=tuple(map(changed, node.containers)), **roomy) for node in cluster.nodes)
    return replace(cluster, nodes=tuple(nodes))


def is_kept(cluster: Cluster, name: str) -> bool:
    found = next(c for node in cluster.nodes for c in node.containers if c.name == name)
    return bool(found.descriptor and found.descriptor.volumes)
