"""Would a container of this node live on that one? What must be equal, what must be there; room is not asked here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from migrator.model.confinement import devices_lacking
from migrator.model.container import Descriptor
from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.plan_policy import INODES_MIN
from migrator.model.volume import lacking

TOOLS = ("criu", "runc", "rsync")
RESTORES = ("network_lock_nftables", "timens", "userns")  # without which an image is not restored


def differences(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    """What of the two machines keeps every container of one from running on the other, with what to do."""
    yield from _architecture(source, target)
    yield from _of_restores(source, target)
    yield from _room_for_any(target)


def machine_of(node: NodeFacts) -> object:
    """Equal for nodes of which `differences` says the same, whichever is the source and whichever the target."""
    tools = (node.criu, node.runc, node.rsync)
    machine = (node.arch, node.cpu_flags, node.cgroup_version, tools, node.bridge, node.bridges, node.features)
    return (*machine, min(node.inodes_available, INODES_MIN))


def differences_in_files(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    """The same for containers that begin anew there: nothing is restored, so nothing has to be as CRIU left it."""
    yield from _architecture(source, target)
    for tool in ("runc", "rsync"):
        if not getattr(target, tool):
            yield f"{tool} is not installed there; install it"
    yield from _room_for_any(target)


def _architecture(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    if source.arch != target.arch:
        yield f"architecture {target.arch} is not {source.arch}; choose a node of the same"


def _room_for_any(target: NodeFacts) -> Iterator[str]:
    if target.bridge not in target.bridges:
        yield f"bridge {target.bridge} is not there; make it, or name another in the cluster file"
    if target.inodes_available < INODES_MIN:
        yield f"{target.inodes_available} inodes are free, {INODES_MIN} are wanted; delete files there"


def _of_restores(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    missing = sorted(set(source.cpu_flags) - set(target.cpu_flags))
    if missing:
        yield f"its CPU lacks {', '.join(missing[:6])}, which programs may use; choose a node with the same features"
    if source.cgroup_version != target.cgroup_version:
        yield f"cgroup version {target.cgroup_version} is not {source.cgroup_version}; boot both with the same"
    yield from _tools(source, target)
    absent = [name for name in RESTORES if name in source.features and name not in target.features]
    if absent:
        yield f"its kernel or CRIU cannot do {', '.join(absent)}, which the source uses; upgrade them"


def _tools(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    for tool in TOOLS:
        if not getattr(target, tool):
            yield f"{tool} is not installed there; install it"
    for name, ours, theirs in (("CRIU", source.criu, target.criu), ("runc", source.runc, target.runc)):
        if theirs and version(theirs) < version(ours):
            yield f"{name} {theirs} is older than the source's {ours}; upgrade it"


def lacks(container: ContainerFacts, target: NodeFacts) -> Iterator[str]:
    """What the processes of this container use and the target's kernel does not have: CRIU would fail in the pause."""
    missing = [need for need in container.needs if need not in target.features]
    if missing:
        yield (
            f"its kernel {target.kernel} has no {', '.join(missing)}, which the container's processes use; "
            "choose a node with a newer kernel"
        )


def obstacles(ct: Descriptor, target: NodeFacts) -> Iterator[str]:
    """What is on the target already and in this container's way, or is not and is to be, with what to do."""
    there = target.container(ct.name)
    if there is not None and there.state != "reserved":
        yield f"there is a container of that name already ({there.state})"
    for other in target.containers:
        if other.name != ct.name and other.descriptor and other.descriptor.id_index == ct.id_index:
            yield f"container {other.name} has the same range of user ids ({ct.id_base}); recreate one of them"
    digest = target.templates.get(ct.template)
    if digest is not None and digest != ct.template_digest:
        yield f"template {ct.template} is another one there; make them the same"
    yield from lacking(ct.volumes, target.volumes)
    yield from devices_lacking(ct.devices, target.devices)


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing: "4.2.1-rc2" is (4, 2, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
