"""Facts that no cluster has: what a snapshot says comes from a file, and is planned with only if it can be true."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields

from migrator.errors import quoted
from migrator.inventory.documents import NODE_NAME
from migrator.model.container import AMOUNT_MAX, BOUNDS, NAME, fault
from migrator.model.facts import Cluster, ContainerFacts, Link, NodeFacts, Resources, SharedLink
from migrator.model.pressure import RESOURCES, Guard, Pressure, Stall
from migrator.model.units import BYTES_PER_S_MAX

_NODE = re.compile(NODE_NAME)
CAPACITY_MAX = 128 * AMOUNT_MAX  # a capacity is what there is times what may be promised of it


def impossible(cluster: Cluster) -> str:
    """The first field that cannot be, and why, or "": an amount below nothing, a name that is none or there twice."""
    return next(_wrong(cluster), "")


def _wrong(cluster: Cluster) -> Iterator[str]:
    if not cluster.nodes:
        yield "nodes: there is none"
    for name, count in Counter(node.name for node in cluster.nodes).items():
        if count > 1:
            yield f"nodes: {name!r} is the name of {count} nodes"
    for index, node in enumerate(cluster.nodes):
        yield from (f"nodes.{index}.{_beside(wrong, 'node', node.name)}" for wrong in _of_node(node))
    for index, link in enumerate(cluster.links):
        yield from (f"links.{index}.{_beside(wrong, 'link', link.name)}" for wrong in _of_link(link))


def _beside(wrong: str, kind: str, name: str) -> str:
    """What is wrong with a field, with the name of what it is of beside the field, if it can be a name."""
    path, colon, what = wrong.partition(": ")
    if not _NODE.fullmatch(name):
        return wrong
    if path.endswith(")"):
        return f"{path[:-1]}, {kind} {name}){colon}{what}"
    return f"{path} ({kind} {name}){colon}{what}"


def _of_node(node: NodeFacts) -> Iterator[str]:
    if not _NODE.fullmatch(node.name):
        yield f"name: {node.name!r} cannot be the name of a node"
    yield from _below_nothing(node.capacity, "capacity.", CAPACITY_MAX)
    yield from _below_nothing(node)
    yield from (f"link.{wrong}" for wrong in _of_link(node.link))
    yield from _of_pressure(node.pressure)
    yield from (f"guard.{wrong}" for wrong in _none_below(node.guard))
    for name, count in Counter(found.name for found in node.containers).items():
        if count > 1:
            yield f"containers: {name!r} is the name of {count} containers on {node.name!r}"
    for index, found in enumerate(node.containers):
        yield from (f"containers.{index}.{_beside(wrong, 'container', found.name)}" for wrong in _of_container(found))


def _of_container(found: ContainerFacts) -> Iterator[str]:
    if not NAME.fullmatch(found.name):
        yield f"name: {found.name!r} cannot be the name of a container"
    yield from _below_nothing(found.reserved, "reserved.")
    yield from _below_nothing(found)
    yield from _of_pressure(found.pressure)
    if found.descriptor is not None:
        if wrong := fault(found.descriptor):
            value = getattr(found.descriptor, wrong)
            if wrong in BOUNDS:
                yield f"descriptor.{wrong}: {_outside(value, *BOUNDS[wrong])}"
            else:
                yield f"descriptor.{wrong}: is not possible: {quoted(str(value))}"
        if found.descriptor.name != found.name:
            yield f"descriptor.name: is {found.descriptor.name!r}, of {found.name!r}"


def _of_pressure(pressure: Pressure) -> Iterator[str]:
    yield from (f"pressure.{wrong}" for wrong in _none_below(pressure))
    for name in RESOURCES:
        if (stall := pressure.of(name)) is not None:
            yield from (f"pressure.{name}.{wrong}" for wrong in _none_below(stall))


def _none_below(values: Pressure | Stall | Guard) -> Iterator[str]:
    """Every number of these that is none, or less than nothing."""
    for one in fields(values):
        value = getattr(values, one.name)
        if isinstance(value, int | float) and not 0 <= value <= CAPACITY_MAX:
            yield f"{one.name}: is to be 0 or more"


def _of_link(link: Link | SharedLink) -> Iterator[str]:
    for name in ("up_bytes_per_s", "down_bytes_per_s"):
        speed = getattr(link, name)
        if speed is not None and not 0 < speed <= BYTES_PER_S_MAX:
            yield f"{name}: is to be from 1 to {BYTES_PER_S_MAX}, not {speed}"
    if isinstance(link, SharedLink) and link.moves_max is not None and link.moves_max < 1:
        yield f"moves_max: is to be at least 1, not {link.moves_max}"


def _below_nothing(
    facts: Resources | NodeFacts | ContainerFacts, path: str = "", most: int = AMOUNT_MAX
) -> Iterator[str]:
    """Every amount among the fields that is less than nothing, or more than there is anywhere."""
    for one in fields(facts):
        amount = getattr(facts, one.name)
        if isinstance(amount, int) and not 0 <= amount <= most:
            yield f"{path}{one.name}: {_outside(amount, 0, most)}"


def _outside(amount: int, least: int, most: int) -> str:
    return f"is to be from {least} to {most}, not {amount if abs(amount) < 10**20 else 'that'}"
