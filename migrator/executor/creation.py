"""Containers made on a node, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from migrator.errors import BadInput, FailedSafe, MigratorError, Refused
from migrator.executor.asked_nics import refuse_bridges, refuse_macs
from migrator.executor.asked_ports import refuse_ports
from migrator.executor.fleet import refuse_silent
from migrator.executor.ranges import RangeTaken, any_number, free_ranges
from migrator.executor.wanted import Wanted, check_length
from migrator.model.address import bare
from migrator.model.confinement import devices_lacking
from migrator.model.container import ID_INDEX_MIN, Descriptor
from migrator.model.init import lacks_group
from migrator.model.io_limits import IO_FEATURE, NO_IO
from migrator.model.ports import taken_by
from migrator.transport import kit
from migrator.transport.base import Answer, Node, NodeRefused

if TYPE_CHECKING:
    from migrator.executor.fleet import Fleet
    from migrator.model.facts import Cluster, NodeFacts

T = TypeVar("T")
Ip = tuple[str, str, str, str]  # see _asked_for
FEW = 2  # addresses up to which more goes on while they are asked for: with more there were too many sessions
ASKED_S_MAX = 2.0  # an address is asked about for a tenth of it
AT_ONCE = 4  # of a node: sshd is slower to count a session as ended than we are to begin the next


RANGE_TRIES = 3  # others who make containers at the same moment have taken the same range
RANGE_WORDS = "has the range of user ids"  # so says a node, under its lock


@dataclass(frozen=True, slots=True)
class _New:
    """One that is being made. By `creator` a second try, and the clean-up, know it from another of its name."""

    wanted: Wanted
    ct: Descriptor
    creator: str
    facts: NodeFacts
    there: Node

    def told(self, started: bool) -> dict[str, object]:
        return {
            "name": self.ct.name,
            "node": self.facts.name,
            "address": self.ct.address,
            "addresses": list(self.ct.addresses),
            "started": started,
            "id_base": self.ct.id_base,
            "volumes": [str(of) for of in (*self.ct.volumes, *self.ct.disks)],
        }


async def create_container(
    fleet: Fleet, node: str, wanted: Wanted, start: bool, without: Sequence[str] = ()
) -> dict[str, object]:
    """Makes a container on a node; on any failure nothing of it is left."""
    return (await create_containers(fleet, node, (wanted,), start, without))[0]


async def create_containers(
    fleet: Fleet, node: str, wanted: Sequence[Wanted], start: bool, without: Sequence[str] = ()
) -> list[dict[str, object]]:
    """Makes containers on a node, all or none; as `create_placed`."""
    return await create_placed(fleet, [(node, each) for each in wanted], start, without)


async def create_placed(
    fleet: Fleet, placed: Sequence[tuple[str, Wanted]], start: bool, without: Sequence[str] = ()
) -> list[dict[str, object]]:
    """Makes each container on its node, all or none. Of those that do not start nothing is left; others run on by then.

    Refused while a node does not answer, but for those named by `without`: it may have one of these names or addresses.
    """
    for _, each in placed:
        check_length(each)
    first = ID_INDEX_MIN
    for _ in range(RANGE_TRIES):
        try:
            return await _create(fleet, placed, start, without, first)
        except RangeTaken:
            first = any_number()
    return await _create(fleet, placed, start, without, first)


async def _create(
    fleet: Fleet, placed: Sequence[tuple[str, Wanted]], start: bool, without: Sequence[str], first_range: int
) -> list[dict[str, object]]:
    ips = [ip for node, each in placed for ip in _asked_for(node, each, fleet.file.bridge(fleet.file.entry(node)))]
    few = len(ips) <= FEW
    shells = _shells(fleet, {node for node, _ in placed} if few else ())
    async with _meanwhile(_owners(fleet, ips), patience_s=ASKED_S_MAX) as owners, shells:
        cluster = await _surveyed(fleet, placed, without)
        new = _described(fleet, cluster, placed, first_range)
        if not few:
            _refuse_taken(ips, await owners)
        for node, rules in {(each.facts.name, each.ct.firewall) for each in new}:
            await refuse_rules(fleet.node(node), rules)
        for one in new:
            await refuse_ports(one.there, one.facts, one.ct)
        try:
            await _all((each.facts.name, _make(each)) for each in new)
            ready = [(each.facts.name, _get_ready(each)) for each in new if few and start]
            now, _ = await asyncio.gather(fleet.described(), _all(ready))
            for node in {node for node, _ in placed}:
                refuse_twins(now, node, [each.ct for each in new if each.facts.name == node])
            _refuse_taken(ips, await owners)
        except (MigratorError, asyncio.CancelledError) as error:
            await _all_taken_back(new, error)
            raise
        if start:
            await _all_started(new)
        return [each.told(start) for each in new]


async def _owners(fleet: Fleet, ips: Sequence[Ip]) -> list[Answer]:
    """Who answers for each address. It takes long: what is made meanwhile is taken back where somebody does."""
    return await _all((node, fleet.node(node).call("arp-owner", on, ip, "soon")) for node, _, ip, on in ips)


def _refuse_taken(ips: Sequence[Ip], owners: Sequence[Answer]) -> None:
    for (node, option, ip, _), answer in zip(ips, owners, strict=True):
        refuse_owned(node, f"{option} {ip}", answer)


@contextlib.asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T], patience_s: float = 0.0) -> AsyncIterator[asyncio.Future[T]]:
    """What comes of it can be awaited; at the end it is over, if need be by being stopped. Where something is refused,
    not before so many seconds: what a node is asked to do goes on there, whoever has gone.
    """
    begun = asyncio.ensure_future(work)
    try:
        yield begun
    except MigratorError:
        await asyncio.wait({begun}, timeout=patience_s)
        raise
    finally:
        begun.cancel()
        await asyncio.gather(begun, return_exceptions=True)


@contextlib.asynccontextmanager
async def _shells(fleet: Fleet, nodes: Collection[str]) -> AsyncIterator[None]:
    """Meanwhile a shell gets ready on each node for what is asked next."""
    async with contextlib.AsyncExitStack() as shells:

        async def get_ready() -> None:
            for node in sorted(nodes):
                await shells.enter_async_context(fleet.node(node).standing_by(1))

        async with _meanwhile(get_ready()):
            yield


async def _surveyed(fleet: Fleet, placed: Sequence[tuple[str, Wanted]], without: Sequence[str]) -> Cluster:
    """The cluster, in which each node of these has answered, and any other that is not among `without`."""
    # Other runtimes are told by a probe alone.
    probes = any(each.runtime != "runc" for _, each in placed)
    cluster = await (fleet.probe() if probes else fleet.survey())
    if silent := next(
        (node for node in map(cluster.node, sorted({node for node, _ in placed})) if not node.answered), None
    ):
        raise FailedSafe(silent.error)
    refuse_silent(fleet, cluster, without, placed[0][1].name)
    return cluster


def _described(fleet: Fleet, cluster: Cluster, placed: Sequence[tuple[str, Wanted]], first_range: int) -> list[_New]:
    """Each as it will be, with a range of user ids of its own; refused what its node cannot give it."""
    found = []
    for (node, each), id_index in zip(placed, free_ranges(cluster, len(placed), first_range), strict=True):
        facts = cluster.node(node)
        _refuse_clashes(cluster, facts, each)
        ct = descriptor_of(each, facts.templates[each.template], id_index)
        refuse_unfit(ct, facts)
        found.append(_New(each, ct, secrets.token_hex(8), facts, fleet.node(node)))
    return found


def refuse_unfit(ct: Descriptor, facts: NodeFacts) -> None:
    """What its node cannot give it, whoever else is there."""
    if ct.runtime not in ("runc", *facts.features):
        raise Refused(f"node {facts.name}: {ct.runtime} is not there, or not built with CRIU; install it")
    if why := lacks_group(ct, facts.cgroup_version):
        raise Refused(f"--init systemd: node {facts.name}: {why}; boot it with version 2, or choose another node")
    if ct.io and IO_FEATURE not in facts.controllers:
        raise Refused(f"--io: node {facts.name} {NO_IO}; leave it out, or choose another node")


def _asked_for(node: str, wanted: Wanted, bridge: str) -> Iterator[Ip]:
    """Each address: the node to ask, the option that gave it, itself without its prefix, and on which bridge."""
    for address in (wanted.address, *wanted.more_addresses):
        yield node, "--ip", bare(address), bridge
    for nic in wanted.nics:
        for address in nic.addresses:
            yield node, "--nic", bare(address), nic.bridge


def refuse_owned(node: str, asked: str, answer: Answer) -> None:
    """Refuses an address that somebody on the network answers for, and one that nobody can be asked about."""
    if list(answer.lines("owner")):
        raise Refused(f"{asked}: something on the network answers for this address already")
    if blind := answer.get("blind"):
        raise Refused(f"{asked}: nobody can be asked who has this address: {blind} of {node}; turn it on")


async def _make(new: _New) -> None:
    """Its record, then its files, of which the descriptor is the first: by that others see it."""
    from migrator.runtime import bundle  # noqa: PLC0415   (nodes are asked before, and need not wait for it)

    ct, there, facts = new.ct, new.there, new.facts
    demand = (ct.memory_bytes, ct.cpu_milli, ct.disk_bytes)
    capacity = (facts.capacity.memory_bytes, facts.capacity.cpu_milli, facts.capacity.disk_bytes)
    words = (ct.name, ct.template, ct.template_digest, ct.id_base, *demand, *capacity)
    try:
        made = await there.call("ct-create", *words, new.creator, *ct.mount_points)
    except NodeRefused as refused:
        raise RangeTaken(str(refused)) if RANGE_WORDS in str(refused) else refused from refused
    token = made.number("token")
    files = bundle.files(ct, kit.directory(), facts.bridge, facts.controllers, facts.volumes)
    sizes = [word for name, data in files.items() for word in (name, len(data))]
    await there.call("ct-put", ct.name, token, *sizes, stdin=b"".join(files.values()))


async def _get_ready(new: _New) -> None:
    """What a start would do, as far as nobody sees it."""
    await new.there.call("ct-ready", new.ct.name, new.creator, timeout_s=60)


async def _all_started(new: Sequence[_New]) -> None:
    """Each that does not start is taken back by itself; those whose turn did not come before an interrupt are, too."""
    begun: set[str] = set()
    try:
        await _all((each.facts.name, _start(each, begun)) for each in new)
    except (MigratorError, asyncio.CancelledError) as error:
        await _all_taken_back([each for each in new if each.ct.name not in begun], error)
        raise


async def _all_taken_back(new: Sequence[_New], error: BaseException) -> None:
    await _all((each.facts.name, _take_back(each.there, each.ct.name, each.creator, error)) for each in new)


async def _start(new: _New, begun: set[str]) -> None:
    begun.add(new.ct.name)
    try:
        await new.there.call("ct-start", new.ct.name, timeout_s=60)
    except (MigratorError, asyncio.CancelledError) as error:
        await _take_back(new.there, new.ct.name, new.creator, error)
        raise


async def _all(acts: Iterable[tuple[str, Coroutine[Any, Any, T]]]) -> list[T]:
    """All of them to their ends, a few at a time on each one's node, and then the first failure: who cleans up meets
    nobody at work.
    """
    turns: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    async def in_turn(node: str, act: Coroutine[Any, Any, T]) -> T:
        try:
            async with turns[node]:
                return await act
        finally:
            act.close()  # of one that was cancelled before its turn

    done = await asyncio.gather(*(in_turn(node, act) for node, act in acts), return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if not isinstance(each, BaseException)]


async def refuse_rules(node: Node, firewall: str) -> None:
    """Refuses rules that the node's own nft does not take."""
    if not firewall:
        return
    data = firewall.encode()
    if wrong := (await node.call("check-firewall", len(data), stdin=data)).get("fault"):
        raise BadInput(f"--firewall: {node.name} says of it: {wrong}")


def descriptor_of(wanted: Wanted, template_digest: str, id_index: int) -> Descriptor:
    """What a person asked for, as a container with this range of user ids."""
    return Descriptor(
        name=wanted.name,
        template=wanted.template,
        template_digest=template_digest,
        command=wanted.command,
        address=wanted.address,
        more_addresses=wanted.more_addresses,
        gateway=wanted.gateway,
        gateway6=wanted.gateway6,
        id_index=id_index,
        memory_bytes=wanted.memory_bytes,
        cpu_milli=wanted.cpu_milli,
        disk_bytes=wanted.disk_bytes,
        user=wanted.user,
        env=wanted.env,
        labels=wanted.labels,
        restart=wanted.restart,
        volumes=wanted.volumes,
        swap_bytes=wanted.swap_bytes,
        pids=wanted.pids,
        io_weight=wanted.io_weight,
        io=wanted.io,
        runtime=wanted.runtime,
        nics=wanted.nics,
        disks=wanted.disks,
        published=wanted.published,
        init=wanted.init,
        stop_signal=wanted.stop_signal,
        **wanted.surroundings.fields(),
    )


async def _take_back(node: Node, name: str, creator: str, error: BaseException) -> None:
    """Removes what a failed create has made, and nothing that somebody else has made under this name."""
    try:
        await node.call("ct-remove", name, creator)
    except NodeRefused:
        return  # it was somebody else's all along
    except MigratorError as failed:
        raise FailedSafe(f"{error}; what was made of {name} may be left: {failed}; see: migrator ct list") from error


def _refuse_clashes(cluster: Cluster, facts: NodeFacts, wanted: Wanted) -> None:
    if wanted.template not in facts.templates:
        there = ", ".join(name for name in facts.templates if "@" not in name) or "none"
        older = any(name.startswith(f"{wanted.template}@") for name in facts.templates)
        why = "only older ones are" if older else "not"
        raise BadInput(f"--template {wanted.template}: {why} on node {facts.name}, which has: {there}; push it there")
    _refuse_absent(facts, wanted)
    refuse_bridges(facts, wanted.nics)
    refuse_macs(cluster, wanted.nics)
    for why in devices_lacking(wanted.devices, facts.devices):
        raise Refused(f"--device: on node {facts.name} {why}")
    if facts.cordon is not None:
        raise Refused(f"node {facts.name} is cordoned (by {facts.cordon}); take it back with: migrator uncordon")
    for node in cluster.nodes:
        for other in node.containers:
            if other.name == wanted.name:
                raise BadInput(f"container {wanted.name} exists already on {node.name} ({other.state})")
            for ip in other.descriptor.ips if other.descriptor else ():
                if ip in map(bare, wanted.addresses):
                    raise Refused(f"address {ip}: container {other.name} on {node.name} has this address")


def _refuse_absent(facts: NodeFacts, wanted: Wanted) -> None:
    """Refuses volumes that nobody has declared, or that are not mounted on the node; and own ones called as those."""
    for disk in wanted.disks:
        if disk.name in facts.volumes:
            raise BadInput(
                f"--volume {disk}: {disk.name} is a volume of the cluster file, which nodes share; leave the size out, "
                "or give the container's own another name"
            )
    for volume in wanted.volumes:
        if volume.name not in facts.volumes:
            named = ", ".join(facts.volumes) or "none"
            own = f"for one of its own give it a size, as {volume.name}:{volume.path}:1G"
            raise BadInput(
                f"--volume {volume}: the cluster file names no volume {volume.name}; it names: {named}; {own}"
            )
        if why := facts.volumes[volume.name].fault:
            raise Refused(f"--volume {volume}: on node {facts.name} it is not there: {why}")


def refuse_twins(cluster: Cluster, node: str, made: Sequence[Descriptor]) -> None:
    """Refuses what somebody else has made meanwhile: looked for after our own records can be seen by others."""
    ours = {ct.name for ct in made}
    names, indices = {ct.name for ct in made}, {ct.id_index for ct in made}
    ips = {ip for ct in made for ip in ct.ips}
    for other_node in cluster.nodes:
        for other in other_node.containers:
            if other.descriptor is None or (other_node.name == node and other.name in ours):
                continue
            theirs = other.descriptor.published if other_node.name == node else ()
            if port := next(filter(None, (taken_by(ct.published, theirs) for ct in made)), None):
                raise Refused(f"container {other.name} has published {port} at the same moment; choose another port")
            same_address = not ips.isdisjoint(other.descriptor.ips)
            why = f"container {other.name} was made on {other_node.name} at the same moment; try again"
            if other.name in names or same_address:
                raise Refused(why)
            if other.descriptor.id_index in indices:
                raise RangeTaken(why)
