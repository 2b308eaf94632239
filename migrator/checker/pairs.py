"""Does each container suit the node that it goes to? Machine, versions, volumes, what is there already, the pause."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.checker.findings import Code, Finding
from migrator.checker.machines import unlike
from migrator.checker.ways import expected, speeds_by_facts
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.plan import Plan
from migrator.model.plan_policy import INODES_MIN, PlanPolicy
from migrator.model.units import format_seconds


def pair_findings(cluster: Cluster, plan: Plan, policy: PlanPolicy) -> Iterator[Finding]:
    """Every move whose two nodes and container do not go together."""
    nodes = {node.name: node for node in cluster.nodes}
    between = speeds_by_facts(cluster)
    homes = {move.container: move.source for move in plan.moves if move.leg == 1}
    for move in plan.moves:
        source, target = nodes[move.source], nodes[move.target]
        if source.error or target.error:
            continue  # nothing is known of a node that does not answer, and that is a finding of its own
        container = next((c for c in nodes[homes[move.container]].containers if c.name == move.container), None)
        if container is None:
            continue
        alike = unlike(source, container, target, policy.checks_waived)
        for why in (*alike, *_in_the_way(container, target)):
            text = f"container {move.container} cannot run on {target.name}: {why}"
            yield Finding(Code.INCOMPATIBLE, text, move.container, target.name)
        for why in _volumes(container, target):
            text = f"container {move.container} cannot run on {target.name}: {why}"
            yield Finding(Code.VOLUME_MISSING, text, move.container, target.name)
        for why in _devices(container, target):
            text = f"container {move.container} cannot run on {target.name}: {why}"
            yield Finding(Code.DEVICE_MISSING, text, move.container, target.name)
        predicted_s = expected(container, source, target, policy, between(source.name, target.name))[1].blackout_s
        if predicted_s > policy.blackout_s_max:
            text = (
                f"container {move.container}: its pause is predicted at {format_seconds(predicted_s)}, over the "
                f"limit of {format_seconds(policy.blackout_s_max)}"
            )
            yield Finding(Code.PAUSE_TOO_LONG, text, move.container, target.name)


def suits(source: NodeFacts, container: ContainerFacts, target: NodeFacts, policy: PlanPolicy) -> bool:
    """Whether one node's container could be on another, by machine, volumes, devices, whatever is there."""
    alike = unlike(source, container, target, policy.checks_waived)
    of_container = (*_in_the_way(container, target), *_volumes(container, target), *_devices(container, target))
    return not any((*alike, *of_container))


def machine_looks(node: NodeFacts) -> object:
    """All of a node that is compared with another's machine: equal for nodes that are alike."""
    software = (node.criu, node.runc, node.rsync, node.features, node.cgroup_version, node.stream_out[:6] == "Python")
    kernel = (node.cpu_flags, node.cpu_state, node.controllers, node.lsm)
    return (node.arch, kernel, software, node.filesystem, node.bridge, node.bridges, node.inodes_available < INODES_MIN)


def _in_the_way(container: ContainerFacts, target: NodeFacts) -> Iterator[str]:
    descriptor = container.descriptor
    if descriptor is None:
        return
    if descriptor.init == "systemd" and target.cgroup_version == 1:
        yield "its cgroups are of version 1, and an init that divides its own needs version 2"
    for nic in descriptor.nics:
        if not any(bridge == nic.bridge for bridge in target.bridges):
            yield f"it has no bridge {nic.bridge} for {nic.name}"


def _volumes(container: ContainerFacts, target: NodeFacts) -> Iterator[str]:
    for volume in container.descriptor.volumes if container.descriptor else ():
        if volume.name not in target.volumes:
            yield f"no volume {volume.name} is declared for it"
        elif why := target.volumes[volume.name].fault:
            yield f"it has no volume {volume.name} ({why})"


def _devices(container: ContainerFacts, target: NodeFacts) -> Iterator[str]:
    wanted = container.descriptor.devices if container.descriptor else ()
    for device in sorted(set(wanted) - set(target.devices)):
        yield f"it has no device {device}"
