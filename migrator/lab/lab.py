"""Labs: "physical hosts" made of namespaces on this machine, with real sshd, rsync, CRIU and runc in them.

A lab is a directory and the kernel objects it names. Everything is found again from the two, so `up` and `down`
may be repeated and may follow a crash of the program or of a node.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from migrator.errors import BadInput
from migrator.lab import cgroup, network, node, settings, vm
from migrator.lab.network import Subnet
from migrator.lab.paths import LABS, LabPaths
from migrator.lab.shell import LabError, run
from migrator.model.units import parse_bytes

NODES_MAX = 50
NODES_DEFAULT = 3
SUBNETS_MAX = 200
CGROUPS = ("v2", "hybrid", "legacy")


@dataclass(frozen=True, slots=True)
class Spec:
    """What a lab is: its nodes and what they declare. `None` declares nothing: the node's own facts hold.

    `kernels` has one for each node of a lab of virtual machines, and none in a lab of namespaces. A machine really
    has the memory that is asked for, and one CPU whatever it declares.
    `cgroups` are those of nodes of namespaces, each one of CGROUPS.
    """

    subnet_index: int
    nodes: tuple[str, ...]
    link_mbit: int | None = None
    cpus: float | None = None
    memory: str | None = None
    disk: str | None = None
    kernels: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()

    @property
    def memory_bytes(self) -> int:
        """What memory each virtual machine has."""
        return parse_bytes(self.memory) if self.memory else vm.MEMORY_BYTES

    def cgroups_of(self, name: str) -> str:
        """What control groups a node of namespaces mounts; the last one that was named is the rest's."""
        return self.cgroups[min(self.nodes.index(name), len(self.cgroups) - 1)] if self.cgroups else "v2"

    def kernel(self, name: str) -> str:
        return self.kernels[self.nodes.index(name)]

    @property
    def subnet(self) -> Subnet:
        return Subnet(self.subnet_index)

    def ip(self, name: str) -> str:
        return self.subnet.node_ip(self.nodes.index(name) + 1)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    name: str
    ip: str
    up: bool
    boot_id: str
    kernel: str = ""


def load(lab: LabPaths) -> Spec:
    """The lab's spec, or an error that says how to make the lab."""
    try:
        raw = json.loads(lab.state.read_text())
    except FileNotFoundError:
        raise BadInput(f"there is no lab {lab.name!r}; make it with: migrator lab up --name {lab.name}") from None
    return Spec(**{**raw, "nodes": tuple(raw["nodes"]), **{k: tuple(raw.get(k, ())) for k in ("kernels", "cgroups")}})


def up(
    lab: LabPaths,
    nodes: int | None,
    kernels: Sequence[str] = (),
    cgroups: Sequence[str] = (),
    **declared: int | float | str | None,
) -> Spec:
    """Makes the lab, or completes it: nodes that are down are booted, nodes that are missing are added.

    With `kernels`, one a node, they are virtual machines. `nodes` is None for as many as there are, or three anew.
    `cgroups` are for a lab that is not there yet.
    """
    if os.geteuid() != 0:
        raise LabError("the lab needs root (namespaces, mounts); run it with sudo")
    if nodes is not None and not 1 <= nodes <= NODES_MAX:
        raise BadInput(f"--nodes {nodes}: a lab has 1 to {NODES_MAX} nodes")
    with _locked():
        for word in cgroups:
            node.hierarchies(word)  # refused before anything is made
        spec = _spec(lab, nodes, tuple(kernels), tuple(cgroups) if {*cgroups} - {"v2"} else (), declared)
        if not lab.key.exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {lab.name}", "-f", lab.key])
        if not spec.kernels:
            settings.change()
            lab.shared.mkdir(exist_ok=True)
            lab.shared.chmod(0o1777)  # each container's root is a user of its own there
        network.make_switch(lab, spec.subnet)
        begun = _begin_boot(lab, spec, spec.nodes)
        _write_cluster_file(lab, spec)
    _end_boot(lab, spec, begun)  # takes long, and holds up no other lab
    return spec


def down(lab: LabPaths) -> None:
    """Ends the lab and removes everything it made, whatever state it is in."""
    with _locked():
        group_root = cgroup.root()
        cgroup.kill(lab.cgroup(group_root))
        first = [hierarchy.mount for hierarchy in cgroup.hierarchies()]
        for mount in first:
            cgroup.remove(lab.cgroup(mount))
        for mount in (group_root, *first):
            with contextlib.suppress(OSError):  # other labs still stand in it
                (mount / "migrator-lab").rmdir()
        for name in _node_names(lab):
            network.unplug_node(lab, name)
        network.remove_switch(lab)
        if lab.dir.exists():
            shutil.rmtree(lab.dir)
        with contextlib.suppress(OSError):  # other labs are there
            LABS.rmdir()
            settings.put_back()


def crash(lab: LabPaths, name: str) -> None:
    _known(lab, name)
    node.crash(lab, name)


def boot(lab: LabPaths, name: str) -> None:
    spec = _known(lab, name)
    _end_boot(lab, spec, _begin_boot(lab, spec, [name]))


def reboot(lab: LabPaths, name: str) -> None:
    """Reboots a node: a virtual machine from inside, by its own kernel; a namespace node as after a power loss."""
    spec = _known(lab, name)
    if not node.is_up(lab, name):
        raise _is_down(lab, name)
    if spec.kernels:
        vm.reboot(lab, name, spec.ip(name))
        return
    node.crash(lab, name)
    boot(lab, name)


def exec_argv(lab: LabPaths, name: str, command: Sequence[str]) -> list[str]:
    """The argv that runs a command on a node; an error when the node is down."""
    spec = _known(lab, name)
    if not node.is_up(lab, name):
        raise _is_down(lab, name)
    return vm.ssh_argv(lab, spec.ip(name), command) if spec.kernels else node.exec_argv(lab, name, command)


def status(lab: LabPaths) -> list[NodeStatus]:
    spec = load(lab)
    return [
        NodeStatus(
            name=name,
            ip=spec.ip(name),
            up=node.is_up(lab, name),
            boot_id=_boot_id(lab, spec, name),
            kernel=spec.kernel(name) if spec.kernels else "",
        )
        for name in spec.nodes
    ]


def _begin_boot(lab: LabPaths, spec: Spec, names: Sequence[str]) -> dict[str, vm.Process | None]:
    """Boots those of the nodes that are down. Virtual machines are only switched on; `_end_boot` waits for them."""
    if not spec.kernels:
        for name in names:
            node.prepare_disk(lab, name, spec.ip(name))
            node.boot(lab, name, spec.ip(name), spec.link_mbit, spec.cgroups_of(name))
        return {}
    for name in names:
        vm.prepare_disk(lab, name, spec.ip(name))
    off = [name for name in names if not node.is_up(lab, name)]
    begun = {name: vm.start(lab, name, spec.ip(name), spec.kernel(name), spec.memory_bytes) for name in off}
    return {name: begun.get(name) for name in names}


def _end_boot(lab: LabPaths, spec: Spec, begun: dict[str, vm.Process | None]) -> None:
    for name, process in begun.items():
        vm.await_up(lab, name, spec.ip(name), process)


def _boot_id(lab: LabPaths, spec: Spec, name: str) -> str:
    """Of a virtual machine it is the kernel's own; a node that does not answer has "-"."""
    if spec.kernels:
        return (vm.boot_id(lab, spec.ip(name)) if node.is_up(lab, name) else "") or "-"
    path = lab.node(name).boot_id
    return path.read_text().strip() if path.exists() else "-"


def _is_down(lab: LabPaths, name: str) -> BadInput:
    return BadInput(f"node {name} of lab {lab.name} is down; boot it with: migrator lab boot {name} --name {lab.name}")


def _known(lab: LabPaths, name: str) -> Spec:
    spec = load(lab)
    if name not in spec.nodes:
        raise BadInput(f"lab {lab.name} has no node {name!r}; it has {', '.join(spec.nodes)}")
    return spec


def _spec(
    lab: LabPaths,
    nodes: int | None,
    kernels: tuple[str, ...],
    cgroups: tuple[str, ...],
    declared: dict[str, int | float | str | None],
) -> Spec:
    """The spec that is there, grown to `nodes`, or a new one on a free subnet."""
    if lab.state.exists():
        old = load(lab)
        if nodes is not None and bool(kernels) != bool(old.kernels):
            made_of = "virtual machines" if old.kernels else "namespaces"
            raise BadInput(f"lab {lab.name} is made of {made_of}, and stays so; take another --name, or end it first")
        if cgroups and cgroups != old.cgroups:
            raise BadInput(
                f"lab {lab.name} has other control groups, and keeps them; take another --name, or end it first"
            )
        changed = {k: v for k, v in declared.items() if v is not None}
        size = max(nodes or 0, len(old.nodes))
        kernels = old.kernels + kernels[len(old.kernels) :]
        spec = replace(old, nodes=_names(size), kernels=kernels, **changed)  # type: ignore[arg-type]
    else:
        lab.dir.mkdir(parents=True, mode=0o700)
        names = _names(nodes or NODES_DEFAULT)
        spec = Spec(subnet_index=_free_subnet(), nodes=names, kernels=kernels, cgroups=cgroups, **declared)  # type: ignore[arg-type]
    lab.state.write_text(json.dumps(asdict(spec), indent=1))
    return spec


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"n{number}" for number in range(1, count + 1))


def _free_subnet() -> int:
    taken = network.taken_prefixes()
    for path in LABS.glob("*/lab.json"):
        taken.add(Subnet(json.loads(path.read_text())["subnet_index"]).prefix)
    for index in range(SUBNETS_MAX):
        if Subnet(index).prefix not in taken:
            return index
    raise LabError("no subnet is free for another lab; end one with: migrator lab down --name NAME")


def _node_names(lab: LabPaths) -> list[str]:
    """The lab's nodes by its directory and by the namespaces that stand, so that half a lab can be removed too."""
    names = {path.name for path in (lab.dir / "nodes").glob("*")}
    prefix = f"{lab.switch_netns}-"
    names |= {path.name.removeprefix(prefix) for path in Path("/run/netns").glob(f"{prefix}n*")}
    return sorted(names)


def _write_cluster_file(lab: LabPaths, spec: Spec) -> None:
    """Writes the lab as any fleet is written: the rest of the program knows nothing of labs."""
    capacity = {"cpus": spec.cpus, "memory": spec.memory, "disk": spec.disk}
    if spec.kernels:
        capacity = {"cpus": spec.cpus or vm.CPUS_DECLARED, "disk": spec.disk}
    declared = {key: value for key, value in capacity.items() if value is not None}
    nodes = []
    for name in spec.nodes:
        entry: dict[str, object] = {"name": name, "address": spec.ip(name)}
        if declared:
            entry["capacity"] = declared
        if spec.link_mbit:
            entry["link"] = {"up": f"{spec.link_mbit}Mbit", "down": f"{spec.link_mbit}Mbit"}
        nodes.append(entry)
    ssh = {"user": "root", "identity_file": str(lab.key), "known_hosts": str(lab.known_hosts)}
    # Virtual machines have no storage in common.
    volumes = {} if spec.kernels else {"volumes": {"shared": "/srv/shared"}}
    document = {"version": 1, "name": lab.name, "defaults": {"ssh": ssh, "bridge": "br0"}, **volumes, "nodes": nodes}
    lab.cluster_file.write_text(yaml.safe_dump(document, sort_keys=False))


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One change of labs at a time on this machine: subnets and names are shared."""
    LABS.parent.mkdir(parents=True, exist_ok=True)
    with Path("/run/migrator-lab.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
