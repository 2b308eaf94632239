"""What was seen of nodes and containers: plain values, saved as a snapshot, planned and checked with offline."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.model.container import Descriptor
from migrator.model.plan_policy import Standing
from migrator.model.pressure import Guard, Pressure
from migrator.model.volume import Mounted


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each planned resource: a capacity, a demand, or a rest."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu_milli + other.cpu_milli,
            self.memory_bytes + other.memory_bytes,
            self.disk_bytes + other.disk_bytes,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu_milli - other.cpu_milli,
            self.memory_bytes - other.memory_bytes,
            self.disk_bytes - other.disk_bytes,
        )

    def fits_in(self, room: Resources) -> bool:
        return (
            self.cpu_milli <= room.cpu_milli
            and self.memory_bytes <= room.memory_bytes
            and self.disk_bytes <= room.disk_bytes
        )


@dataclass(frozen=True, slots=True)
class Link:
    """Speed of a node's way to the others, bytes a second; `None` is not known, and taken as unshaped."""

    up_bytes_per_s: int | None = None
    down_bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class SharedLink:
    """A way that `nodes` have in common to all other nodes, such as a rack's uplink; among themselves they do without.

    Links form a tree: of two that have a node in common one has all nodes of the other. At most `moves_max` moves
    cross it at one time; `None` is as many as like. Speeds are bytes a second, `None` is not known.
    """

    name: str
    nodes: tuple[str, ...]
    up_bytes_per_s: int | None = None
    down_bytes_per_s: int | None = None
    moves_max: int | None = None

    def crossed(self, source: str, target: str) -> bool:
        """Whether a move between these nodes takes this way."""
        return (source in self.nodes) != (target in self.nodes)


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container as its node told of it.

    `state` and `token` are the record's; `alive` is whether it has processes; `anon_bytes` is the memory that a dump
    would write (anonymous and shared, and files in memory), `rss_bytes` all that is resident, `files_bytes` its own
    layer of files with its own volumes, `disks_bytes` what each of these holds, where its node tells.
    `keeper` is what the node's restarter says (empty: it has none), `keeper_starts` how often it has started it.
    `gate` is "open" or "closed" where it has processes, else "none". `needs` are features that its processes use, and
    without which no node can restore them. `pressure` is that of its group. `changing_bytes` is the size of those of
    its files that have changed in the last ten seconds, `mapped_bytes` of those besides that are mapped shared and
    writable; `files_written_bytes_per_s` is how fast it writes its files, None where nobody has looked twice, and
    `files_growing_bytes_per_s` how fast they grow by that. `tmpfs_bytes` of `anon_bytes` are files, in /tmp, /run and
    the like, where its node was asked as for a move. `up_s` is how long its first process is on this
    node: from its start, or from when it came by a move; it is no part of a snapshot.
    """

    name: str
    state: str
    token: int
    generation: int
    alive: bool
    run: str
    reserved: Resources
    rss_bytes: int = 0
    anon_bytes: int = 0
    files_bytes: int = 0
    disks_bytes: dict[str, int] = field(default_factory=dict)
    descriptor: Descriptor | None = None
    keeper: str = ""
    keeper_starts: int = 0
    gate: str = "none"
    needs: tuple[str, ...] = ()
    pressure: Pressure = field(default_factory=Pressure)
    up_s: int | None = None
    changing_bytes: int = 0
    mapped_bytes: int = 0
    files_written_bytes_per_s: int | None = None
    files_growing_bytes_per_s: int = 0
    tmpfs_bytes: int = 0

    @property
    def runtime(self) -> str:
        return self.descriptor.runtime if self.descriptor else "runc"

    @property
    def paged_bytes(self) -> int:
        """Of the memory that a dump would write what processes have: it can be streamed, files in memory cannot."""
        return max(0, self.anon_bytes - self.tmpfs_bytes)

    @property
    def at_rest(self) -> bool:
        """Whether no run has it, by its node's record."""
        return self.state in ("serving", "stopped") and self.run == "-"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node: what the cluster file declares of it and, if it answered, what it is and holds.

    `error` is empty for a node that answered. `cpu_flags` are those that programs may use. `stream_out` and `stream_in`
    are whether memory can be streamed from it and to it: "yes", or in its own words why not. `capacity` is declared
    where declared, measured where not, and times what the cluster file lets be promised for it. `trusted` are the
    networks, declared trusted, that it is reached in by other nodes. `volumes` are those of the cluster file, each by
    name with its path on this node, and why it is not there. `devices` are those by request that it has. `cpu_state` is
    what CRIU's cpuinfo tells of its registers, `lsm` its kernel's security modules, `filesystem` the type of its disk
    for containers and what that can ("overlay") and cannot ("no-reflink"); each is empty where it does not tell.
    `pressure` is what its kernel tells of waiting, `guard` from where on the cluster file calls that too much.
    """

    name: str
    error: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    link: Link = Link()
    bridge: str = "br0"
    capacity: Resources = Resources()
    boot_id: str = ""
    machine_id: str = ""
    hostname: str = ""
    kernel: str = ""
    arch: str = ""
    cpu_flags: tuple[str, ...] = ()
    cgroup_version: int = 0
    controllers: tuple[str, ...] = ()
    criu: str = ""
    runc: str = ""
    rsync: str = ""
    features: tuple[str, ...] = ()
    cpu_state: str = ""
    lsm: tuple[str, ...] = ()
    filesystem: tuple[str, ...] = ()
    stream_out: str = ""
    stream_in: str = ""
    trusted: tuple[str, ...] = ()
    volumes: dict[str, Mounted] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()
    templates: dict[str, str] = field(default_factory=dict)
    cordon: str | None = None
    cpus: int = 0
    memory_bytes: int = 0
    memory_available_bytes: int = 0
    disk_bytes: int = 0
    disk_available_bytes: int = 0
    inodes_available: int = 0
    containers: tuple[ContainerFacts, ...] = ()
    pressure: Pressure = field(default_factory=Pressure)
    guard: Guard = field(default_factory=Guard)

    @property
    def answered(self) -> bool:
        return not self.error

    @property
    def reserved(self) -> Resources:
        """What the records on the node hold, moves under way included."""
        total = Resources()
        for container in self.containers:
            total = total + container.reserved
        return total

    @property
    def room(self) -> Resources:
        return self.capacity - self.reserved

    def has_template(self, name: str, digest: str) -> bool:
        """Whether this version is there; `templates` has that for new containers by its name, others as NAME@DIGEST."""
        return self.templates.get(name) == digest or f"{name}@{digest}" in self.templates

    def container(self, name: str) -> ContainerFacts | None:
        return next((c for c in self.containers if c.name == name), None)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Every node of the cluster file at one moment, sorted by name; `policy` is what the file says of all plans."""

    name: str
    nodes: tuple[NodeFacts, ...]
    links: tuple[SharedLink, ...] = ()
    policy: Standing = field(default_factory=Standing)

    def node(self, name: str) -> NodeFacts:
        """The node of that name; KeyError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def owners(self, container: str) -> list[NodeFacts]:
        """The nodes whose record says that they own the container; more than one means a move is under way."""
        owning = ("serving", "stopped", "fenced", "sealed", "released")
        return [n for n in self.nodes if (c := n.container(container)) is not None and c.state in owning]
