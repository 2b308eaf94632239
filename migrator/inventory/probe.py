"""Reads what nodes told of themselves. Of a node that did not answer is shown why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from migrator.errors import MigratorError
from migrator.inventory.cluster_file import ClusterFile, NodeEntry
from migrator.inventory.overcommit import promised
from migrator.inventory.pressure import pressure_of, pressures_in
from migrator.model.confinement import DEVICES
from migrator.model.container import NAME, Descriptor, fault
from migrator.model.cpu_flags import usable
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.io_limits import IO_FEATURE
from migrator.model.observation import COUNTER_MAX, GATES, STATES
from migrator.model.pressure import Pressure
from migrator.model.units import parse_bytes
from migrator.model.volume import Mounted
from migrator.transport.base import Answer, NodeFailed

Told = Answer | MigratorError
WORDS_CHARS_MAX = 300  # a name, a version; nothing a node tells of itself is longer, but its CPU's features
REPEATED = (
    "feature",
    "bridge",
    "template",
    "kept-template",
    "container",
    "keeper",
    "gate",
    "holds",
    "memory",
    "up",
    "files",
    "changing",
    "held",
    "mapped",
    "own-volume",
    "descriptor",
    "needs",
    "volume",
    "device",
    "pressure",
)
_RUN = re.compile(r"[A-Za-z0-9._-]{1,63}")
_DESCRIPTOR = TypeAdapter(Descriptor)


def probed(cluster: ClusterFile, told: Mapping[str, Told]) -> Cluster:
    """A snapshot of the whole cluster, by what nodes told when they were probed."""
    return Cluster(cluster.name, _all_facts(cluster, told), cluster.shared_links(), cluster.standing())


def surveyed(cluster: ClusterFile, told: Mapping[str, Told]) -> Cluster:
    """The same, without what only a move asks of machines: versions, CPU features, sizes of files."""
    return Cluster(cluster.name, _all_facts(cluster, told), policy=cluster.standing())


def described(cluster: ClusterFile, told: Mapping[str, Told]) -> Cluster:
    """Which containers there are and their descriptions, and nothing else of any node."""
    return Cluster(cluster.name, tuple(_described(name, told[name]) for name in sorted(told)))


def _described(name: str, answer: Told) -> NodeFacts:
    try:
        if isinstance(answer, MigratorError):
            raise answer
        if answer.get("end") != "described":
            raise NodeFailed(name, "described", "its answer is cut short")
        _refuse_noise(answer)
        pairs = [line.split(" ", 1) for line in answer.lines("descriptor") if " " in line]
        found = [
            ContainerFacts(ct, "", 0, 0, False, "-", Resources(), descriptor=_descriptor(answer, ct, text))
            for ct, text in pairs
        ]
        return NodeFacts(name, containers=tuple(found))
    except MigratorError as error:
        return NodeFacts(name, error=str(error))


def _all_facts(cluster: ClusterFile, told: Mapping[str, Told]) -> tuple[NodeFacts, ...]:
    return tuple(facts_of(cluster, cluster.entry(name), told[name]) for name in sorted(told))


def facts_of(cluster: ClusterFile, entry: NodeEntry, answer: Told) -> NodeFacts:
    """One node's facts; if it could not be asked, or its answer not be understood, facts that carry the error."""
    declared = NodeFacts(
        name=entry.name,
        labels=dict(entry.labels),
        link=cluster.link(entry),
        bridge=cluster.bridge(entry),
        trusted=cluster.trusted_around(entry),
        guard=cluster.guard(entry),
        volumes={name: Mounted(path, "it was not asked") for name, path in cluster.volume_paths(entry).items()},
    )
    try:
        if isinstance(answer, MigratorError):
            raise answer
        return promised(parse(answer, declared, entry), cluster.overcommit(entry))
    except MigratorError as error:
        return replace(declared, error=str(error))


def parse(answer: Answer, declared: NodeFacts, entry: NodeEntry) -> NodeFacts:
    """Turns a probe's lines into facts. The node is not believed further than its own words can reach."""
    if answer.get("end") != "probe":
        raise NodeFailed(answer.node, "probe", "its answer to the probe is cut short")
    _refuse_noise(answer)
    measured = Resources(
        cpu_milli=answer.number("cpus") * 1000,
        memory_bytes=answer.number("memory_bytes"),
        disk_bytes=answer.number("disk_bytes"),
    )
    cgroup = answer.get("cgroup", "0").split() or ["0"]
    return replace(
        declared,
        capacity=capacity_of(entry, measured),
        boot_id=answer.get("boot_id"),
        machine_id=answer.get("machine_id"),
        hostname=answer.get("hostname"),
        kernel=answer.get("kernel"),
        arch=answer.get("arch"),
        cpu_flags=tuple(sorted(usable(answer.get("cpu_flags").split()))),
        cgroup_version=int(cgroup[0]) if cgroup[0] in ("1", "2") else 0,
        controllers=tuple(sorted(cgroup[1:])),
        criu=answer.get("criu"),
        runc=answer.get("runc"),
        rsync=answer.get("rsync"),
        features=tuple(sorted({*answer.lines("feature"), *({IO_FEATURE} & set(cgroup[1:]))})),
        cpu_state=answer.get("cpu_state"),
        lsm=tuple(word for word in answer.get("lsm").split(",") if word),
        filesystem=tuple(answer.get("filesystem").split()),
        stream_out=answer.get("stream_out"),
        stream_in=answer.get("stream_in"),
        bridges=tuple(sorted(answer.lines("bridge"))),
        templates=_templates(answer),
        cordon=answer.get("cordon") or None,
        cpus=answer.number("cpus"),
        memory_bytes=answer.number("memory_bytes"),
        memory_available_bytes=answer.number("memory_available_bytes"),
        disk_bytes=answer.number("disk_bytes"),
        disk_available_bytes=answer.number("disk_available_bytes"),
        inodes_available=answer.number("inodes_available"),
        containers=_containers(answer),
        volumes=_volumes(answer, declared),
        devices=tuple(sorted(set(answer.lines("device")) & set(DEVICES))),
        pressure=pressure_of(answer),
    )


def _volumes(answer: Answer, declared: NodeFacts) -> dict[str, Mounted]:
    """What the node says of each volume that it was asked for: "yes", or why it is not there."""
    told = dict(line.split(" ", 1) for line in answer.lines("volume") if " " in line)
    said = {name: told.get(name, "it does not tell whether it is there") for name in declared.volumes}
    return {
        name: replace(volume, fault="" if said[name] == "yes" else said[name])
        for name, volume in declared.volumes.items()
    }


def _refuse_noise(answer: Answer) -> None:
    """Refuses what no honest node answers: what a terminal would obey, and a fact that is told twice or without end."""
    if not answer.text.replace("\n", "").replace("\t", "").isprintable():
        raise NodeFailed(answer.node, "probe", "its answer to the probe holds control characters")
    seen: set[str] = set()
    for line in answer.text.split("\n"):
        key, _, rest = line.partition(" ")
        what = f"{key} {rest.partition(' ')[0]}" if key in REPEATED else key
        if what in seen and what:
            raise NodeFailed(answer.node, "probe", f"it tells {what[:80]!r} twice")
        seen.add(what)
        if len(rest) > WORDS_CHARS_MAX and key not in ("cpu_flags", "descriptor"):
            raise NodeFailed(answer.node, "probe", f"it tells a {key[:40]!r} without end")


def capacity_of(entry: NodeEntry, measured: Resources) -> Resources:
    """What the cluster file declares that a node has, and what was measured where it says nothing."""
    declared = entry.capacity
    return Resources(
        cpu_milli=int(declared.cpus * 1000) if declared.cpus else measured.cpu_milli,
        memory_bytes=parse_bytes(declared.memory) if declared.memory else measured.memory_bytes,
        disk_bytes=parse_bytes(declared.disk) if declared.disk else measured.disk_bytes,
    )


def _pairs(answer: Answer, key: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for line in answer.lines(key) if len(row := line.split()) == 2 and NAME.fullmatch(row[0])]


def _templates(answer: Answer) -> dict[str, str]:
    kept = {f"{name}@{digest}": digest for name, digest in _pairs(answer, "kept-template")}
    return dict(sorted({**kept, **dict(_pairs(answer, "template"))}.items()))


def _containers(answer: Answer) -> tuple[ContainerFacts, ...]:
    holds = _by_name(answer, "holds", 3)
    memory = _by_name(answer, "memory", 2)
    files, changing, mapped, tmpfs = (_by_name(answer, key, 1) for key in ("files", "changing", "mapped", "held"))
    own = _by_name(answer, "own-volume", 1)
    up = _by_name(answer, "up", 1)
    descriptors = dict(line.split(" ", 1) for line in answer.lines("descriptor") if " " in line)
    keepers = _keepers(answer)
    gates = dict(_pairs(answer, "gate"))
    needs = dict(_pairs(answer, "needs"))
    pressures = pressures_in(answer)
    found = []
    for line in answer.lines("container"):
        fields = line.split()
        if len(fields) != 6 or not NAME.fullmatch(fields[0]):
            raise NodeFailed(answer.node, "probe", "it tells of a container in a way nobody understands")
        name, state, token, generation, alive, run = fields
        keeper_starts, keeper = keepers.get(name, (0, ""))
        if state not in STATES or alive not in ("yes", "no") or not _RUN.fullmatch(run):
            raise NodeFailed(
                answer.node, "probe", f"it tells of container {name} what nobody understands: {line[:200]}"
            )
        if (gate := gates.get(name, "none")) not in GATES:
            raise NodeFailed(answer.node, "probe", f"it tells of a gate that nobody knows: {gate[:40]!r}")
        described = _descriptor(answer, name, descriptors.get(name))
        memory_bytes, cpu_milli, disk_bytes = holds.get(name, [0, 0, 0])
        rss_bytes, anon_bytes = memory.get(name, [0, 0])
        found.append(
            ContainerFacts(
                name=name,
                state=state,
                token=_number(answer, token, COUNTER_MAX),
                generation=_number(answer, generation, COUNTER_MAX),
                alive=alive == "yes",
                run=run,
                reserved=Resources(cpu_milli=cpu_milli, memory_bytes=memory_bytes, disk_bytes=disk_bytes),
                rss_bytes=rss_bytes,
                anon_bytes=anon_bytes + tmpfs.get(name, [0])[0],
                files_bytes=files.get(name, [0])[0],
                up_s=up[name][0] if name in up else None,
                disks_bytes=_disks(name, described, own),
                descriptor=described,
                keeper=keeper,
                keeper_starts=keeper_starts,
                gate=gate,
                needs=_needs(needs.get(name), described),
                pressure=pressures.get(name, Pressure()),
                changing_bytes=changing.get(name, [0])[0],
                mapped_bytes=mapped.get(name, [0])[0],
                tmpfs_bytes=tmpfs.get(name, [0])[0],
            )
        )
    return tuple(sorted(found, key=lambda container: container.name))


def _needs(told: str | None, ct: Descriptor | None) -> tuple[str, ...]:
    """What its node says that its processes use, and what its description asks of any node."""
    return (*([told] if told else []), *([IO_FEATURE] if ct and ct.io else []))


def _disks(name: str, ct: Descriptor | None, told: dict[str, list[int]]) -> dict[str, int]:
    """What the container's own volumes hold, of those that its node tells of."""
    keys = {disk.name: f"{name}/{disk.name}" for disk in ct.disks} if ct else {}
    return {disk: told[key][0] for disk, key in keys.items() if key in told}


def _by_name(answer: Answer, key: str, count: int) -> dict[str, list[int]]:
    rows = [line.split() for line in answer.lines(key)]
    return {row[0]: [_number(answer, field) for field in row[1:]] for row in rows if len(row) == count + 1}


def _keepers(answer: Answer) -> dict[str, tuple[int, str]]:
    """Container to how often its keeper has started it, and what the keeper says."""
    found = {}
    for line in answer.lines("keeper"):
        name, _, rest = line.partition(" ")
        starts, _, said = rest.partition(" ")
        found[name] = (_number(answer, starts), said[:300])
    return found


def _number(answer: Answer, text: str, most: int = 10**18) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > most:
        raise NodeFailed(answer.node, "probe", f"it answers {text[:40]!r} where a number should be")
    return int(text)


def _descriptor(answer: Answer, name: str, text: str | None) -> Descriptor | None:
    if text is None:
        return None
    try:
        descriptor = _DESCRIPTOR.validate_json(text)
    except ValidationError as error:
        raise NodeFailed(answer.node, "probe", f"the descriptor of container {name} is damaged") from error
    if descriptor.name != name:
        raise NodeFailed(answer.node, "probe", f"the descriptor of container {name} is that of another")
    if wrong := fault(descriptor):
        raise NodeFailed(answer.node, "probe", f"the descriptor of container {name} has a {wrong} that is not possible")
    return descriptor
