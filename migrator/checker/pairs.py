"""Does each container suit the node that it goes to? Machine, versions, volumes, what is there already, the pause."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.checker.findings import Code, Finding
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
        for why in (*_machine(source, target), *_in_the_way(container, target)):
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


def suits(source: NodeFacts, container: ContainerFacts, target: NodeFacts) -> bool:
    """Whether one node's container could be on another, by machine, template, volumes, devices, whatever is there."""
    of_container = (*_in_the_way(container, target), *_volumes(container, target), *_devices(container, target))
    return not any((*_machine(source, target), *of_container))


def machine_looks(node: NodeFacts) -> object:
    """All of a node that is compared with another's machine: equal for nodes that are alike."""
    software = (node.criu, node.runc, node.rsync, node.features, node.cgroup_version)
    return (node.arch, node.cpu_flags, software, node.bridge, node.bridges, node.inodes_available < INODES_MIN)


def _machine(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    if target.arch != source.arch:
        yield f"it is {target.arch}, not {source.arch}"
    lacking = [flag for flag in source.cpu_flags if flag not in target.cpu_flags]
    if lacking:
        yield f"its CPU has no {', '.join(lacking)}"
    if target.cgroup_version != source.cgroup_version:
        yield f"its cgroups are of version {target.cgroup_version}, not {source.cgroup_version}"
    yield from _software(source, target)
    if not any(bridge == target.bridge for bridge in target.bridges):
        yield f"it has no bridge {target.bridge}"
    if target.inodes_available < INODES_MIN:
        yield f"it has {target.inodes_available} inodes free"


def _software(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    tools = {"criu": target.criu, "runc": target.runc, "rsync": target.rsync}
    for tool, installed in tools.items():
        if installed == "":
            yield f"it has no {tool}"
    if target.criu and _numbers(target.criu) < _numbers(source.criu):
        yield f"its CRIU {target.criu} is older than {source.criu}"
    if target.runc and _numbers(target.runc) < _numbers(source.runc):
        yield f"its runc {target.runc} is older than {source.runc}"
    for feature in sorted(set(source.features) - set(target.features)):
        if feature in ("userns", "timens", "network_lock_nftables"):
            yield f"its kernel or CRIU has no {feature}"


def _in_the_way(container: ContainerFacts, target: NodeFacts) -> Iterator[str]:
    for need in container.needs:
        if need not in target.features:
            yield f"its kernel has no {need}, which processes of the container use"
    descriptor = container.descriptor
    if descriptor is None:
        return
    there = target.templates.get(descriptor.template, descriptor.template_digest)
    if there != descriptor.template_digest:
        yield f"its template {descriptor.template} is another"


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


def _numbers(version: str) -> list[int]:
    """ "4.2-rc1" is [4, 2]: what comes after the first part that is no number is not compared."""
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return numbers
