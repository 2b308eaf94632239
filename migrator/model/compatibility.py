"""Would a container of this node live on that one? What must be equal, what must be there; room is not asked here."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from migrator.model import nics, ports
from migrator.model.confinement import devices_lacking
from migrator.model.container import Descriptor
from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.init import lacks_group
from migrator.model.io_limits import IO_FEATURE, NO_IO
from migrator.model.plan_policy import INODES_MIN
from migrator.model.ranges import must_not_meet
from migrator.model.sameness import KERNEL_FEATURES, failing, offered
from migrator.model.volume import lacking


def differences(source: NodeFacts, target: NodeFacts, waived: Collection[str] = ()) -> Iterator[str]:
    """What of the two machines keeps every container of one from running on the other, with what to do.

    `waived` are names of checks (sameness.py) that are not asked.
    """
    return (why for _, why in failing(source, target, waived))


def machine_of(node: NodeFacts) -> object:
    """Equal for nodes of which `differences` says the same, whichever is the source and whichever the target."""
    tools = (node.criu, node.runc, node.rsync)
    groups = (node.cgroup_version, node.stream_out.startswith("Python"))
    machine = (node.arch, node.cpu_flags, groups, tools, node.bridge, node.bridges, node.features)
    more = (node.cpu_state, node.controllers, node.lsm, node.filesystem)
    return (*machine, *more, min(node.inodes_available, INODES_MIN))


def differences_in_files(source: NodeFacts, target: NodeFacts, waived: Collection[str] = ()) -> Iterator[str]:
    """The same for containers that begin anew there: nothing is restored, so nothing has to be as CRIU left it."""
    return (why for _, why in failing(source, target, waived, anew=True))


def lacks(container: ContainerFacts, target: NodeFacts, waived: Collection[str] = ()) -> Iterator[str]:
    """What the processes of this container use and the target's kernel does not have: CRIU would fail in the pause."""
    yield from without_runtime(container, target)
    missing = [need for need in container.needs if need not in target.features]
    if KERNEL_FEATURES in waived:
        return
    if IO_FEATURE in missing:  # no part of a kernel alone, and nothing that its processes use
        missing.remove(IO_FEATURE)
        yield offered(KERNEL_FEATURES, f"--io: it {NO_IO}; choose another node")
    if missing:
        yield offered(
            KERNEL_FEATURES,
            f"its kernel {target.kernel} has no {', '.join(missing)}, which the container's processes use; "
            "choose a node with a newer kernel",
        )


def without_runtime(container: ContainerFacts, target: NodeFacts) -> Iterator[str]:
    """What no waiver lifts: runc is there if anything is, another runtime is told as a feature of the node."""
    if container.runtime not in ("runc", *target.features):
        yield f"{container.runtime}, which the container is made by, is not there, or not built with CRIU; install it"


def obstacles(ct: Descriptor, target: NodeFacts) -> Iterator[str]:
    """What is on the target already and in this container's way, or is not and is to be, with what to do."""
    there = target.container(ct.name)
    if there is not None and there.state != "reserved":
        yield f"there is a container of that name already ({there.state})"
    for other in target.containers:
        if other.name != ct.name and other.descriptor and must_not_meet(ct, other.descriptor):
            way = "recreate one of them" if ct.volumes else "moved there by its name it gets another (migrator migrate)"
            why = f"container {other.name} has the same range of user ids ({ct.id_base})"
            yield f"{why}, and files on shared volumes keep theirs; {way}"
    yield from lacking(ct.volumes, target.volumes)
    yield from devices_lacking(ct.devices, target.devices)
    yield from nics.lacking(ct.nics, target.bridges)
    yield from ports.lacking(ct.name, ct.published, target.containers)
    if why := lacks_group(ct, target.cgroup_version):
        yield f"{why}; boot it with version 2"
