"""Volumes restrict where containers can go: planner, checker and the plain truth agree about it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.volume import Mounted, Volume
from migrator.planner.drain import drain
from tests.properties.fleets import larger_fleets, policies, small_fleets
from tests.properties.oracle import can_drain

VOLUMES = ("data", "logs")
some = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def with_volumes(draw: st.DrawFn, fleets: st.SearchStrategy[Cluster]) -> Cluster:
    """A fleet in which some containers have volumes, and some nodes lack some."""

    def held(container: ContainerFacts) -> ContainerFacts:
        names = draw(st.sets(st.sampled_from(VOLUMES), max_size=1))
        assert container.descriptor is not None
        volumes = tuple(Volume(name, f"/srv/{name}") for name in sorted(names))
        template = draw(st.sampled_from(["debian", "rare"]))  # which is on no node, so it is against none
        return replace(container, descriptor=replace(container.descriptor, volumes=volumes, template=template))

    def equipped(node: NodeFacts) -> NodeFacts:
        states = {name: draw(st.sampled_from(["", "", "", "away", "unnamed"])) for name in VOLUMES}
        volumes = {name: Mounted(f"/mnt/{name}", state) for name, state in states.items() if state != "unnamed"}
        return replace(node, volumes=volumes, containers=tuple(held(c) for c in node.containers))

    fleet = draw(fleets)
    return replace(fleet, nodes=tuple(equipped(node) for node in fleet.nodes))


@some
@given(with_volumes(small_fleets), policies)
def test_there_is_a_plan_exactly_when_every_volume_has_a_node_that_mounts_it(
    cluster: Cluster, policy: PlanPolicy
) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    event(type(made).__name__)
    assert isinstance(made, Plan) == can_drain(cluster, "n0", policy)


@some
@given(with_volumes(st.one_of(small_fleets, larger_fleets)), policies)
def test_the_checker_finds_nothing_and_no_move_leads_away_from_a_volume(cluster: Cluster, policy: PlanPolicy) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    if isinstance(made, Plan):
        event(f"moves: {bool(made.moves)}")
        assert check(cluster, made, policy) == ()
        for move in made.moves:
            container, target = cluster.node("n0").container(move.container), cluster.node(move.target)
            assert container is not None
            assert container.descriptor is not None
            for volume in container.descriptor.volumes:
                assert target.volumes[volume.name].fault == ""


@some
@given(with_volumes(small_fleets), policies)
def test_a_refusal_names_the_volume_that_a_node_lacks(cluster: Cluster, policy: PlanPolicy) -> None:
    made = drain(cluster, ["n0"], "-", policy)
    if not isinstance(made, Refusal):
        return
    for stuck in made.containers:
        container = cluster.node("n0").container(stuck.container)
        volumes = container.descriptor.volumes if container and container.descriptor else ()
        for node in cluster.nodes[1:]:
            told = " ".join(reason.text for reason in stuck.reasons if reason.node == node.name)
            for volume in volumes if not node.error and node.cordon is None and told else ():
                lacking = volume.name not in node.volumes or bool(node.volumes[volume.name].fault)
                assert (f"volume {volume.name}:" in told) == lacking
