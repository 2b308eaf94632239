"""A node for containers that are to be made, and for one that is to have more than its node has.

Theory. Both are asked of the planner as what it knows already: containers that leave a node. Those that are to be made
leave one that holds nothing else and that is like every other, so that no difference of machines is in their way.
One that is to have more leaves where it is with its new size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from migrator.model.container import Descriptor
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.plan import NOWHERE, Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rules import Pin
from migrator.planner.construct import Built, Choice, construct
from migrator.planner.look_closely import place_closely
from migrator.planner.placement import Mover
from migrator.planner.survive import survivable


def place_new(cluster: Cluster, ct: Descriptor, policy: PlanPolicy) -> Choice | Refusal:
    """Where a container would best be made; of its descriptor digest and range of user ids do not matter."""
    chosen = place_all(cluster, (ct,), policy)
    return chosen if isinstance(chosen, Refusal) else chosen[ct.name]


def place_all(cluster: Cluster, cts: Sequence[Descriptor], policy: PlanPolicy) -> dict[str, Choice] | Refusal:
    """Where containers of one template would best be made, each beside the others: by name, for all or for none."""
    ct = cts[0]
    intent = f"place {ct.name}" if len(cts) == 1 else f"place {ct.name} to {cts[-1].name}"
    able = [node.name for node in cluster.nodes if node.answered and ct.template in node.templates]
    new = tuple(_new(each) for each in cts)
    alike = [_alike(node) for node in cluster.nodes]
    if not able:
        silent = [Reason(f"no answer: {node.error}", node.name) for node in cluster.nodes if not node.answered]
        return Refusal(intent, reasons=(Reason(f"no node that answers has template {ct.template}"), *silent))
    model = next(node for node in alike if node.name == able[0])
    source = replace(model, name=NOWHERE, labels={}, cordon=None, containers=new, cpu_flags=(), features=())
    source = replace(source, criu="", runc="", capacity=Resources(2**50, 2**50, 2**50), memory_available_bytes=2**50)
    whole = replace(cluster, nodes=(*alike, source))
    lacking = tuple(
        Reason(f"template {ct.template} is not there", node.name)
        for node in cluster.nodes
        if node.answered and node.name not in able
    )
    targets = [node for node in alike if node.name in able or not node.answered]
    # A pin says where one stays that is there already; and nobody finds refuge on a node that is none.
    free = replace(policy, rules=tuple(rule for rule in policy.rules if not isinstance(rule, Pin)))
    movers = [Mover(facts, each, source) for facts, each in zip(new, cts, strict=True)]
    return _placed(movers, targets, free, whole, intent, lacking, (NOWHERE,))


def _new(ct: Descriptor) -> ContainerFacts:
    reserved = Resources(ct.cpu_milli, ct.memory_bytes, ct.disk_bytes)
    return ContainerFacts(ct.name, "serving", 0, 0, True, "-", reserved, descriptor=ct)


def place_grown(cluster: Cluster, name: str, source: str, demand: Resources, policy: PlanPolicy) -> Choice | Refusal:
    """Where a container would best go that is to have `demand`. KeyError where that node does not have it."""
    intent = f"find room for {name}"
    home = cluster.node(source)
    found = home.container(name)
    if found is None:
        raise KeyError(name)
    if found.descriptor is None or not found.alive:
        why = "it is not running, and only what runs is moved; ask where it would fit, and create it there"
        return Refusal(intent, (Stuck(name, source, (Reason(why),)),))
    grown = replace(found, reserved=demand)
    others = tuple(grown if c.name == name else c for c in home.containers)
    home = replace(home, containers=others)
    whole = replace(cluster, nodes=tuple(home if node.name == source else node for node in cluster.nodes))
    targets = [node for node in whole.nodes if node.name != source]
    chosen = _placed([Mover(grown, found.descriptor, home)], targets, policy, whole, intent)
    return chosen if isinstance(chosen, Refusal) else chosen[name]


def _placed(
    movers: Sequence[Mover],
    targets: Sequence[NodeFacts],
    policy: PlanPolicy,
    cluster: Cluster,
    intent: str,
    lacking: tuple[Reason, ...] = (),
    empties: tuple[str, ...] = (),
) -> dict[str, Choice] | Refusal:
    """The least loaded nodes that take them under the rules; soft ones as far as they can be kept."""
    open_nodes = [node for node in targets if node.answered and node.cordon is None]
    built = construct(movers, open_nodes, policy, cluster)
    if built.stuck and any(rule.soft for rule in policy.rules):
        policy = replace(policy, rules=tuple(rule for rule in policy.rules if not rule.soft))
        built = construct(movers, open_nodes, policy, cluster)
    if built.stuck:
        choices, homeless, doubts = place_closely(movers, built, targets, policy, cluster)
        if homeless:
            stuck = tuple(replace(s, reasons=(*s.reasons, *lacking)) for s in homeless)
            return Refusal(intent, stuck, doubts)
        built = Built(choices, ())
    built, unsafe = survivable(movers, built, open_nodes, empties, policy, cluster)
    return Refusal(intent, reasons=unsafe) if unsafe else built.choices


def _alike(node: NodeFacts) -> NodeFacts:
    """A node as it is for a container that nothing was ever restored of."""
    return replace(node, arch="", cgroup_version=0)
