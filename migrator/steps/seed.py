"""Seed: while the container runs, everything that can be on the target gets there, until little is left.

Where its memory follows afterwards (post-copy), it is gathered into huge pages on its source meanwhile (`huge_bytes`),
which is waited for (`gather_ms`): taking hold of each page is nearly all that grows with memory in such a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from typing import Any

from migrator.model.address import is_within
from migrator.model.memory_way import trusted_networks
from migrator.model.modes import Mode
from migrator.protocol.checks import IMAGE_MARGIN_BYTES
from migrator.protocol.states import State
from migrator.runtime import bundle
from migrator.steps import traces, volumes
from migrator.steps.base import Move, Side, Step, both, run_job
from migrator.steps.passes import FilePasses
from migrator.steps.precopy import copy_rounds
from migrator.transport import kit
from migrator.transport.base import Answer, NodeFailed

GATHER_TIMEOUT_S = 90  # more than the node takes for it at most
_KEY = re.compile(r"[A-Za-z0-9+/]+=*")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


async def do(move: Move) -> dict[str, Any]:
    if move.mode is not Mode.POST_COPY:
        return await _seed(move)
    clock = asyncio.get_running_loop().time

    async def seeded() -> tuple[dict[str, Any], float]:
        return await _seed(move), clock()

    (found, seeded_s), huge_bytes = await both(seeded(), _gather_pages(move))
    return found | {"huge_bytes": huge_bytes, "gather_ms": round((clock() - seeded_s) * 1000)}


async def _gather_pages(move: Move) -> int:
    """Returns how much of its memory is in huge pages. Nothing depends on it: what fails leaves memory as it is."""
    words = ("huge-pages", move.name, move.token)
    with contextlib.suppress(NodeFailed):
        done = await run_job(move.source.node, move, "huge-pages", *words, timeout_s=GATHER_TIMEOUT_S)
        return done.number("huge_bytes")
    return 0


async def _seed(move: Move) -> dict[str, Any]:
    await asyncio.gather(_prepare(move, move.source, "source"), _prepare(move, move.target, "target"))
    await put_bundle(move.target, move)
    detour = await _link(move)
    await _template(move)
    files = FilePasses(move)
    found = {**await files.until_enough(), **({"channel_why": detour} if detour else {})}
    if move.mode is Mode.PRE_COPY:
        found |= await copy_rounds(move, files)
    await volumes.prove(move)  # once more, and late: seeding may have taken hours, and the next step is the pause
    return found


async def _prepare(move: Move, side: Side, role: str) -> None:
    mine = move.source.facts.container(move.name)
    anon_bytes = mine.anon_bytes if mine else move.descriptor.memory_bytes
    # The pages may grow until the freeze; the images' own memory is bounded all the same.
    images_bytes = max(anon_bytes + anon_bytes // 2, move.descriptor.memory_bytes) + IMAGE_MARGIN_BYTES
    # And never over what is free: on the target images and the restored memory, about as large, lie side by side.
    free_bytes = side.facts.memory_available_bytes
    images_bytes = min(images_bytes, free_bytes if role == "source" else (free_bytes + IMAGE_MARGIN_BYTES) // 2)
    # One file of pages belongs to one process, which holds no more than the whole container has resident.
    first_pages_bytes = min(mine.paged_bytes, mine.rss_bytes) if mine else 0
    streamed = "follow" if move.mode is Mode.POST_COPY else "stream"
    pages: str | int = streamed if move.memory.name == "stream" else first_pages_bytes
    if move.mode is Mode.RESTART:
        images_bytes, pages = min(IMAGE_MARGIN_BYTES, free_bytes), "none"
    ct = move.descriptor if role == "source" else move.descriptor_there
    template = ct.template if role == "source" else f"{ct.template}@{ct.template_digest}"
    words = ("prepare", ct.name, move.token, role, template, ct.id_base, images_bytes, pages)
    most = move.policy.bandwidth_bytes_per_s if role == "source" else None
    more: tuple[int, ...] = () if most is None else (most,)
    if role == "target" and move.shifts:
        more = (0, move.descriptor.id_base)
    await side.node.call(*words, *more)


async def put_bundle(side: Side, move: Move) -> None:
    """Puts the container's description on a node, made for what that node can do."""
    files = bundle.files(
        move.descriptor_there, kit.directory(), side.facts.bridge, side.facts.controllers, side.facts.volumes
    )
    await asyncio.gather(
        *(side.node.call("ct-put", move.name, move.token, name, len(data), stdin=data) for name, data in files.items())
    )


async def _link(move: Move) -> str:
    """Opens the way from source to target with a key made for this migration alone. Where the network between them is
    declared trusted, lets memory go beside it; returns why not, where the source would leave that network.
    """
    peer = move.target.migration_host
    made = await move.source.node.call("keygen", move.name, move.token, peer)
    kind, public = _public_key(made)
    comes_from = _address(made)
    networks = trusted_networks(move.source.facts, move.target.facts)
    inside = move.plain and any(is_within(comes_from, network) for network in networks)
    key = (move.policy.key_lifetime_s, kind, public, *([peer] if inside else ()))
    admitted = await move.target.node.call("admit", move.name, move.token, comes_from, *key)
    host_key_type, host_key = await move.target.node.host_key()
    await move.source.node.call(
        "link",
        move.name,
        move.token,
        _user(admitted),
        peer,
        move.target.migration_port,
        host_key_type,
        host_key,
        *(["plain"] if inside else ()),
    )
    if inside or not move.plain:
        return ""
    return f"{move.source.node.name} goes to {peer} from {comes_from}, which is in no trusted network with it"


# What one node answers becomes words of a file or a command on the other, so it is held to what it has to be: a source
# must not write options into the target's list of keys, nor a target options into the source's ssh.


def _public_key(made: Answer) -> tuple[str, str]:
    kind, _, public = made.get("key").partition(" ")
    if kind != "ssh-ed25519" or not _KEY.fullmatch(public):
        raise NodeFailed(made.node, made.verb, "its answer holds no key")
    return kind, public


def _address(made: Answer) -> str:
    text = made.get("address")
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise NodeFailed(made.node, made.verb, f"it answers {text[:60]!r} where its address should be") from None
    if parsed.is_unspecified or "%" in text:
        raise NodeFailed(made.node, made.verb, f"it answers {text[:60]!r} where its address should be")
    return str(parsed)


def _user(admitted: Answer) -> str:
    name = admitted.get("user")
    if not _USER.fullmatch(name):
        raise NodeFailed(admitted.node, admitted.verb, f"it answers {name[:60]!r} where a user's name should be")
    return name


async def _template(move: Move) -> None:
    ct = move.descriptor
    if move.target.facts.has_template(ct.template, ct.template_digest):
        return
    words = ("send-template", ct.name, move.token, ct.template)
    await run_job(move.source.node, move, "template", *words, timeout_s=move.policy.job_timeout_s)
    done = ("template-done", ct.name, move.token, ct.template, ct.template_digest)
    await move.target.node.call(*done, timeout_s=move.policy.job_timeout_s)  # which reads it all


STEP = Step(State.SEEDED, do, traces.frozen)
