"""Ganeti's text format, as `gnt-cluster` data is written for hbal and hail: groups, nodes, instances, tags, policies.

Theory. Sections are parted by empty lines; fields by "|". Sizes are in MiB. A node: name, memory, memory of its own,
free memory, disk, free disk, CPUs, offline (Y, N, or M for the master), group, spindles. An instance: name, memory,
disk, CPUs, status, auto-balance, primary node, secondary node, disk template, tags, spindles. A cluster tag
"htools:iextags:K" says that instances with an equal tag "K:..." exclude each other (htools(1), hbal(1)).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from migrator.errors import BadInput
from migrator.inventory.imported import container_facts, container_name, node_facts, node_name
from migrator.model.facts import Cluster, ContainerFacts, Link, NodeFacts, Resources
from migrator.model.plan_policy import ANTI_AFFINITY
from migrator.model.units import counted

MIB = 1 << 20
EXCLUSION = "htools:iextags:"
CPU_RATIO = 64.0  # CPUs promised for one that is there, where no policy says: Ganeti's own default
NOT_COPIED = frozenset({"rbd", "ext", "diskless", "sharedfile", "gluster", "blockdev"})
OFFLINED_BY = "Ganeti"  # whose mark it is
RUNNING = frozenset({"running", "ERROR_up"})


def parse(text: str, source: str, link: Link) -> Cluster:
    """The cluster that a file describes; `source` names it in errors, `link` is every node's."""
    sections = sections_of(text, source)
    exclusions = tuple(line[len(EXCLUSION) :] for _, line in sections[3] if line.startswith(EXCLUSION))
    groups = {fields[1]: fields[0] for _, fields in _rows(sections[0], source, 2)}
    ratios = {fields[0]: _ratio(fields, where) for where, fields in _rows(sections[4], source, 5)}
    held: dict[str, list[ContainerFacts]] = defaultdict(list)
    names: set[str] = set()
    for number, (where, fields) in enumerate(_rows(sections[2], source, 10)):
        home, container = _instance(fields, where, number, exclusions)
        if container.name in names:
            raise BadInput(f"{where}: there are two instances {container.name!r}")
        names.add(container.name)
        held[home].append(container)
    nodes, there = list[NodeFacts](), set[str]()
    for where, fields in _rows(sections[1], source, 9):
        name = node_of(fields, where)
        if name in there:
            raise BadInput(f"{where}: there are two nodes {name!r}")
        there.add(name)
        memory, own, free, disk, disk_free, cpus = (size_mib(word, where) for word in fields[1:7])
        group = groups.get(fields[8], fields[8])
        ratio = ratios.get(group, ratios.get("", CPU_RATIO))
        containers = tuple(sorted(held.pop(name, []), key=lambda c: c.name))
        nodes.append(
            node_facts(
                name,
                Resources(int(cpus * ratio * 1000), (memory - own) * MIB, disk * MIB),
                memory_free_bytes=free * MIB,
                disk_free_bytes=disk_free * MIB,
                cordon=OFFLINED_BY if fields[7] == "Y" else None,
                link=link,
                labels={"group": group} | _labels(fields[10] if len(fields) > 10 else ""),
                containers=containers,
            )
        )
    if held:
        raise BadInput(f"{source}: no node {min(held)!r} is there, and {held[min(held)][0].name} is on it")
    return Cluster("ganeti", tuple(sorted(nodes, key=lambda node: node.name)))


Lines = list[tuple[int, str]]


def sections_of(text: str, source: str) -> list[Lines]:
    """Groups, nodes, instances, cluster tags, policies, with their lines' numbers; what comes after is not used."""
    sections: list[Lines] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            sections[-1].append((number, line))
        else:
            sections.append([])
    if len(sections) < 3 or not sections[1]:
        raise BadInput(f"{source}:1: not Ganeti's text format: it has sections of groups, nodes and instances")
    return [*sections, [], []]


def _rows(lines: Lines, source: str, fields_min: int) -> list[tuple[str, list[str]]]:
    rows = []
    for number, line in lines:
        fields = line.split("|")
        if len(fields) < fields_min:
            raise BadInput(f"{source}:{number}: {counted(len(fields), 'field')}, {fields_min} are wanted")
        rows.append((f"{source}:{number}", fields))
    return rows


def _instance(fields: Sequence[str], where: str, number: int, exclusions: Sequence[str]) -> tuple[str, ContainerFacts]:
    memory, disk, cpus = (size_mib(word, where) for word in fields[1:4])
    labels = _labels(fields[9])
    apart = next((f"{key}:{labels[key]}" for key in exclusions if key in labels), None)
    demand = Resources(cpus * 1000, memory * MIB, disk * MIB if copied(fields) else 0)
    found = container_facts(
        instance_name(fields, where),
        number,
        demand,
        running=running(fields),
        used_bytes=memory * MIB if running(fields) else 0,
        files_bytes=disk * MIB if copied(fields) else 0,
        labels=labels | ({ANTI_AFFINITY: apart} if apart else {}),
    )
    return node_name(fields[6], where), found


def _labels(tags: str) -> dict[str, str]:
    """The tags KEY:VALUE of an instance, or of a node."""
    pairs = (tag.split(":", 1) for tag in tags.split(",") if ":" in tag)
    return {key: value for key, value in pairs}


def node_of(fields: Sequence[str], where: str) -> str:
    """The name of a node, of its line."""
    return node_name(fields[0], where)


def instance_name(fields: Sequence[str], where: str) -> str:
    """What an instance is called as a container, of its line."""
    return container_name(fields[0], where)


def running(fields: Sequence[str]) -> bool:
    """Whether an instance runs, of its line."""
    return fields[4] in RUNNING


def copied(fields: Sequence[str]) -> bool:
    """Whether an instance's disk lies on its node, of its line."""
    return fields[8] not in NOT_COPIED


def size_mib(word: str, where: str) -> int:
    """A size as the file has it."""
    if not word.isascii() or not word.isdigit() or len(word) > 9:  # a PiB
        raise BadInput(f"{where}: {word!r} is no number")
    return int(word)


def _ratio(fields: Sequence[str], where: str) -> float:
    """How many CPUs a policy lets be promised for each that is there."""
    try:
        ratio = float(fields[4])
    except ValueError:
        ratio = -1.0
    if not 0 < ratio <= 1000:
        raise BadInput(f"{where}: the CPU ratio is {fields[4]!r}")
    return ratio
