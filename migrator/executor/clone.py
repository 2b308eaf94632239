"""Clones: a second container made from the files of one, and from its memory as well, on the node where that one is.

Theory. To the ledger a clone is a new container: it has its own record, token and range of user ids before anything of
the source is read. Who has the new address is asked beside the look at all containers; nothing is made before all has
been asked. What a clone makes is taken back as a whole, whatever fails, and the source runs on:
its node sees to that by itself (`kit/clone.sh`).
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from migrator.errors import BadInput, FailedSafe, MigratorError, Refused
from migrator.executor.asked_nics import refuse_macs
from migrator.executor.cancel import finish_anyway
from migrator.executor.creation import refuse_twins
from migrator.executor.fleet import Fleet, find_container, refuse_silent
from migrator.executor.ranges import free_ranges
from migrator.model import clone as decide
from migrator.model import next_hops
from migrator.model.address import bare
from migrator.model.confinement import devices_lacking
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.nics import Nic
from migrator.model.volume import lacking
from migrator.protocol.undumpable import reasons
from migrator.runtime import bundle
from migrator.steps.base import all_of
from migrator.transport import kit
from migrator.transport.base import Answer, Node, NodeFailed, NodeRefused

WAIT_S = 20
LONGEST_S = 6 * 3600


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for: `addresses` canonical, or none to have free ones found, as for cards that are not among
    `nics`; `without` need not be asked.
    """

    source: str
    name: str
    addresses: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()
    hostname: str | None = None
    live: bool = False
    start: bool = True
    pause_s_max: int = 15
    volumes_shared: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def ips(self, bridge: str) -> Iterator[tuple[str, str, str]]:
        """Each address: the option that gave it, without its prefix, and the bridge on which others may have it."""
        yield from (("--ip", bare(address), bridge) for address in self.addresses)
        yield from (("--nic", bare(address), nic.bridge) for nic in self.nics for address in nic.addresses)


@dataclass(frozen=True, slots=True)
class Cloned:
    """What was made; `paused_ms` is how long the source stood still, None if it did not run. `unpublished` are the
    source's published ports, which stay its alone.
    """

    name: str
    node: str
    addresses: tuple[str, ...]
    paused_ms: int | None
    renewed: tuple[str, ...]
    state: str
    unpublished: tuple[str, ...] = ()


async def clone(fleet: Fleet, asked: Asked) -> Cloned:
    """Makes a clone; on any failure nothing of it is left, and the source runs on.

    Refused for what two containers must not have in common.
    """
    where = await _node_of(fleet, asked.source)
    there, bridge = fleet.node(where), fleet.file.bridge(fleet.file.entry(where))
    cluster, owned, inside = await all_of(
        fleet.survey(), _owned(there, list(asked.ips(bridge))), _inside(there, asked.source, asked.live)
    )
    node, source = find_container(cluster, asked.source)
    if node.name != where:
        raise Refused(f"container {asked.source} has just moved to {node.name}; try again")
    refuse_silent(fleet, cluster, asked.without, asked.name)
    original = _original(node, source)
    _refuse(cluster, node, source, original, asked)
    if found := [*owned, *inside]:
        raise Refused(f"container {asked.source} cannot be cloned: " + "; ".join(found))
    taken = decide.taken(cluster, original, {ip for _, ip, _ in asked.ips(bridge)})
    first = (original.address, *original.more_addresses)
    addresses = asked.addresses or await _free(there, bridge, first, taken)
    given = {nic.name: nic for nic in asked.nics}
    nics = [given.get(nic.name) or await _another(there, nic, taken) for nic in original.nics]
    ct = decide.descriptor_of(original, asked.name, addresses, free_ranges(cluster, 1)[0], asked.hostname, tuple(nics))
    if shared := list(decide.shared(original, ct, asked.volumes_shared)):
        raise Refused(f"container {asked.source} cannot be cloned: " + "; ".join(shared))
    hop, why = next_hops.changed_fault(original, ct)
    if hop:
        raise BadInput(f"clone {asked.name} has the routes of {asked.source}, and {hop}: {why}")
    if wrong := fault(ct):
        raise BadInput(f"a clone of {asked.source} with these addresses is no container: its {wrong} is wrong")
    return await _make(fleet, node, source, ct, asked)


async def _node_of(fleet: Fleet, name: str) -> str:
    """Where the container is, asked quickly: a probe takes its time, and this is what can be asked beside it."""
    names = [entry.name for entry in fleet.file.nodes]
    told = await asyncio.gather(*(fleet.node(n).call("ct-see", name, tries=2) for n in names), return_exceptions=True)
    for answer in told:
        if isinstance(answer, BaseException) and not isinstance(answer, MigratorError):
            raise answer
    found = [
        node
        for node, answer in zip(names, told, strict=True)
        if isinstance(answer, Answer) and answer.get("state", "absent") in ("serving", "stopped")
    ]
    if len(found) == 1:
        return found[0]
    node, _ = find_container(await fleet.probe(), name)  # which says why there is not one
    return node.name


async def _owned(node: Node, ips: list[tuple[str, str, str]]) -> list[str]:
    """Why addresses cannot be had: somebody answers for them, or nobody can be asked. `ips` as in `Asked.ips`."""
    asked = await asyncio.gather(*(node.call("arp-owner", bridge, ip, "soon") for _, ip, bridge in ips))
    found = []
    for (option, ip, _), answer in zip(ips, asked, strict=True):
        if list(answer.lines("owner")):
            found.append(f"{option} {ip}: something on the network answers for this address already")
        if blind := answer.get("blind"):
            found.append(f"{option} {ip}: nobody can be asked who has this address: {blind} of {node.name}; turn it on")
    return found


async def _another(node: Node, nic: Nic, taken: set[str]) -> Nic:
    """A card on the same bridge, with free addresses of the same networks and a MAC of its own."""
    return replace(nic, addresses=await _free(node, nic.bridge, nic.addresses, taken, "--nic"), mac="")


async def _free(
    node: Node, bridge: str, like: tuple[str, ...], taken: set[str], option: str = "--ip"
) -> tuple[str, ...]:
    """For each address the next of its network that nobody has, and nobody answers for; they are in `taken` then."""
    chosen: list[str] = []
    for address in like:
        for tried, candidate in enumerate(decide.next_free(address, taken)):
            if tried >= decide.TRIED_MAX:
                break
            if not await _owned(node, [(option, bare(candidate), bridge)]):
                chosen.append(candidate)
                taken.add(bare(candidate))
                break
        else:
            candidate = ""
        if not candidate or bare(candidate) not in taken:
            raise Refused(f"no address beside {bare(address)} is free; give one with {option}")
    return tuple(chosen)


async def _inside(node: Node, name: str, live: bool) -> list[str]:
    """What of the running source keeps a twin from being made of its memory."""
    if not live:
        return []
    obstacles, sockets = await asyncio.gather(node.call("obstacles", name), node.call("bound", name))
    try:
        return [
            *decide.bound(sockets.lines("bound")),
            *reasons(list(obstacles.lines("cannot")), python_at_target=True),
            *decide.made_inside(obstacles.lines("own")),
        ]
    except ValueError as error:
        raise NodeFailed(node.name, "obstacles", f"container {name}: {error}") from error


def _original(node: NodeFacts, source: ContainerFacts) -> Descriptor:
    if source.descriptor is None:
        raise FailedSafe(f"node {node.name}: container {source.name} has no descriptor; recreate it")
    return source.descriptor


def _refuse(cluster: Cluster, node: NodeFacts, source: ContainerFacts, original: Descriptor, asked: Asked) -> None:
    """Raises for what is known before anything of the clone is decided."""
    if unknown := decide.no_such_volumes(original, asked.volumes_shared):
        raise BadInput(f"--share-volume {unknown[0]}: container {source.name} has no such volume")
    if wrong := decide.no_such_card(original, asked.nics):
        raise BadInput(f"--nic {wrong}")
    refuse_macs(cluster, asked.nics)
    if source.run != "-":
        raise Refused(f"container {source.name} is held by run {source.run}; wait for its end, or: migrator resume")
    if node.cordon is not None:
        raise Refused(f"node {node.name} is cordoned (by {node.cordon}); take it back with: migrator uncordon")
    if "no-idmap" in node.filesystem:
        raise Refused(f"node {node.name}: its disk for containers cannot shift user ids (idmapped mounts)")
    for why in (*lacking(original.volumes, node.volumes), *devices_lacking(original.devices, node.devices)):
        raise Refused(f"node {node.name}: {why}")
    _refuse_taken(cluster, asked)
    if asked.live and (why := decide.no_twin(source, node)):
        raise Refused(why)


def _refuse_taken(cluster: Cluster, asked: Asked) -> None:
    wanted = {ip: option for option, ip, _ in asked.ips("")}
    for node in cluster.nodes:
        for other in node.containers:
            if other.name == asked.name:
                raise BadInput(f"container {asked.name} exists already on {node.name} ({other.state})")
            for ip in sorted(set(wanted).intersection(other.descriptor.ips if other.descriptor else ())):
                raise Refused(f"{wanted[ip]} {ip}: container {other.name} on {node.name} has this address")


async def _make(fleet: Fleet, node: NodeFacts, source: ContainerFacts, ct: Descriptor, asked: Asked) -> Cloned:
    there = fleet.node(node.name)
    demand = (ct.memory_bytes, ct.cpu_milli, ct.disk_bytes)
    capacity = (node.capacity.memory_bytes, node.capacity.cpu_milli, node.capacity.disk_bytes)
    words = (ct.name, ct.template, ct.template_digest, ct.id_base, *demand, *capacity)
    creator = secrets.token_hex(8)
    try:
        made = await there.call("ct-create", *words, creator, *ct.mount_points)
        put = functools.partial(there.call, "ct-put", ct.name, made.number("token"))
        mark = f"{source.name}\n".encode()
        await put("cloning", len(mark), stdin=mark)  # until it is gone again nobody starts what is there
        files = bundle.files(ct, kit.directory(), node.bridge, node.controllers, node.volumes)
        await asyncio.gather(*(put(name, len(data), stdin=data) for name, data in files.items()))
        image_bytes = decide.image_bytes(source) if asked.live else 0
        copied, now = await asyncio.gather(_copy(there, ct.name, creator, asked, image_bytes), fleet.described())
        refuse_twins(now, node.name, [ct])
        if asked.start:
            await there.call("ct-start", ct.name, timeout_s=120)
    except (MigratorError, asyncio.CancelledError) as error:
        await finish_anyway(_take_back(there, ct.name, creator, error), f"{ct.name}: being taken back on {node.name}")
        raise
    return Cloned(
        ct.name,
        node.name,
        ct.addresses,
        copied.number("paused_ms") if copied.get("paused_ms") else None,
        tuple(copied.lines("renewed")),
        "running" if asked.start else "stopped",
        tuple(map(str, source.descriptor.published if source.descriptor else ())),
    )


async def _copy(node: Node, name: str, creator: str, asked: Asked, image_bytes: int) -> Answer:
    """Has the node copy, and waits for it, however often it has to be asked."""
    until_s = asyncio.get_running_loop().time() + LONGEST_S
    words = (name, creator, asked.source, image_bytes, asked.pause_s_max, WAIT_S)
    while asyncio.get_running_loop().time() < until_s:
        answer = await node.call("ct-clone", *words, timeout_s=WAIT_S + 40)
        status = answer.get("job")
        if status == "done" and answer.get("exit") == "0":
            return Answer(answer.node, "ct-clone", "\n".join(answer.lines("out")))
        if status == "done":
            said = list(answer.lines("err"))
            why = said[-1] if said else "no reason given"
            raise NodeFailed(node.name, "ct-clone", f"{asked.source} was not cloned: {why}")
        if status != "running":
            why = answer.get("err", "it was ended from outside")
            raise NodeFailed(node.name, "ct-clone", f"{asked.source} was not cloned: {why}")
    raise NodeFailed(node.name, "ct-clone", f"{asked.source} is not cloned after {LONGEST_S} s")


async def take_away(node: Node, name: str) -> None:
    """Removes a clone, running or not."""
    await node.call("ct-stop", name, 0, timeout_s=40)
    await node.call("ct-remove", name, timeout_s=60)


async def _take_back(node: Node, name: str, creator: str, error: BaseException) -> None:
    """Removes what a failed clone has made, and nothing that somebody else has made under this name."""
    try:
        try:
            await node.call("ct-remove", name, creator, timeout_s=60)
        except NodeRefused as refused:
            if "is running" not in str(refused):
                return  # it was somebody else's all along
            await take_away(node, name)
    except MigratorError as failed:
        raise FailedSafe(f"{error}; what was made of {name} may be left: {failed}; see: migrator ct list") from error
