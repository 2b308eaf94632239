"""Would this container live on that node? Every reason why not, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migrator.model import plan_policy
from migrator.model.compatibility import differences, differences_in_files, lacks, obstacles
from migrator.model.container import Descriptor
from migrator.model.estimate import PLAIN, Manner, estimate_move
from migrator.model.facts import NodeFacts
from migrator.model.memory_way import memory_way
from migrator.model.modes import Mode
from migrator.model.policy import Policy
from migrator.model.ranges import must_not_meet
from migrator.model.rates import Rates
from migrator.model.sameness import CRIU_CHECK, offered
from migrator.model.units import format_bytes, format_seconds

IMAGE_MARGIN_BYTES = plan_policy.IMAGE_MARGIN_BYTES  # the same that a plan counts with
STREAM_KEPT_BYTES = plan_policy.STREAM_KEPT_BYTES


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answers for one address: `macs` on the target's bridge, and whether somebody does `at_source`, on its bridge.

    `blind` is why the target could not ask; empty when it could.
    """

    macs: tuple[str, ...]
    at_source: bool = False
    blind: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What the nodes themselves saw: who answers for each of the container's addresses, and whether the target's CRIU
    works.
    """

    answered: dict[str, Answered]
    criu_works: bool


def findings(
    ct: Descriptor,
    source: NodeFacts,
    target: NodeFacts,
    neighbour: Neighbour,
    policy: Policy,
    rates: Rates,
    routed: bool = False,
    manner: Manner = PLAIN,
    shared: Iterable[int] = (),
) -> list[str]:
    """Every reason against the move, in words for an operator; none means go. `rates` are what its pause is predicted
    by, with the speeds of the `shared` links between the nodes in bytes a second; `routed` is whether the site has
    declared that its hooks take the addresses from node to node; `manner` is how it will be moved.
    """
    mode = manner.mode
    return [
        *_sameness(source, target, neighbour, mode, policy),
        *_place(ct, source, target, mode, policy),
        *_room(ct, source, target, mode),
        *_network(ct, source, target, neighbour, routed),
        *_pause(ct, source, target, policy, rates, manner, shared),
        *_manifests(source, target, policy),
        *(() if mode is Mode.RESTART else _bandwidth(source, target, policy)),
    ]


def _sameness(source: NodeFacts, target: NodeFacts, neighbour: Neighbour, mode: Mode, policy: Policy) -> Iterator[str]:
    if mode is Mode.RESTART:  # nothing is dumped, and nothing restored
        yield from differences_in_files(source, target, policy.checks_waived)
        return
    yield from differences(source, target, policy.checks_waived)
    if target.criu and not neighbour.criu_works and CRIU_CHECK not in policy.checks_waived:
        why = f"CRIU {target.criu} does not work on kernel {target.kernel}; see `criu check` on {target.name}"
        yield offered(CRIU_CHECK, why)


def _place(ct: Descriptor, source: NodeFacts, target: NodeFacts, mode: Mode, policy: Policy) -> Iterator[str]:
    yield from obstacles(ct, target)
    for other in target.containers:  # it was to have another range there: this one came meanwhile
        theirs = other.descriptor if other.name != ct.name else None
        if theirs and theirs.id_index == ct.id_index and not must_not_meet(ct, theirs):
            yield f"container {other.name} has the same range of user ids ({ct.id_base}) there now; begin again"
    if target.cordon is not None:
        yield f"it is cordoned (by {target.cordon}); take the mark off with: migrator uncordon {target.name}"
    mine = source.container(ct.name)
    if mine is not None and mode is not Mode.RESTART:
        yield from lacks(mine, target, policy.checks_waived)
    if mine is None or not mine.alive:
        yield f"it does not run on {source.name}; start it first"


def _room(ct: Descriptor, source: NodeFacts, target: NodeFacts, mode: Mode) -> Iterator[str]:
    mine = source.container(ct.name)
    anon, tmpfs, pages = (mine.anon_bytes, mine.tmpfs_bytes, mine.paged_bytes) if mine else (0, 0, 0)
    if mode is Mode.RESTART:
        sent, come, what = 0, 0, "as much as its processes have here"
    elif mode is Mode.PRE_COPY:
        sent, come = tmpfs + IMAGE_MARGIN_BYTES, anon + IMAGE_MARGIN_BYTES
        what = "what rounds of pre-copy bring and the restored pages"
    elif memory_way(source, target).name == "stream":
        sent, come = tmpfs + IMAGE_MARGIN_BYTES, min(pages, STREAM_KEPT_BYTES) + tmpfs + IMAGE_MARGIN_BYTES
        what = "pages that come early and those in their place"
    else:
        sent = come = anon + IMAGE_MARGIN_BYTES
        what = "the images and the restored pages"
    if source.memory_available_bytes < sent:
        yield _short("memory for the images on the source", sent, source.memory_available_bytes)
    if target.memory_available_bytes < come + anon:
        yield _short(f"memory for {what}", come + anon, target.memory_available_bytes)
    files = mine.files_bytes if mine else 0
    if target.disk_available_bytes < files + IMAGE_MARGIN_BYTES:
        yield _short("disk", files + IMAGE_MARGIN_BYTES, target.disk_available_bytes)


def _network(ct: Descriptor, source: NodeFacts, target: NodeFacts, neighbour: Neighbour, routed: bool) -> Iterator[str]:
    """The container itself, which answers on the target's bridge, is the one proof that the nodes share its network: a
    gateway, or a router that answers for others, has the same address, and often the same MAC, on several.
    """
    own = {card.mac for card in ct.cards}  # where two are in one network, each answers for the addresses of both
    for ip in ct.ips:
        seen = neighbour.answered[ip]
        card = ct.card_of(ip)
        here, there = card.bridge or source.bridge, card.bridge or target.bridge
        others = [mac for mac in seen.macs if mac.lower() not in own]
        if others:
            yield f"address {ip} is also used by {others[0].lower()}; find that machine"
        elif routed or seen.macs or (ct.published and not card.bridge):  # whose network need be no other node's
            continue
        elif seen.blind:
            yield f"nobody can be asked who has address {ip}: {seen.blind} of {target.name}; turn it on"
        elif seen.at_source:
            yield (
                f"address {ip} answers on {source.name}'s bridge {here} and not on {target.name}'s bridge "
                f"{there}: the nodes share no network for it, and connections would be lost; join the bridges, "
                "or declare network: routed, with a hook that takes it there"
            )
        else:
            yield (
                f"address {ip} does not answer on {target.name}'s bridge {there}, nor on {source.name}'s own: "
                "nobody knows whether the nodes share a network for it; see whether its gate is open and it still has "
                f"the address: migrator ct exec {ct.name} -- ip address"
            )


def _pause(
    ct: Descriptor,
    source: NodeFacts,
    target: NodeFacts,
    policy: Policy,
    rates: Rates,
    manner: Manner,
    shared: Iterable[int],
) -> Iterator[str]:
    mine = source.container(ct.name)
    if mine is None:
        return
    estimate = estimate_move(mine, source.link, target.link, rates, shared, manner)
    if estimate.blackout_s > policy.blackout_s_max:
        files_s = estimate.files_pause_s
        of_it = f", {format_seconds(files_s)} of it for files that it writes or holds in memory" if files_s else ""
        yield (
            f"its pause is predicted at {format_seconds(estimate.blackout_s)}{of_it}, over the limit of "
            f"{format_seconds(policy.blackout_s_max)}; allow it with --max-blackout"
        )


def _manifests(source: NodeFacts, target: NodeFacts, policy: Policy) -> Iterator[str]:
    """Both sides' digests are made by the Python that streams memory."""
    way = memory_way(source, target)
    if policy.verify_files and way.name != "stream":
        yield f"--verify-files needs what streaming memory needs, on both nodes: {way.why}"


def _bandwidth(source: NodeFacts, target: NodeFacts, policy: Policy) -> Iterator[str]:
    """Images are held back by Python as well; where the source has none they would take all there is."""
    by_images = memory_way(source, target).name == "images"
    if policy.bandwidth_bytes_per_s is not None and by_images and source.stream_out.startswith("Python"):
        yield f"--bandwidth cannot be kept from {source.name}: {source.stream_out}"


def _short(what: str, wanted: int, there: int) -> str:
    return f"{what}: {format_bytes(wanted)} wanted, {format_bytes(there)} available; free some or choose another node"
