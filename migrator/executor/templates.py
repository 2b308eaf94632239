"""Templates on nodes: pushed, listed, removed.

A push is three verbs. `template-offer` has the manifest and answers which contents the node lacks, `template-take` gets
them in one stream, `template-make` builds the tree and renames it into its place. A stream that is cut is begun again
with an offer, which knows what has come: whole contents, and of one the first bytes.
"""

from __future__ import annotations

import asyncio
import gzip
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from migrator.errors import BadInput, FailedSafe, MigratorError, Refused
from migrator.executor.fleet import Fleet
from migrator.model.facts import NodeFacts
from migrator.model.template import Manifest, parse
from migrator.templates.store import Store
from migrator.transport.base import Answer, NodeUnreachable
from migrator.transport.retry import RetryingNode

HEADER = struct.Struct(">IQQ")  # which content, from where on, how many bytes; see runtime/kit/template.py
CHUNK_BYTES = 1 << 18
TRIES = 4
OFFER_S, MAKE_S, STREAM_S = 600, 1800, 6 * 3600


@dataclass
class Pushed:
    """What a push to one node has come to. `reused_bytes` are of contents that it had in other templates; `again` is
    whether it had this version beside a newer one, and makes containers from this one again."""

    node: str
    present: bool = False
    again: bool = False
    sent_contents: int = 0
    sent_bytes: int = 0
    reused_bytes: int = 0
    tries: int = 1


@dataclass(frozen=True, slots=True)
class OnNode:
    """One version of a template on a node: where it is there, who stands on it, whether it was put there by other means
    than ours (a mount), and whether new containers are made from it."""

    node: str
    name: str
    digest: str
    fixed: bool
    current: bool
    place: str
    users: tuple[str, ...]

    def __str__(self) -> str:
        which = "" if self.current else f"@{self.digest[:12]}"
        return f"template {self.name}{which} on {self.node}"


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a cut push or an old move has left on a node."""

    node: str
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Need:
    """The contents that a node lacks, by their place in the manifest's order, and where each begins."""

    places: tuple[int, ...]
    begun: dict[int, int]
    reused_bytes: int


class Source:
    """A template of the store as it is sent."""

    def __init__(self, store: Store, name: str) -> None:
        text = store.text(name)
        self.store, self.name = store, name
        self.manifest: Manifest = parse(text)
        self.digest = self.manifest.digest
        self.packed = gzip.compress(text.encode("ascii"), compresslevel=1)
        self.contents = list(self.manifest.contents().items())


async def push(fleet: Fleet, store: Store, name: str, nodes: tuple[str, ...]) -> list[Pushed | MigratorError]:
    """Brings a template to nodes, all at once; of each what came of it. Nothing is sent if one of them must refuse."""
    for node in nodes:
        fleet.file.entry(node)
    source = Source(store, name)
    facts = await asyncio.gather(*(fleet.facts(node) for node in nodes))
    for fact in facts:
        _refuse(fact, source)

    async def one(node: str) -> Pushed | MigratorError:
        try:
            return await _push(fleet.node(node), source)
        except MigratorError as error:
            return error

    return await asyncio.gather(*(one(node) for node in dict.fromkeys(nodes)))


def _refuse(node: NodeFacts, source: Source) -> None:
    arch = source.manifest.arch
    if arch not in ("any", node.arch) and (node.arch, arch) != ("x86_64", "i686"):
        raise Refused(f"template {source.name} is for {arch}, and node {node.name} is {node.arch}")


async def _push(node: RetryingNode, source: Source) -> Pushed:
    done = Pushed(node.name)
    while True:
        try:
            return await _try(node, source, done)
        except NodeUnreachable as error:
            if done.tries >= TRIES:
                again = f"what has come is kept there; go on with: migrator template push {source.name} {node.name}"
                raise FailedSafe(f"{error}; {again}") from error
            done.tries += 1


async def _try(node: RetryingNode, source: Source, done: Pushed) -> Pushed:
    words = (source.name, source.digest)
    told = await node.call("template-offer", *words, stdin=source.packed, timeout_s=OFFER_S)
    if told.get("present") == "yes":
        done.present = done.tries == 1
        return done
    done.again = told.get("present") == "older"
    if not done.again:
        need = needed(told, len(source.contents))
        done.reused_bytes += need.reused_bytes
        if need.places:
            await node.pour("template-take", *words, chunks=frames(source, need, done), timeout_s=STREAM_S)
    await node.call("template-make", *words, timeout_s=MAKE_S)
    return done


def needed(told: Answer, count: int) -> Need:
    """What a node says it lacks; of what it says, only what can be."""
    places: list[int] = []
    for line in told.lines("missing"):
        first, _, last = line.partition(" ")
        if _is_in(first, count) and _is_in(last, count) and int(first) > (places[-1] if places else -1):
            places += range(int(first), int(last) + 1)  # in order, so that no answer makes more of them than there are
    begun = {}
    for line in told.lines("begun"):
        place, _, size = line.partition(" ")
        if _is_in(place, count) and _is_in(size, 1 << 60):
            begun[int(place)] = int(size)
    return Need(tuple(places), begun, told.number("reused"))


def _is_in(word: str, count: int) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 19 and int(word) < count


async def frames(source: Source, need: Need, done: Pushed) -> AsyncIterator[bytes]:
    """The contents that are needed, one after the other, in pieces of a size that a connection likes."""
    held = bytearray()
    for place in need.places:
        content, size = source.contents[place]
        begin = need.begun.get(place, 0)
        begin = begin if begin <= size else 0
        held += HEADER.pack(place, begin, size - begin)
        path = source.store.content(content)
        try:
            with path.open("rb") as file:
                file.seek(begin)
                left = size - begin
                while left:
                    data = file.read(min(left, CHUNK_BYTES))
                    if not data:
                        raise FailedSafe(f"content {content[:12]} of template {source.name} is cut; build it anew")
                    held += data
                    left -= len(data)
                    done.sent_bytes += len(data)
                    if len(held) >= CHUNK_BYTES:
                        yield bytes(held)
                        held.clear()
        except OSError as error:
            said = f"content {content[:12]} of template {source.name} cannot be read: {error.strerror}; build it anew"
            raise FailedSafe(said) from error
        done.sent_contents += 1
    yield bytes(held)


async def list_on(fleet: Fleet, nodes: tuple[str, ...]) -> tuple[list[OnNode], list[Leftover], dict[str, str]]:
    """Templates and leftovers on nodes (all, if none is named), and why some did not answer."""
    names = [fleet.file.entry(node).name for node in nodes] or sorted(fleet.nodes)
    silent: dict[str, str] = {}

    async def ask(name: str) -> Answer | None:
        try:
            return await fleet.node(name).call("template-list")
        except MigratorError as error:
            silent[name] = str(error)
            return None

    templates: list[OnNode] = []
    leftovers: list[Leftover] = []
    for name, answer in zip(names, await asyncio.gather(*(ask(name) for name in names)), strict=True):
        for line in answer.lines("template") if answer else ():
            place, digest, fixed, current, users = (line.split(" ") + [""] * 5)[:5]
            flags = (fixed == "yes", current == "yes", place)
            names_on = tuple(filter(None, users.split(",")))
            templates.append(OnNode(name, place.partition("@")[0], digest, *flags, names_on))
        for line in answer.lines("leftover") if answer else ():
            size, _, left = line.partition(" ")
            leftovers.append(Leftover(name, left, int(size) if _is_in(size, 1 << 60) else 0))
    return templates, leftovers, silent


async def remove(fleet: Fleet, name: str, nodes: tuple[str, ...], version: str = "") -> dict[str, str]:
    """Removes a template, or one version of it by its digest's beginning, from nodes where no container stands on it.

    None is touched if one of them refuses.
    """
    for node in nodes:
        fleet.file.entry(node)
    there, _, silent = await list_on(fleet, nodes)
    if silent:
        raise FailedSafe(next(iter(silent.values())))
    mine = [found for found in there if found.name == name and found.digest.startswith(version)]
    missing = sorted(set(nodes) - {found.node for found in mine})
    if missing:
        said = f"{name} with digest {version}" if version else name
        raise BadInput(f"template {said} is not on {', '.join(missing)}")
    for found in mine:
        if found.users:
            raise Refused(f"{found} is what these stand on: {first_of(found.users)}")
        if found.fixed:
            raise Refused(f"{found} is mounted there, and was not put there by us")
    for found in mine:
        await fleet.node(found.node).call("template-remove", found.place, timeout_s=MAKE_S)
    return {found.node: "removed" for found in mine}


def first_of(names: tuple[str, ...], most: int = 5) -> str:
    """Names in a line, and how many more there are."""
    rest = len(names) - most
    return " ".join(names) if rest <= 0 else f"{' '.join(names[:most])} and {rest} more"


async def collect(fleet: Fleet, unused: list[OnNode], leftovers: list[Leftover]) -> dict[str, str]:
    """Removes what was found to be of no use. A template that somebody has come to use meanwhile stays, and is told."""
    kept: dict[str, str] = {}

    async def one(node: str) -> None:
        for found in (row for row in unused if row.node == node):
            try:
                await fleet.node(node).call("template-remove", found.place, timeout_s=MAKE_S)
            except MigratorError as error:
                kept[str(found)] = str(error)
        if any(left.node == node for left in leftovers):
            try:
                await fleet.node(node).call("template-sweep", timeout_s=MAKE_S)
            except MigratorError as error:
                kept[f"leftovers on {node}"] = str(error)

    await asyncio.gather(*(one(node) for node in {*(row.node for row in unused), *(row.node for row in leftovers)}))
    return kept
