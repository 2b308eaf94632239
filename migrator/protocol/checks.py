"""Would this container live on that node? Every reason why not, each with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from migrator.model.container import Descriptor
from migrator.model.estimate import estimate_move
from migrator.model.facts import NodeFacts
from migrator.model.policy import Policy
from migrator.model.units import format_bytes, format_seconds

IMAGE_MARGIN_BYTES = 64 << 20
INODES_MIN = 10_000


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What the target itself saw: the MACs that answer for the container's address, and whether its CRIU works."""

    macs: tuple[str, ...]
    criu_works: bool


def findings(ct: Descriptor, source: NodeFacts, target: NodeFacts, neighbour: Neighbour, policy: Policy) -> list[str]:
    """Every reason against the move, in words for an operator; none means go."""
    return [
        *_sameness(source, target, neighbour),
        *_place(ct, source, target),
        *_room(ct, source, target),
        *_network(ct, target, neighbour),
        *_pause(ct, source, target, policy),
    ]


def _sameness(source: NodeFacts, target: NodeFacts, neighbour: Neighbour) -> Iterator[str]:
    if source.arch != target.arch:
        yield f"architecture {target.arch} is not {source.arch}; choose a node of the same"
    missing = sorted(set(source.cpu_flags) - set(target.cpu_flags))
    if missing:
        yield f"its CPU lacks {', '.join(missing[:6])}, which programs may use; choose a node with the same features"
    if source.cgroup_version != target.cgroup_version:
        yield f"cgroup version {target.cgroup_version} is not {source.cgroup_version}; boot both with the same"
    for tool in ("criu", "runc", "rsync"):
        if not getattr(target, tool):
            yield f"{tool} is not installed there; install it"
    if target.criu and version(target.criu) < version(source.criu):
        yield f"CRIU {target.criu} is older than the source's {source.criu}; upgrade it"
    if target.criu and not neighbour.criu_works:
        yield f"CRIU {target.criu} does not work on kernel {target.kernel}; see `criu check` on {target.name}"


def _place(ct: Descriptor, source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    there = target.container(ct.name)
    if there is not None and there.state != "reserved":
        yield f"there is a container of that name already ({there.state})"
    for other in target.containers:
        if other.name != ct.name and other.descriptor and other.descriptor.id_index == ct.id_index:
            yield f"container {other.name} has the same range of user ids ({ct.id_base}); recreate one of them"
    digest = target.templates.get(ct.template)
    if digest is not None and digest != ct.template_digest:
        yield f"template {ct.template} is another one there; make them the same"
    if target.bridge not in target.bridges:
        yield f"bridge {target.bridge} is not there; make it, or name another in the cluster file"
    mine = source.container(ct.name)
    if mine is None or not mine.alive:
        yield f"it does not run on {source.name}; start it first"


def _room(ct: Descriptor, source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    mine = source.container(ct.name)
    anon = mine.anon_bytes if mine else 0
    image = anon + IMAGE_MARGIN_BYTES
    if source.memory_available_bytes < image:
        yield _short("memory for the images on the source", image, source.memory_available_bytes)
    if target.memory_available_bytes < image + anon:
        yield _short("memory for the images and the restored pages", image + anon, target.memory_available_bytes)
    files = mine.files_bytes if mine else 0
    if target.disk_available_bytes < files + IMAGE_MARGIN_BYTES:
        yield _short("disk", files + IMAGE_MARGIN_BYTES, target.disk_available_bytes)
    if target.inodes_available < INODES_MIN:
        yield f"{target.inodes_available} inodes are free, {INODES_MIN} are wanted; delete files there"


def _network(ct: Descriptor, target: NodeFacts, neighbour: Neighbour) -> Iterator[str]:
    others = [mac for mac in neighbour.macs if mac.lower() != ct.mac]
    if others:
        yield f"address {ct.ip} is also used by {others[0].lower()}; find that machine"
    elif not neighbour.macs:
        yield (
            f"address {ct.ip} does not answer on {target.name}'s bridge {target.bridge}: the nodes share no network "
            "for it, and connections would be lost; join the bridges"
        )


def _pause(ct: Descriptor, source: NodeFacts, target: NodeFacts, policy: Policy) -> Iterator[str]:
    mine = source.container(ct.name)
    if mine is None:
        return
    predicted_s = estimate_move(mine, source.link, target.link).blackout_s
    if predicted_s > policy.blackout_s_max:
        yield (
            f"its pause is predicted at {format_seconds(predicted_s)}, over the limit of "
            f"{format_seconds(policy.blackout_s_max)}; allow it with --max-blackout"
        )


def _short(what: str, wanted: int, there: int) -> str:
    return f"{what}: {format_bytes(wanted)} wanted, {format_bytes(there)} available; free some or choose another node"


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing: "4.2.1-rc2" is (4, 2, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
