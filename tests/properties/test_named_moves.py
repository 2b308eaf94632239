"""Moves by name: what is planned holds however it is run, and can be planned back."""

from __future__ import annotations

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from migrator.checker.check import check
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.what_if import after
from migrator.planner.moves import move, way_back
from tests.properties.fleets import larger_fleets, named, policies
from tests.properties.oracle import carry_out


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(larger_fleets, policies, st.data())
def test_moves_by_name_hold_however_they_are_run_and_so_does_the_way_back(
    cluster: Cluster, policy: PlanPolicy, data: st.DataObject
) -> None:
    names = [c.name for n in cluster.nodes for c in n.containers]
    nodes = st.sampled_from([node.name for node in cluster.nodes])
    wishes = data.draw(st.dictionaries(st.sampled_from(names), nodes, max_size=4))
    plan = move(cluster, wishes, "-", policy, named(wishes))
    event(type(plan).__name__)
    if not isinstance(plan, Plan):
        assert all(stuck.reasons for stuck in plan.containers)
        return
    event(f"waits: {any(m.waits_for for m in plan.moves)}")
    assert check(cluster, plan, policy) == ()
    assert isinstance(carry_out(cluster, plan, lambda count: data.draw(st.integers(0, count - 1))), Cluster)
    end = after(cluster, plan)
    assert all(end.node(wishes[name]).container(name) for name in wishes)
    back, _ = way_back(end, [(m.container, m.source, m.target) for m in plan.moves])
    home = move(end, back, "-", policy, "return")
    event(f"back: {type(home).__name__}")
    if isinstance(home, Plan):
        assert check(end, home, policy) == ()
