"""Adoption: a container that a runtime began without us is looked at, and made ours while it runs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from migrator.errors import BadInput, FailedSafe, MigratorError, Refused
from migrator.executor.fleet import Fleet
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.foreign import TEMPLATE, Finding, Foreign, descriptor_of, findings, room_for
from migrator.model.template import Manifest
from migrator.model.template import Node as InTemplate
from migrator.runtime import bundle
from migrator.transport import kit
from migrator.transport.base import NodeFailed

_FOREIGN = TypeAdapter(Foreign)
ROOTS = ("/run/runc", "/run/crun")
TAKE_S = 120


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for; `root` empty to look under both that runtimes use by themselves.

    `options` are those that were given, as a shell reads them, for the command that does it.
    """

    node: str
    id: str
    name: str
    root: str = ""
    addresses: tuple[str, ...] = ()
    memory_bytes: int = 0
    cpu_milli: int = 0
    options: str = ""

    @property
    def command(self) -> str:
        return " ".join(filter(None, ("migrator ct adopt", self.node, shlex.quote(self.id), self.options, "--yes")))


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen, under which root, and what it says about being moved."""

    root: str
    seen: Foreign
    findings: list[Finding]

    @property
    def against(self) -> list[str]:
        return [f"{finding.what}: {finding.text}" for finding in self.findings if not finding.fit]


async def look(fleet: Fleet, asked: Asked) -> tuple[Looked, Cluster]:
    """What the container is; nothing is changed. BadInput where no runtime knows it."""
    cluster = await fleet.probe()
    facts = cluster.node(fleet.file.entry(asked.node).name)
    if not facts.answered:
        raise FailedSafe(facts.error)
    if facts.cgroup_version == 1:  # its limits are in groups of its own in each hierarchy, and stay there
        raise Refused(f"node {facts.name} has cgroups of version 1, and containers are adopted on version 2 alone")
    for root in (asked.root,) if asked.root else ROOTS:
        try:
            answer = await fleet.node(facts.name).call("foreign-look", root, asked.id, timeout_s=60)
        except MigratorError as error:
            if "there is no container" in str(error):
                continue
            raise
        try:
            seen = _FOREIGN.validate_json(answer.get("foreign"))
        except ValidationError as error:
            raise NodeFailed(facts.name, "foreign-look", f"it tells of {asked.id} what no node tells") from error
        taken = _taken(cluster, asked)
        found = findings(seen, asked.name, facts.bridge, taken, asked.addresses, facts.features)
        if all(finding.fit for finding in found):
            found.append(_room(facts, asked, seen))
        return Looked(root, seen, found), cluster
    if any(container.name == asked.name for container in facts.containers):
        raise BadInput(f"node {facts.name}: container {asked.name} is Migrator's already; see: migrator ct list")
    where = asked.root or " or ".join(ROOTS)
    raise BadInput(f"node {facts.name}: no runtime has a container {asked.id} under {where}; see: runc --root DIR list")


def _room(facts: NodeFacts, asked: Asked, seen: Foreign) -> Finding:
    """Beside all that the node holds, but for what an earlier try has made of this very one."""
    ct = descriptor_of(seen, asked.name, "", asked.addresses, asked.memory_bytes, asked.cpu_milli)
    half = facts.container(asked.name)
    return room_for(ct, facts.room + half.reserved if half else facts.room)


def _taken(cluster: Cluster, asked: Asked) -> set[int]:
    """Ranges of user ids that others have: not what an earlier try has made of this very one."""
    return {
        c.descriptor.id_index
        for node in cluster.nodes
        for c in node.containers
        if c.descriptor and (node.name, c.name) != (asked.node, asked.name)
    }


async def adopt(fleet: Fleet, asked: Asked, looked: Looked, cluster: Cluster) -> Descriptor:
    """Makes it ours. Where that is cut short the same again finishes it; it runs on whatever happens."""
    if looked.against:
        raise Refused(f"container {asked.id} on {asked.node} cannot be taken: " + "; ".join(looked.against))
    node, there = cluster.node(asked.node), fleet.node(asked.node)
    manifest = Manifest({".": InTemplate("dir")}, "any")
    ct = descriptor_of(looked.seen, asked.name, manifest.digest, asked.addresses, asked.memory_bytes, asked.cpu_milli)
    if wrong := fault(ct):
        raise Refused(f"container {asked.id} on {asked.node} cannot be taken: none of ours has such a {wrong}")
    _refuse_clashes(cluster, node, ct)
    if not node.has_template(TEMPLATE, manifest.digest):
        await there.call("template-offer", TEMPLATE, manifest.digest, stdin=manifest.text().encode())
        await there.call("template-make", TEMPLATE, manifest.digest)
    creator = f"adopt-{looked.seen.pid}-{looked.seen.started}"
    demand = (ct.memory_bytes, ct.cpu_milli, ct.disk_bytes)
    capacity = (node.capacity.memory_bytes, node.capacity.cpu_milli, node.capacity.disk_bytes)
    words = (ct.name, ct.template, ct.template_digest, ct.id_base, *demand, *capacity)
    made = await there.call("ct-create", *words, creator)
    try:
        for name, data in bundle.files(ct, kit.directory(), node.bridge, node.controllers).items():
            await there.call("ct-put", ct.name, made.number("token"), name, len(data), stdin=data)
        await there.call("ct-take", ct.name, creator, looked.root, asked.id, timeout_s=TAKE_S)
    except MigratorError as error:
        raise await _half(fleet, asked, creator, error) from error
    return ct


async def _half(fleet: Fleet, asked: Asked, creator: str, error: MigratorError) -> MigratorError:
    """What to say of one that failed: nothing was taken, or what is to be done about the rest."""
    try:
        await fleet.node(asked.node).call("ct-remove", asked.name, creator)
    except MigratorError as left:
        if "its files are in" in str(left):  # it has ended
            return FailedSafe(f"{error}; {left}")
        return FailedSafe(f"{error}; it runs, and is taken by half; give the command again: {asked.command}")
    return error


def _refuse_clashes(cluster: Cluster, node: NodeFacts, ct: Descriptor) -> None:
    for other_node in cluster.nodes:
        for other in other_node.containers:
            here = (other_node.name, other.name) == (node.name, ct.name)
            if other.name == ct.name and not here:  # here its own node knows one that was taken by half
                raise BadInput(f"container {ct.name} exists already on {other_node.name} ({other.state}); give --name")
            for ip in sorted(set(ct.ips).intersection(other.descriptor.ips if other.descriptor and not here else ())):
                raise Refused(f"address {ip}: container {other.name} on {other_node.name} has it")
