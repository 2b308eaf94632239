"""A container that a runtime began without us: what can be moved, who would restart it, what it is as ours.

Ours are in a user namespace of their own, on a layer of files of their own, with one cable to the node's bridge;
nothing of them leads to the node. What began otherwise cannot be made so while it runs, and each finding says in what.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from migrator.model.address import canonical
from migrator.model.confinement import ADDABLE, ALL, CAPABILITIES
from migrator.model.container import ID_INDEX_MAX, ID_INDEX_MIN, ID_RANGE, Descriptor
from migrator.model.facts import Resources
from migrator.model.units import format_bytes

TEMPLATE = "adopted"  # of no files: all that it stands on is its own
OWN_NAMESPACES = ("pid", "net", "ipc", "uts", "mnt", "user")
_MOUNTS = ("proc", "sysfs", "tmpfs", "devpts", "mqueue")
_BEHIND = re.compile(r"/(proc|sys)/.*|/dev/(null|zero|full|random|urandom|tty)")  # masked, or given by the runtime
# Programs that start again what has ended, by the name that the kernel tells (15 characters at most).
_WATCHERS = {
    "containerd-shim": "containerd",
    "conmon": "podman or CRI-O",
    "dockerd": "docker",
    "supervisord": "supervisord",
    "runsv": "runit",
    "s6-supervise": "s6",
    "supervise": "daemontools",
    "monit": "monit",
    "systemd": "systemd, of a user",
}
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")
_SCOPES = (("docker-", "docker"), ("libpod-", "podman"), ("crio-", "CRI-O"), ("cri-containerd-", "containerd"))


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a node tells of one. All but the first three are known of a running one alone.

    `mounts` are (kind, target), `outside` those that lead to the node (target, a device's name or the node's path),
    `untold` how many there are of which nothing is told,
    `links` (name, MAC, host's end, bridge), `descriptors` those that lead out of it (pid, number, to what),
    `parents` who would notice its end (pid, name), nearest first, `group` its cgroup, `strangers` what is in that and
    not in the container (pid, name).
    """

    runtime: str
    status: str
    pid: int
    started: str = ""
    rootfs: str = ""
    root_type: str = ""
    same_disk: bool = False
    namespaces: dict[str, bool] | None = None
    uid_map: tuple[tuple[int, int, int], ...] = ()
    gid_map: tuple[tuple[int, int, int], ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    outside: tuple[tuple[str, str], ...] = ()
    untold: int = 0
    binds: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    handler: str = ""
    terminal: bool = False
    descriptors: tuple[tuple[str, str, str], ...] = ()
    parents: tuple[tuple[str, str], ...] = ()
    group: str = ""
    strangers: tuple[tuple[str, str], ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = "/"
    uid: int = 0
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = False
    memory_bytes: int = 0
    files_kib: int = 0
    links: tuple[tuple[str, str, str, str], ...] = ()
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `what` it is of, whether it is `fit` to be moved, and in words."""

    what: str
    fit: bool
    text: str


def findings(
    seen: Foreign,
    name: str,
    bridge: str,
    ids_taken: Collection[int],
    addresses: tuple[str, ...],
    features: Collection[str] = (),
) -> list[Finding]:
    """All that decides whether it can be ours by a name, a line each; `addresses` are for one without network.

    `features` are what its node has beside what all have: a crun that can dump among them.
    """
    runtime = _runtime(seen, features)
    if not runtime.fit and seen.status != "running":
        return [runtime]
    if seen.status != "running":
        return [Finding("state", False, f"it is {seen.status}, not running; there is nothing to take")]
    return [
        runtime,
        *_files(seen),
        *_ids(seen, ids_taken),
        *_namespaces(seen, name),
        *_group(seen, name),
        *_mounts(seen),
        *_network(seen, bridge, addresses),
        *_reaching_out(seen),
        *_process(seen),
        *_restarters(seen),
    ]


def _runtime(seen: Foreign, features: Collection[str]) -> Finding:
    if seen.runtime not in ("runc", *features):
        return Finding("runtime", False, f"{seen.runtime} made it, and is not there any more, or not built with CRIU")
    if seen.handler:
        return Finding("runtime", False, f"{seen.runtime} runs it by {seen.handler[:80]} (run.oci.handler)")
    return Finding("runtime", True, f"{seen.runtime}, first process {seen.pid}")


def _files(seen: Foreign) -> Iterator[Finding]:
    if not seen.rootfs:
        yield Finding("files", False, "its root is not the directory that its bundle names")
    elif seen.root_type == "overlay":
        yield Finding("files", False, "its root is an overlay over layers of somebody else's")
    elif not seen.same_disk:
        yield Finding("files", False, f"{seen.rootfs} is on another filesystem than /var/lib/migrator")
    else:
        yield Finding("files", True, f"a directory ({seen.root_type}) of {seen.files_kib >> 10} MiB: {seen.rootfs}")


def id_index(seen: Foreign) -> int | None:
    """The number of its range of user ids, if that is one that a container of ours could have."""
    if len(seen.uid_map) != 1 or seen.uid_map != seen.gid_map:
        return None
    inner, base, size = seen.uid_map[0]
    index, rest = divmod(base, ID_RANGE)
    fits = inner == rest == 0 and size == ID_RANGE and ID_INDEX_MIN <= index < ID_INDEX_MAX
    return index if fits else None


def _ids(seen: Foreign, taken: Collection[int]) -> Iterator[Finding]:
    index = id_index(seen)
    if seen.namespaces is not None and not seen.namespaces.get("user"):
        return  # said as a namespace
    if index is None:
        told = ", ".join(f"{inner} is {base} for {size}" for inner, base, size in seen.uid_map[:3])
        yield Finding("user ids", False, f"not one range of {ID_RANGE} from a multiple of that on ({told})")
    elif index in taken:
        yield Finding("user ids", False, f"another container of the cluster has the range from {index * ID_RANGE} on")
    else:
        yield Finding("user ids", True, f"{ID_RANGE} from {index * ID_RANGE} on")


def _namespaces(seen: Foreign, name: str) -> Iterator[Finding]:
    own = seen.namespaces or {}
    for kind in OWN_NAMESPACES:
        if kind == "user" and not own.get(kind):
            why = "it has no user namespace: its root is the node's, and would be that of every node it came to"
            yield Finding("namespaces", False, why)
        elif not own.get(kind):
            yield Finding("namespaces", False, f"it has no {kind} namespace of its own")
    leaves = bool(own.get("cgroup")) and seen.group != f"/ct/{name}"
    if leaves:
        why = f"it has a cgroup namespace, and cannot leave group {seen.group[:80]} (CRIU); begin it in /ct/{name}"
        yield Finding("namespaces", False, why)
    if all(own.get(kind) for kind in OWN_NAMESPACES) and not leaves:
        yield Finding("namespaces", True, f"its own: {', '.join(OWN_NAMESPACES)}")


def _group(seen: Foreign, name: str) -> Iterator[Finding]:
    """Its processes leave it, and nobody else's may: what a runtime began without a group is in its caller's."""
    group, parts = seen.group[:80], seen.group.split("/")
    if parts[0] or not all(parts[1:] or [""]) or ".." in parts:
        yield Finding("group", False, f"its group is {group or 'none'}; begin it in one of its own (cgroupsPath)")
    elif parts[1] == "ct" and parts[2:3] != [name]:
        yield Finding("group", False, f"its group is {group}, which is for another container; begin it elsewhere")
    elif seen.strangers:
        told = ", ".join(f"{comm} ({pid})" for pid, comm in seen.strangers[:5])
        yield Finding("group", False, f"its group {group} has others' processes: {told}; begin it in its own")
    else:
        yield Finding("group", True, f"its own: {group}")


def _is_given(target: str, source: str) -> bool:
    """Whether a runtime binds that in by itself: a device that it cannot make, or null over what it hides."""
    return target == f"/dev/{source}" or (source == "null" and target.startswith(("/proc/", "/sys/")))


def _mounts(seen: Foreign) -> Iterator[Finding]:
    wrong = [f"{target} is bound in from the node" for target in seen.binds]
    wrong += [
        f"{target} is the node's {source}"
        for target, source in seen.outside
        if not _is_given(target, source) and target not in seen.binds
    ]
    shares = not (seen.namespaces or {}).get("cgroup")
    for kind, target in seen.mounts:
        if kind.startswith("cgroup") and shares and target not in seen.binds:
            wrong.append(f"{target} shows the node's control groups, as it has no cgroup namespace")
        elif kind not in _MOUNTS and not _BEHIND.fullmatch(target) and target not in seen.binds:
            wrong.append(f"{target} is a mount of {kind}")
    if seen.untold:
        wrong.append(f"it has {seen.untold} mounts more than are looked at")
    wrong += [f"device {device} was asked for" for device in seen.devices]
    for text in wrong:
        yield Finding("mounts", False, text)
    if not wrong:
        yield Finding("mounts", True, "only such as a restore makes anew")


def _network(seen: Foreign, bridge: str, addresses: tuple[str, ...]) -> Iterator[Finding]:
    if not seen.links:
        if addresses:
            yield Finding("network", True, f"none; it gets {' '.join(addresses)} on {bridge}")
        else:
            yield Finding("network", False, "none; give it an address with --ip")
        return
    names = ", ".join(name for name, *_ in seen.links)
    name, _, host, master = seen.links[0]
    if addresses:
        yield Finding("network", False, f"it has {names} already; leave out --ip")
    elif len(seen.links) > 1 or name != "eth0":
        yield Finding("network", False, f"its cards are {names}, and a container of ours has eth0 alone")
    elif master != bridge:
        yield Finding("network", False, f"eth0 is not at bridge {bridge} by a cable (veth) of its own")
    elif not seen.addresses:
        yield Finding("network", False, "eth0 has no address")
    else:
        yield Finding("network", True, f"eth0 ({host} at {master}) with {' '.join(seen.addresses)}; its MAC changes")


def _reaching_out(seen: Foreign) -> Iterator[Finding]:
    if seen.terminal:
        yield Finding("terminal", False, "it has a terminal that a program of the node holds")
    for pid, number, leads in seen.descriptors:
        yield Finding("open files", False, f"process {pid} has {leads[:80]} open as {number}, which is not in it")
    if not seen.terminal and not seen.descriptors:
        yield Finding("open files", True, "all of them are in it")


def _process(seen: Foreign) -> Iterator[Finding]:
    if seen.uid != 0:
        yield Finding("command", False, f"it begins as user {seen.uid}; ours begin as their root")
    if seen.hooks:
        yield Finding("command", False, f"it has hooks that nobody would run again: {', '.join(seen.hooks)}")
    if extra := sorted(set(seen.capabilities) - {*CAPABILITIES, *ADDABLE}):
        yield Finding("command", False, f"capabilities that none of ours has: {', '.join(extra)}")
    if not seen.args:
        yield Finding("command", False, "its bundle has no command")
    if seen.uid == 0 and not seen.hooks and not extra and seen.args:
        yield Finding("command", True, f"{seen.args[0][:80]}; from its next cold start on under our filter of calls")


def _restarters(seen: Foreign) -> Iterator[Finding]:
    found = [
        f"{name} ({pid}) watches it for {whose}"
        for pid, name in seen.parents
        for watcher, whose in _WATCHERS.items()
        if name.startswith(watcher)
    ]
    found += [f"its group is one of {whose}'s" for mark, whose in _SCOPES if f"/{mark}" in seen.group]
    if unit := _UNIT.search(seen.group):
        found.append(f"systemd runs it as {unit[0]}")
    for text in found:
        yield Finding("restarter", False, f"{text}, and would start it again; end that first, leaving it running")
    if not found:
        others = ", ".join(f"{name} ({pid})" for pid, name in seen.parents)
        yield Finding("restarter", True, f"none known; above it: {others or 'the first process of the node'}")


def room_for(ct: Descriptor, room: Resources) -> Finding:
    """Whether what it would hold is free on its node, where it runs already without having asked for it."""
    lacks = []
    for what, needed, free, unit in (
        ("memory (--memory)", ct.memory_bytes, room.memory_bytes, format_bytes),
        ("CPUs (--cpus)", ct.cpu_milli, room.cpu_milli, _cpus),
        ("disk", ct.disk_bytes, room.disk_bytes, format_bytes),
    ):
        if needed > free:
            lacks.append(f"{what}: it would hold {unit(needed)}, and {unit(max(0, free))} are free")
    told = f"{'; '.join(lacks)}; say less, or move something away" if lacks else "what it holds is free on its node"
    return Finding("room", not lacks, told)


def _cpus(milli: float) -> str:
    return f"{milli / 1000:g}"


def descriptor_of(
    seen: Foreign, name: str, digest: str, addresses: tuple[str, ...], memory_bytes: int, cpu_milli: int
) -> Descriptor:
    """What it is as a container of ours; all findings are fit."""
    address, *more = addresses or tuple(canonical(text) for text in seen.addresses)
    v4 = next((gateway for gateway in seen.gateways if gateway and ":" not in gateway), None)
    v6 = next((gateway for gateway in seen.gateways if ":" in gateway), None)
    added = tuple(sorted(set(seen.capabilities) - set(CAPABILITIES)))
    dropped = tuple(sorted(set(CAPABILITIES) - set(seen.capabilities)))
    return Descriptor(
        name=name,
        template=TEMPLATE,
        template_digest=digest,
        runtime="crun" if seen.runtime == "crun" else "runc",
        command=seen.args,
        address=address,
        more_addresses=tuple(more),
        gateway=v4,
        gateway6=v6,
        id_index=id_index(seen) or 0,
        memory_bytes=seen.memory_bytes or memory_bytes,
        cpu_milli=cpu_milli,
        disk_bytes=seen.files_kib << 10,
        env=seen.env,
        cap_add=added,
        cap_drop=(ALL,) if len(dropped) == len(CAPABILITIES) else dropped,
        new_privileges=not seen.no_new_privileges,
    )
