"""Proxmox VE's cluster resources: the JSON of `pvesh get /cluster/resources --output-format json`.

Theory. A flat list of objects, or that list under "data". A node has node, status, maxcpu, maxmem, mem, maxdisk,
disk; a guest (type lxc or qemu) has vmid, name, node, status, maxcpu, maxmem, mem, maxdisk, disk, template and tags,
parted by ";". ProxLB's tags "plb_anti_affinity_NAME" keep guests apart, and "plb_ignore..." are labels like others.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from migrator.errors import BadInput
from migrator.inventory.documents import field, first_wrong, unread
from migrator.inventory.imported import container_facts, container_name, node_facts, node_name
from migrator.model.facts import Cluster, ContainerFacts, Link, NodeFacts, Resources
from migrator.model.plan import few
from migrator.model.plan_policy import ANTI_AFFINITY
from migrator.model.units import counted

APART = "plb_anti_affinity_"
_Bytes = Annotated[int, Field(ge=0, le=2**53)]
_Cpus = Annotated[float, Field(ge=0, le=100_000)]


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore")
    node: Annotated[str, Field(max_length=63)]
    status: str = "unknown"
    maxcpu: _Cpus = 0
    maxmem: _Bytes = 0
    mem: _Bytes = 0
    maxdisk: _Bytes = 0
    disk: _Bytes = 0


class _Node(_Item):
    type: Literal["node"]


class _Guest(_Item):
    type: Literal["lxc", "qemu"]
    vmid: Annotated[int, Field(ge=0, le=10**9)]
    name: str = ""
    template: int = 0
    tags: str = ""


_ITEM: TypeAdapter[_Node | _Guest] = TypeAdapter(Annotated[_Node | _Guest, Field(discriminator="type")])


def parse(text: str, source: str, link: Link, cpu_ratio: float) -> tuple[Cluster, tuple[str, ...]]:
    """The cluster that a file describes, and in words what of the file is not in it, or is there as something else.

    `cpu_ratio` CPUs may be promised for each one that a node has.
    """
    nodes: dict[str, _Node] = {}
    held: dict[str, list[ContainerFacts]] = defaultdict(list)
    names: set[str] = set()
    items, others = _items(text, source)
    for number, item in enumerate(items):
        where = f"{source}: item {number + 1}"
        if isinstance(item, _Node):
            name = node_name(item.node, where)
            if name in nodes:
                raise BadInput(f"{where}: there are two nodes {name!r}")
            nodes[name] = item
        elif not item.template:
            guest = _guest(item, where, number)
            if guest.name in names:
                raise BadInput(f"{where}: there are two guests {guest.name!r}")
            names.add(guest.name)
            held[item.node].append(guest)
    lost = sorted(set(held) - set(nodes))
    if lost:
        raise BadInput(f"{source}: no node {lost[0]!r} is there, and {held[lost[0]][0].name} is on it")
    facts = [_node(item, tuple(held[name]), link, cpu_ratio) for name, item in nodes.items()]
    if not facts:
        raise BadInput(f"{source}: no node is in it; it is made by: pvesh get /cluster/resources --output-format json")
    return Cluster("proxmox", tuple(sorted(facts, key=lambda node: node.name))), tuple(_told(items, others))


def _told(items: Sequence[_Node | _Guest], others: Counter[str]) -> Iterator[str]:
    """One line for each kind of entry that is left out, or is taken for something else, and why."""
    off = {item.node: item.status for item in items if isinstance(item, _Node) and item.status != "online"}
    guests = [item for item in items if isinstance(item, _Guest) and not item.template]
    lost = [guest for guest in guests if guest.node in off]
    taken = [guest for guest in guests if guest.node not in off]
    machines = sum(guest.type == "qemu" for guest in taken)
    stopped = sum(guest.status != "running" for guest in taken)
    templates = sum(isinstance(item, _Guest) and bool(item.template) for item in items)
    if off:
        names = few([f"{name} ({status})" for name, status in sorted(off.items())])
        yield f"{counted(len(off), 'node')} not online, so nothing is placed there or moved from there: {names}"
    if lost:
        yield f"{counted(len(lost), 'guest')} left out, on nodes that are not online"
    if templates:
        yield f"{counted(templates, 'template')} left out: a template never runs"
    if machines:
        yield (
            f"{counted(machines, 'QEMU guest')} taken as containers for their room, with the label type=qemu; "
            "only OS containers can be moved, so pin them: {rule: pin, containers: type=qemu} in a policy file"
        )
    if stopped:
        yield f"{counted(stopped, 'guest')} not running: plans leave them where they are with --leave-stopped"
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        yield f"left out, being neither nodes nor guests: {kinds}"


def _items(text: str, source: str) -> tuple[list[_Node | _Guest], Counter[str]]:
    """Nodes and guests in their order, and how many of each other type there are."""
    try:
        raw: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{source}: not JSON: {unread(error)}") from error
    if isinstance(raw, dict):
        raw = raw.get("data")
    if not isinstance(raw, list):
        raise BadInput(f"{source}: not a list of cluster resources")
    found: list[_Node | _Guest] = []
    others: Counter[str] = Counter()
    for number, item in enumerate(raw, 1):
        if not isinstance(item, dict) or item.get("type") not in ("node", "lxc", "qemu"):
            kind = item.get("type") if isinstance(item, dict) else None
            others[kind if isinstance(kind, str) and kind.isalpha() and len(kind) < 20 else "unknown"] += 1
            continue  # storage, pools, SDN
        try:
            found.append(_ITEM.validate_python(item))
        except ValidationError as error:
            location, wrong = first_wrong(error)
            raise BadInput(f"{source}: item {number}: {field(location[1:])}: {wrong}") from error
    return found, others


def _guest(item: _Guest, where: str, number: int) -> ContainerFacts:
    running = item.status == "running"
    tags = [tag.strip() for tag in item.tags.replace(",", ";").split(";") if tag.strip()]
    labels = {"type": item.type} | {tag: "yes" for tag in tags}
    apart = next((tag[len(APART) :] for tag in tags if tag.startswith(APART)), "")
    return container_facts(
        container_name(f"{item.name or item.type}-{item.vmid}", where),
        number,
        Resources(int(item.maxcpu * 1000), item.maxmem, item.maxdisk),
        running=running,
        used_bytes=item.mem if running else 0,
        files_bytes=item.disk,
        labels=labels | ({ANTI_AFFINITY: apart} if apart else {}),
    )


def _node(item: _Node, containers: tuple[ContainerFacts, ...], link: Link, cpu_ratio: float) -> NodeFacts:
    if item.status != "online":
        return NodeFacts(name=item.node, error=f"node {item.node}: its status is {item.status}", link=link)
    return node_facts(
        item.node,
        Resources(int(item.maxcpu * cpu_ratio * 1000), item.maxmem, item.maxdisk),
        memory_free_bytes=max(0, item.maxmem - item.mem),
        disk_free_bytes=max(0, item.maxdisk - item.disk),
        cordon=None,
        link=link,
        labels={},
        containers=tuple(sorted(containers, key=lambda c: c.name)),
    )
