"""Check: everything that would make the move fail is asked while nothing has been touched; all findings at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from migrator.errors import Refused
from migrator.model import ports as published
from migrator.model.file_passes import LITTLE_BYTES
from migrator.model.modes import ANEW, Mode
from migrator.protocol.checks import Answered, Neighbour, findings
from migrator.protocol.states import State
from migrator.protocol.tracking import untracked
from migrator.protocol.undumpable import reasons
from migrator.runtime.bundle import net_file
from migrator.runtime.carried import checked
from migrator.steps import ports, traces, volumes
from migrator.steps.base import Move, Step
from migrator.transport.base import Answer, NodeFailed

SECOND_LOOK_S = 0.5
RESTARTED = "move it by --mode restart, after which it has to make them anew"
OF_IPTABLES = ("rules of iptables", "rules that use ")  # what they use nft mostly has by itself, but for its own osf


async def do(move: Move) -> dict[str, Any]:
    found = await ask(move)
    if found:
        raise Refused(refusal(move, found))
    lost = published.lost(move.descriptor.published, move.target.node.name)
    if lost:
        move.on_progress(State.CHECKED, lost)
    told = {"connections_lost": lost} if lost else {}
    way = {"memory": move.memory.name, "mode": move.mode, "mode_why": move.mode_why, **_link(move)}
    if move.mode is Mode.RESTART:
        return {"findings": 0, "mode": move.mode, "mode_why": move.mode_why, **told}
    why = {"memory_why": move.memory.why} if move.memory.why else {}
    return {"findings": 0, **way, "channel": move.channel, **why, **told, **_packed(move)}


def _packed(move: Move) -> dict[str, int]:
    """What of its files is memory, where that is not little, for what is learnt: their time is not that of memory."""
    mine = move.source.facts.container(move.name)
    return {"tmpfs_bytes": mine.tmpfs_bytes} if mine and mine.tmpfs_bytes > LITTLE_BYTES else {}


def _link(move: Move) -> dict[str, int]:
    """The slowest speed that is declared between the nodes, for what is learnt: a full link says nothing of more."""
    ends = (move.source.facts.link.up_bytes_per_s, move.target.facts.link.down_bytes_per_s)
    declared = [speed for speed in (*ends, *move.shared) if speed]
    return {"link_bytes_per_s": min(declared)} if declared else {}


async def ask(move: Move) -> list[str]:
    """Every reason against the move. Both nodes are asked, and neither is changed (volumes hold a marker meanwhile)."""
    neighbour = await _neighbour(move)
    ct, source, target = move.descriptor_there, move.source.facts, move.target.facts
    found = findings(ct, source, target, neighbour, move.policy, move.rates, move.site.routed, move.manner, move.shared)
    if move.mode is not Mode.RESTART:  # in which nothing of its processes is carried, nor of what they have made
        inside = await _inside(move)
        links = [own.partition(" ")[2] for own in inside.lines("own") if own.startswith("link ")]
        gone = "which is not carried; remove it inside"
        found += [f"its network has a link of its own, {link}, {gone}" for link in links]
        lost = [own.partition(" ")[2] for own in inside.lines("own") if own.startswith("lost ")]
        found += [f"its network has {what}, which a live move does not carry; {_instead(what)}" for what in lost]
        found += _untracked(move, inside)
        found += await _unmade(move, inside)
        found += _with_a_hint(move, await _undumpable(move, list(inside.lines("cannot"))))
    found += await volumes.findings(move)
    found += await ports.findings(move.target.node, ct)
    return found + [fault for hook in move.site.hooks if (fault := move.hooks.fault(hook))]


async def _unmade(move: Move, inside: Answer) -> list[str]:
    """What the target's kernel does not make of what its root has made in its network: tried there, for nobody."""
    if not (lines := list(inside.lines("carry"))):
        return []
    try:
        told = checked(lines)
    except ValueError as error:
        raise NodeFailed(move.source.node.name, "obstacles", f"container {move.name}: {error}") from error
    target = move.target
    net = net_file(move.descriptor_there, target.facts.bridge)
    answer = await target.node.call("check-network", move.name, len(net), stdin=net + told)
    cannot = f"node {target.node.name} cannot make what its root has made in its network"
    return [f"{cannot}: {fault}; do without, or {RESTARTED}" for fault in answer.lines("fault")]


def _instead(lost: str) -> str:
    has_others = lost.startswith(OF_IPTABLES) and lost != "rules that use osf"
    return f"{'have rules of nft instead' if has_others else 'do without'}, or {RESTARTED}"


def _untracked(move: Move, inside: Answer) -> list[str]:
    try:
        return list(untracked(inside.lines("tracks"), bool(inside.get("translates")), move.target.facts))
    except ValueError as error:
        raise NodeFailed(move.source.node.name, "obstacles", f"container {move.name}: {error}") from error


async def _inside(move: Move) -> Answer:
    """What is in the container that may not be carried: in its network, and of its processes."""
    return await move.source.node.call("obstacles", move.name)


async def undumpable(move: Move) -> list[str]:
    """What of the container, as its source sees it now, CRIU cannot dump."""
    return await _undumpable(move, list((await _inside(move)).lines("cannot")))


def _with_a_hint(move: Move, found: list[str]) -> list[str]:
    """The same, the last one with the mode that needs no dump: nobody is moved by it without saying so."""
    if not found:
        return []
    way = f"or move it by --mode restart: it is stopped, and {ANEW} on {move.target.node.name}"
    if move.rehearsal:
        way += " (which is not rehearsed, for that would stop it; see what it would take with --dry-run)"
    return [*found[:-1], f"{found[-1]}; {way}"]


async def _undumpable(move: Move, seen: list[str]) -> list[str]:
    """What CRIU would fail on. What is seen once may be about to end, as a command inside: it counts when it stays."""
    target = move.target.facts
    if seen:
        await asyncio.sleep(SECOND_LOOK_S)
        again = set((await _inside(move)).lines("cannot"))
        seen = [line for line in seen if line in again]
    try:
        return reasons(seen, python_at_target=not target.stream_in.startswith("Python"))
    except ValueError as error:
        raise NodeFailed(move.source.node.name, "obstacles", f"container {move.name}: {error}") from error


def refusal(move: Move, found: Sequence[str]) -> str:
    """All that was found against a move, in one line."""
    return f"container {move.name} cannot move to {move.target.node.name}: " + "; ".join(found)


async def _neighbour(move: Move) -> Neighbour:
    """Who answers for the container's addresses: asked from the target, which proves the shared network too."""
    ips = move.descriptor.ips
    criu, answered = await asyncio.gather(
        move.target.node.call("criu-check"), asyncio.gather(*(_answered(move, ip) for ip in ips))
    )
    return Neighbour(dict(zip(ips, answered, strict=True)), criu_works=criu.get("criu") == "works")


async def _answered(move: Move, ip: str) -> Answered:
    """Asked from the target; and where nobody answers there, from the source, which tells the reason apart."""
    bridge = move.descriptor.card_of(ip).bridge
    if bridge and bridge not in move.target.facts.bridges:
        return Answered((), blind=f"there is no bridge {bridge}")  # which is a finding of its own
    there = await move.target.node.call("arp-owner", bridge or move.target.facts.bridge, ip)
    macs = tuple(there.lines("owner"))
    if macs or move.site.routed:
        return Answered(macs)
    here = await move.source.node.call("arp-owner", bridge or move.source.facts.bridge, ip)
    return Answered(macs, bool(here.get("owner")), there.get("blind"))


STEP = Step(State.CHECKED, do, traces.frozen)
