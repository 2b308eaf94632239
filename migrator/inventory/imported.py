"""What importers share: facts of nodes and containers from a file that tells of sizes and places alone.

What such a file does not tell (versions, CPU features, templates) is equal on every node: a plan made of an imported
snapshot is about room, rules and links. It is no plan to carry out, since no cluster file stands behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from migrator.errors import BadInput
from migrator.model.container import ID_INDEX_MAX, ID_INDEX_MIN, NAME, Descriptor
from migrator.model.facts import ContainerFacts, Link, NodeFacts, Resources

NOT_TOLD = "1"  # of every version, on every node
INODES_FREE = 1_000_000
_OTHER = re.compile(r"[^a-z0-9_-]")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def container_name(text: str, where: str) -> str:
    """A name as containers have here: lower case, and a dash for anything that names may not hold."""
    name = _OTHER.sub("-", text.lower())
    if not NAME.fullmatch(name):
        raise BadInput(f"{where}: {text!r} cannot be made the name of a container")
    return name


def is_node_name(text: str) -> bool:
    return bool(_NODE.fullmatch(text))


def node_name(text: str, where: str) -> str:
    if not is_node_name(text):
        raise BadInput(f"{where}: {text!r} cannot be the name of a node")
    return text


def container_facts(
    name: str,
    number: int,
    demand: Resources,
    *,
    running: bool,
    used_bytes: int,
    files_bytes: int,
    labels: Mapping[str, str],
) -> ContainerFacts:
    """One container; `number` is its place in the file, `used_bytes` the memory that a move would send."""
    descriptor = Descriptor(
        name=name,
        template="imported",
        template_digest="imported",
        command=("imported",),
        address=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/8",
        id_index=ID_INDEX_MIN + number % (ID_INDEX_MAX - ID_INDEX_MIN),
        memory_bytes=demand.memory_bytes,
        cpu_milli=demand.cpu_milli,
        disk_bytes=demand.disk_bytes,
        labels=dict(labels),
    )
    return ContainerFacts(
        name=name,
        state="serving" if running else "stopped",
        token=0,
        generation=0,
        alive=running,
        run="-",
        reserved=demand,
        rss_bytes=used_bytes,
        anon_bytes=used_bytes,
        files_bytes=files_bytes,
        descriptor=descriptor,
    )


def node_facts(
    name: str,
    capacity: Resources,
    *,
    memory_free_bytes: int,
    disk_free_bytes: int,
    cordon: str | None,
    link: Link,
    labels: Mapping[str, str],
    containers: tuple[ContainerFacts, ...],
) -> NodeFacts:
    """One node that answered; `memory_free_bytes` and `disk_free_bytes` are as measured."""
    return NodeFacts(
        name=name,
        labels=dict(labels),
        link=link,
        capacity=capacity,
        hostname=name,
        kernel=NOT_TOLD,
        arch=NOT_TOLD,
        criu=NOT_TOLD,
        runc=NOT_TOLD,
        rsync=NOT_TOLD,
        bridges=("br0",),
        cordon=cordon,
        cpus=capacity.cpu_milli // 1000,
        memory_bytes=capacity.memory_bytes,
        memory_available_bytes=memory_free_bytes,
        disk_bytes=capacity.disk_bytes,
        disk_available_bytes=disk_free_bytes,
        inodes_available=INODES_FREE,
        containers=containers,
    )
