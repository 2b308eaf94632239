"""A template's tree as it is read: names come from outside, and nothing of them is ever a path on this machine.

Theory. Reading never makes a file under a name that an archive gives: names become keys of a dictionary and contents
go to the store by their hash. On a node the tree is made by the names of the finished manifest, in which every name's
parent is a directory (`finish`), so no name can lead through a link. What remains is to refuse what no honest tree has.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from migrator.errors import BadInput, Refused, quoted
from migrator.model.template import ID_MAX, ROOT, Manifest, Node, path_key

READ_BYTES = 1 << 20
NAME_BYTES_MAX, PATH_BYTES_MAX = 255, 4095
SETUID = 0o6000
CAPABILITY = "security.capability"
HOST_KEY = re.compile(r"etc/ssh/ssh_host_[^/]*_key(-cert)?(\.pub)?")
KEPT_XATTRS = ("user.", CAPABILITY, "system.posix_acl_")
# ELF's e_machine as `uname -m` names it.
MACHINES = {
    3: "i686",
    21: "ppc64le",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}


class Content(Protocol):
    """What a file of a source holds, to be read once."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What a tree may hold. `setuid` (files with setuid or setgid, or with capabilities): keep, strip or refuse them;
    `devices`: refuse or drop them; `host_keys` of an sshd: drop or keep them."""

    setuid: str = "keep"
    devices: str = "refuse"
    host_keys: str = "drop"


@dataclass
class Tree:
    """Names and their nodes as far as they are read; `keep` stores a content and tells its hash and size."""

    rules: Rules
    keep: Callable[[Content, str], tuple[str, int]]
    nodes: dict[str, Node] = field(default_factory=dict)
    machines: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    layer: set[str] = field(default_factory=set)

    def add(self, name: str, node: Node, content: Content | None = None) -> None:
        """Adds a name, in place of what had it before. `content` is read whole if the node is a file."""
        path = clean(name)
        check(path, node, self.rules)
        if self.rules.setuid == "strip" and node.kind == "file":
            node.mode &= ~SETUID
            node.xattrs = tuple(pair for pair in node.xattrs if pair[0] != CAPABILITY)
        if node.kind == "file" and content is not None:
            seen = Peek(content)
            node.sha256, node.size = self.keep(seen, path)
            if machine := machine_of(seen.first):
                self.machines[machine] += 1
        was = self.nodes.get(path)
        if was is not None and was.kind == "dir" and node.kind != "dir":
            self.remove_below(path)
        self.nodes[path] = node
        self.layer.add(path)

    def link(self, name: str, target: str) -> None:
        """Adds a hard link to a name that was read before."""
        path, there = clean(name), clean(target)
        if there not in self.nodes:
            raise BadInput(f"{quoted(path)} is a hard link to {quoted(there)}, which is not there before it")
        if self.nodes[there].kind == "dir":
            raise BadInput(f"{quoted(path)} is a hard link to the directory {quoted(there)}")
        if there == path:
            return
        if path in self.nodes and self.nodes[path].kind == "dir":
            self.remove_below(path)
        self.nodes[path] = self.nodes[there]
        self.layer.add(path)

    def device(self, name: str) -> None:
        """A device node, which no template holds: a container's devices are made for it."""
        path = clean(name)
        if self.rules.devices == "refuse":
            raise Refused(
                f"{quoted(path)} is a device node; a template holds none: leave it out, or use --devices drop"
            )
        self.dropped["device nodes"] += 1
        self.remove(path)

    def remove(self, path: str) -> None:
        """Takes a name away, with all below it."""
        self.nodes.pop(path, None)
        self.remove_below(path)

    def remove_below(self, path: str, but: Iterable[str] = ()) -> None:
        """Takes away what is below a name, but for some."""
        above, spared = "" if path == ROOT else f"{path}/", set(but)
        for name in [n for n in self.nodes if n.startswith(above) and n not in spared and n not in (ROOT, path)]:
            del self.nodes[name]

    def finish(self, arch: str | None, source: str, built_ms: int) -> Manifest:
        """The manifest of what was read; BadInput where a name lies below what is no directory."""
        if self.rules.host_keys == "drop":
            self._drop_host_keys()
        self.nodes.setdefault(ROOT, Node("dir"))
        if self.nodes[ROOT].kind != "dir":
            raise BadInput("its root is not a directory")
        for path in sorted(self.nodes, key=path_key):
            for parent in parents(path):
                node = self.nodes.setdefault(parent, Node("dir"))
                if node.kind != "dir":
                    raise BadInput(
                        f"{quoted(path)} lies below {quoted(parent)}, which is not a directory ({node.kind})"
                    )
        if len(self.nodes) == 1:
            raise BadInput("there is nothing in it")
        ordered = {path: self.nodes[path] for path in sorted(self.nodes, key=path_key)}
        return Manifest(ordered, self._arch(arch), source, built_ms)

    def _drop_host_keys(self) -> None:
        """Whoever has a template could be each of its containers, which make keys of their own when they are made."""
        for name in [name for name in self.nodes if HOST_KEY.fullmatch(name)]:
            self.remove(name)
            self.dropped["ssh host keys"] += 1

    def _arch(self, wanted: str | None) -> str:
        """What most of its programs are made for; a tree may hold a few for others. Said, it has to be true."""
        found = max(self.machines, key=lambda name: (self.machines[name], name), default="any")
        if wanted and found not in ("any", wanted):
            raise Refused(f"its programs are for {found}, not for {wanted}")
        return found


class Peek:
    """A content on its way, whose first bytes are remembered."""

    def __init__(self, inner: Content) -> None:
        self._inner = inner
        self.first = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._inner.read(size)
        if len(self.first) < 20:
            self.first += data[:20]
        return data


def clean(name: str) -> str:
    """A name as the manifest has it; BadInput for one that leads elsewhere or that no node could make."""
    if name.startswith("/"):
        raise BadInput(f"it holds the absolute name {quoted(name)}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadInput(f"it holds the name {quoted(name)}, which leads out of it")
    raw = [path_key(part) for part in parts]
    if (
        any(len(part) > NAME_BYTES_MAX or b"\0" in part for part in raw)
        or sum(map(len, raw)) + len(raw) > PATH_BYTES_MAX
    ):
        raise BadInput(f"it holds a name that is too long, or none at all: {quoted(name)}")
    return "/".join(parts) or ROOT


def parents(path: str) -> list[str]:
    """The names above a name, without the root."""
    parts = path.split("/")
    return ["/".join(parts[:at]) for at in range(1, len(parts))]


def check(path: str, node: Node, rules: Rules) -> None:
    """Refuses a node that no template may hold, or that the rules forbid."""
    for what, number in (("user", node.uid), ("group", node.gid)):
        if not 0 <= number <= ID_MAX:
            raise Refused(f"{quoted(path)} belongs to {what} {number}; a container's ids end at {ID_MAX}")
    is_special = node.mode & SETUID or any(name == CAPABILITY for name, _ in node.xattrs)
    if rules.setuid == "refuse" and node.kind == "file" and is_special:
        how = "setuid or setgid" if node.mode & SETUID else "given capabilities"
        raise Refused(f"{quoted(path)} is {how}, which --setuid refuse forbids; use --setuid keep or strip")
    if node.kind == "link":
        check_target(path, node.target)


def check_target(path: str, target: str) -> None:
    """Absolute targets are a container's own root; a relative one may not climb out of it."""
    if not target or "\0" in target or len(path_key(target)) > PATH_BYTES_MAX:
        raise BadInput(f"the link {quoted(path)} has no target that can be made")
    if target.startswith("/"):
        return
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            raise BadInput(f"the link {quoted(path)} leads out of the tree, to {quoted(target)}")


def kept_xattrs(found: Iterable[tuple[str, bytes]], dropped: Counter[str]) -> tuple[tuple[str, str], ...]:
    """Extended attributes that mean the same on another machine; of others, which mean this one's labels, a count."""
    kept = []
    for name, value in found:
        if name.startswith(KEPT_XATTRS):
            kept.append((name, value.hex()))
        else:
            dropped[f"attributes {name.split('.')[0]}.*"] += 1
    return tuple(sorted(kept))


def machine_of(first: bytes) -> str | None:
    """The machine an ELF program or library is for, from its first 20 bytes."""
    if len(first) < 20 or first[:4] != b"\x7fELF" or first[5] not in (1, 2):
        return None
    number = struct.unpack("<H" if first[5] == 1 else ">H", first[18:20])[0]
    return MACHINES.get(number, f"machine {number}")


def store_in(folder: Path) -> Callable[[Content, str], tuple[str, int]]:
    """A `keep` that puts contents into a folder, each once, under its hash."""

    def keep(content: Content, _path: str) -> tuple[str, int]:
        digest, size, part = hashlib.sha256(), 0, folder / ".part"
        with part.open("wb", buffering=0) as out:
            while data := content.read(READ_BYTES):
                digest.update(data)
                if data.count(0) == len(data):
                    out.seek(len(data), os.SEEK_CUR)  # a hole: /var/log/lastlog is gigabytes of them
                else:
                    out.write(data)
                size += len(data)
            out.truncate()
        name = digest.hexdigest()
        part.rename(folder / name)
        return name, size

    return keep
