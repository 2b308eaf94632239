"""A container's limits and surroundings changed: where it is now, or where a move that is under way leaves it.

Theory. What is needed for the change is little, so nodes are not probed: each says what it knows of the container, and
its owner what it has promised to others. The change itself is one verb, which is told the token that was seen. If
another change was quicker, or a migration has begun, the token is another, and all is looked at again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from migrator.errors import BadInput, FailedSafe, MigratorError, Refused, nowhere
from migrator.executor.creation import refuse_rules
from migrator.executor.fleet import Fleet
from migrator.executor.readdress import met, refuse_odd, refuse_taken
from migrator.executor.wanted import DESCRIPTION_BYTES_MAX
from migrator.inventory.overcommit import promised
from migrator.inventory.probe import capacity_of
from migrator.model import nics
from migrator.model.around import Around, only_stopped
from migrator.model.confinement import DEVICES, devices_lacking
from migrator.model.container import Descriptor, fault
from migrator.model.facts import ContainerFacts, NodeFacts, Resources
from migrator.model.io_limits import IO_FEATURE, NO_IO
from migrator.model.limits import Change, Limits, limits_of, not_enforced
from migrator.model.observation import COUNTER_MAX
from migrator.model.units import format_bytes, format_seconds
from migrator.model.volume import Mounted
from migrator.runtime import bundle
from migrator.transport import kit
from migrator.transport.base import Answer, NodeFailed, NodeMissing, NodeRefused

LOOK_AGAIN_S = 0.25
CHANGED_MEANWHILE_MAX = 5
NOTHING = Resources()
_DESCRIPTOR = TypeAdapter(Descriptor)
_KIT = re.compile(rf"{kit.KITS}/[0-9a-f]{{1,64}}")


class NoRoom(Refused):
    """The node has not enough for the new limits: `container` needs `demand` altogether, and is on `node`.

    What can be done about it is for the caller to say.
    """

    def __init__(self, message: str, container: str, node: str, demand: Resources) -> None:
        super().__init__(message)
        self.container, self.node, self.demand = container, node, demand


@dataclass(frozen=True, slots=True)
class Seen:
    """A container on a node, as its own record tells of it; `facts` is the node with what it has promised."""

    node: str
    state: str
    token: int
    run: str
    facts: NodeFacts
    reserved: Resources = NOTHING
    descriptor: Descriptor | None = None
    kit_dir: str = ""

    @property
    def at_rest(self) -> bool:
        return self.run == "-" and self.state in ("serving", "stopped")


@dataclass(frozen=True, slots=True)
class Set:
    """What was done: the limits before and after, and those of them that the node cannot enforce.

    `not_there` is what was to be taken away and was not there, in words. `took_ms` is from when all nodes were
    connected to, until the node said that it was in force.
    """

    name: str
    node: str
    before: Limits
    after: Limits
    not_enforced: list[str]
    running: bool
    container: Descriptor
    not_there: tuple[str, ...] = ()
    took_ms: int | None = None


async def set_limits(
    fleet: Fleet,
    name: str,
    change: Change,
    wait_s: float,
    tell: Callable[[str], None] = lambda text: None,
    without: Collection[str] = (),
) -> Set:
    """Changes limits at once and for good; waits at most `wait_s` for the end of a run that holds the container.

    `without` are nodes that do not answer, and have nothing of a new address. Raises NoRoom when the node has not
    enough; other refusals when it may not be, and then nothing was changed.
    """
    until_s, changed = asyncio.get_running_loop().time() + wait_s, 0
    while True:
        seen = await _at_rest(fleet, name, until_s, wait_s, tell)
        try:
            done = await _set(fleet, name, seen, change, without)
            return replace(done, took_ms=_since_connected_ms(fleet))
        except (NodeRefused, NodeMissing):
            again = await _see(fleet, seen.node, name)
            changed += 1
            if (again.token, again.run, again.state) == (seen.token, seen.run, seen.state):
                raise
            if changed > CHANGED_MEANWHILE_MAX:
                raise


def _since_connected_ms(fleet: Fleet) -> int | None:
    times = [node.connected_at_s for node in fleet.nodes.values() if node.connected_at_s is not None]
    return round((asyncio.get_running_loop().time() - max(times)) * 1000) if times else None


async def _at_rest(fleet: Fleet, name: str, until_s: float, wait_s: float, tell: Callable[[str], None]) -> Seen:
    """The container's owner, once no run holds it."""
    told = False
    while True:
        found, silent = await _everywhere(fleet, name)
        if not found:
            raise nowhere(name, fleet.file.name, silent)
        if len(found) == 1 and found[0].at_rest:
            return found[0]
        where = ", ".join(f"{seen.node} ({seen.state})" for seen in found)
        run = next((seen.run for seen in found if seen.run != "-"), "")
        held = f"container {name} is held by run {run} ({where})" if run else f"container {name} is at {where}"
        left_s = until_s - asyncio.get_running_loop().time()
        if wait_s <= 0 or left_s <= 0:
            waited = f" after {format_seconds(wait_s)}" if wait_s > 0 else ""
            finish = f"wait for its end, or finish it: migrator resume {run}" if run else "see: migrator ct list"
            raise Refused(f"{held}{waited}; its limits are as they were; {finish}")
        if not told:
            tell(f"{held}: waiting for its end, at most {format_seconds(wait_s)}; nothing is changed until then")
            told = True
        await asyncio.sleep(min(LOOK_AGAIN_S, left_s))


async def _everywhere(fleet: Fleet, name: str) -> tuple[list[Seen], list[str]]:
    """Every node that has a record of the container, and why others did not answer."""
    names = [entry.name for entry in fleet.file.nodes]
    told = await asyncio.gather(*(_see(fleet, node, name) for node in names), return_exceptions=True)
    for answer in told:
        if isinstance(answer, BaseException) and not isinstance(answer, MigratorError):
            raise answer
    found = [seen for seen in told if isinstance(seen, Seen) and seen.state != "absent"]
    return found, [str(error) for error in told if isinstance(error, MigratorError)]


async def _see(fleet: Fleet, node: str, name: str) -> Seen:
    return seen_by(fleet, node, name, await fleet.node(node).call("ct-see", name, tries=2))


def seen_by(fleet: Fleet, node: str, name: str, answer: Answer) -> Seen:
    """What a node tells of one container, no further believed than that."""
    entry = fleet.file.entry(node)
    declared = NodeFacts(name=node, bridge=fleet.file.bridge(entry))
    if (state := answer.get("state")) in ("", "absent"):
        return Seen(node, state or "absent", 0, "-", declared)
    own = _resources(answer, "")
    others = _resources(answer, "others_")
    cgroup = answer.get("cgroup", "0").split() or ["0"]
    facts = replace(
        declared,
        capacity=capacity_of(
            entry, Resources(answer.number("cpus") * 1000, answer.number("node_memory_bytes"), others.disk_bytes)
        ),
        memory_available_bytes=answer.number("memory_available_bytes"),
        controllers=tuple(sorted(cgroup[1:])),
        devices=tuple(sorted(set(answer.lines("device")) & set(DEVICES))),
        volumes={volume: Mounted(path) for volume, path in fleet.file.volume_paths(entry).items()},
        containers=(ContainerFacts("others", "serving", 0, 0, False, "-", reserved=others),),
    )
    with_own = replace(facts, containers=(*facts.containers, ContainerFacts(name, state, 0, 0, False, "-", own)))
    capacity = promised(with_own, fleet.file.overcommit(entry)).capacity
    if (token := answer.number("token")) > COUNTER_MAX:
        raise NodeFailed(node, "ct-see", f"it tells of a token that no node ever reaches: {token}")
    kit_dir = answer.get("kit")
    return Seen(
        node,
        state,
        token,
        answer.get("run", "-"),
        replace(facts, capacity=capacity),
        own,
        _descriptor(node, name, answer.get("descriptor")),
        kit_dir if _KIT.fullmatch(kit_dir) else kit.directory(),
    )


def _resources(answer: Answer, prefix: str) -> Resources:
    return Resources(*(answer.number(f"{prefix}{key}") for key in ("cpu_milli", "memory_bytes", "disk_bytes")))


def _descriptor(node: str, name: str, text: str) -> Descriptor | None:
    if not text:
        return None
    try:
        ct = _DESCRIPTOR.validate_json(text)
    except ValidationError as error:
        raise NodeFailed(node, "ct-see", f"the descriptor of container {name} is damaged") from error
    if ct.name != name or fault(ct):
        raise NodeFailed(node, "ct-see", f"the descriptor of container {name} is not one that it can have")
    return ct


async def _set(fleet: Fleet, name: str, seen: Seen, change: Change, without: Collection[str]) -> Set:
    if seen.descriptor is None:
        raise FailedSafe(f"node {seen.node}: container {name} has no descriptor; recreate it")
    ct = change.of(seen.descriptor)
    refuse_odd(seen.descriptor, ct)
    refuse_beyond(seen, ct)
    refuse_impossible(seen, seen.descriptor, ct)
    if ct.firewall != seen.descriptor.firewall:
        await refuse_rules(fleet.node(seen.node), ct.firewall)
    await refuse_taken(fleet, seen.node, seen.descriptor, ct, without)
    running = await _tell(fleet, seen, ct, change)
    if why := await met(fleet, seen.node, seen.descriptor, ct):
        raise await _set_back(fleet, await _see(fleet, seen.node, name), seen.descriptor, why)
    after = limits_of(ct)
    lacking = not_enforced(after, seen.facts.controllers)
    gone = tuple(change.around.not_there(seen.descriptor))
    return Set(ct.name, seen.node, limits_of(seen.descriptor), after, lacking, running, ct, gone)


async def _set_back(fleet: Fleet, seen: Seen, before: Descriptor, why: str) -> MigratorError:
    """What to say of a change that could not stay: somebody else has made the same at the same moment."""
    try:
        await _tell(fleet, seen, before, Change(around=Around(restart=before.restart)))
    except MigratorError as error:
        return FailedSafe(f"{why}, by a change of the same moment, and {before.name} has it too: {error}")
    return Refused(f"{why}, by a change of the same moment; all of {before.name} is as it was; try again")


async def _tell(fleet: Fleet, seen: Seen, ct: Descriptor, change: Change) -> bool:
    """Has its node make it so, by a change that leads there; whether it runs."""
    facts = seen.facts
    files = bundle.files(ct, seen.kit_dir, facts.bridge, facts.controllers, facts.volumes)
    descriptor, config = files["descriptor.json"], files["config.json"]
    words, more = _around_in_words(change, seen.descriptor or ct, ct, files)
    answer = await fleet.node(seen.node).call(
        "ct-set",
        ct.name,
        seen.token,
        ct.memory_bytes,
        ct.cpu_milli,
        "max" if ct.swap_bytes is None else ct.swap_bytes,
        ct.pids,
        ct.io_weight,
        facts.capacity.memory_bytes,
        facts.capacity.cpu_milli,
        len(descriptor),
        len(config),
        *words,
        stdin=descriptor + config + more,
    )
    return answer.get("in_force") == "now"


def _around_in_words(
    change: Change, before: Descriptor, ct: Descriptor, files: Mapping[str, bytes]
) -> tuple[tuple[str | int, ...], bytes]:
    """What `ct-set` is told beside limits, and what comes behind them on stdin; nothing where none of it changes."""
    if change.around.empty and not change.io:
        return (), b""
    network = bundle.network_files(ct)
    net, resolver, firewall = files["net"], network["resolv.conf"], network["firewall"]
    hostname = "-" if change.around.hostname is None else bundle.hostname_of(ct)
    still = ",".join(only_stopped(before, ct)) or "-"
    sizes = (len(net), len(resolver), len(firewall))
    return (ct.io.word, *sizes, hostname, still, change.around.restart or "-"), net + resolver + firewall


def refuse_impossible(seen: Seen, before: Descriptor, ct: Descriptor) -> None:
    """Refuses what no container is, and what its node cannot give it."""
    if lost := nics.lost_sysctl({nic.name for nic in ct.nics}, ct.sysctls):
        raise BadInput(f"--sysctl {lost}: the container has no such card")
    if wrong := fault(ct):
        raise BadInput(f"container {ct.name}: {wrong} would be more than a container has, or something none can have")
    if len(bundle.descriptor_json(ct)) > DESCRIPTION_BYTES_MAX:
        raise BadInput(f"container {ct.name}: --firewall, --env, --label and all else of it: together too long")
    if ct.io != before.io and ct.io and IO_FEATURE not in seen.facts.controllers:
        raise Refused(f"--io: node {seen.node} {NO_IO}; leave it out, or move {ct.name} to another node first")
    new = [name for name in ct.devices if name not in before.devices]
    if new and ct.runtime == "crun":
        raise Refused(f"--device {new[0]}: container {ct.name} is crun's, and could not be moved with it")
    for why in devices_lacking(new, seen.facts.devices):
        raise Refused(f"--device: on node {seen.node} {why}")


def refuse_beyond(seen: Seen, ct: Descriptor) -> None:
    """Raises NoRoom for what is raised past what the node has for it, beside all that it has promised to others."""
    room = seen.facts.room
    lacking = []
    if ct.memory_bytes > seen.reserved.memory_bytes and ct.memory_bytes > room.memory_bytes:
        free = format_bytes(max(0, room.memory_bytes))
        lacking.append(f"{format_bytes(ct.memory_bytes)} of memory, and {free} are free for it")
    if ct.cpu_milli > seen.reserved.cpu_milli and ct.cpu_milli > room.cpu_milli:
        lacking.append(f"{ct.cpu_milli / 1000:g} CPUs, and {max(0, room.cpu_milli) / 1000:g} are free for it")
    if lacking:
        raise NoRoom(
            f"container {ct.name} would need {'; '.join(lacking)} on {seen.node}",
            ct.name,
            seen.node,
            Resources(ct.cpu_milli, ct.memory_bytes, seen.reserved.disk_bytes),
        )
