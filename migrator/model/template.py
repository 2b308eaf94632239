"""What a template is: a tree of names, each standing for a node, and one digest over all of it.

Theory. The digest is the sha256 of the canonical lines, one a name, in the order of the names' bytes, each a JSON
object with sorted keys and no blanks, in ASCII, and a newline. A line holds what a container can see and what does not
change by itself: path, kind, mode, uid, gid, extended attributes, of a file its size and the sha256 of its content, of
a symbolic link its target. Names that are one file (hard links) are one node: the first name has its line, the others
point to it. Times are no part of it, so a tree built twice is the same template; the file of a manifest has each time
before its line. `runtime/kit/template.py`, which may import nothing of ours, writes the same lines of a tree on a node;
a test holds the two together.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migrator.errors import BadInput

FORMAT = 1
ROOT = "."
ID_MAX = 65535  # a container's range of ids ends here, and so does what its template may name
SHA256 = re.compile(r"[0-9a-f]{64}")
KINDS = ("dir", "file", "link", "fifo")


@dataclass(eq=False, slots=True)
class Node:
    """What one name, or several that are hard links of each other, stands for. `xattrs` are names with hex values."""

    kind: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole template: its names in canonical order, and what was found out about it when it was built."""

    nodes: dict[str, Node]
    arch: str
    source: str = ""
    built_ms: int = 0

    @property
    def digest(self) -> str:
        return digest_of(line for _, line in lines_of(self.nodes))

    @property
    def files_bytes(self) -> int:
        """What its files take on a node, each hard link counted once."""
        return sum(node.size for node in {id(n): n for n in self.nodes.values()}.values())

    def contents(self) -> dict[str, int]:
        """Every content that it needs, by hash, with its size; in one order for all who have the same manifest."""
        found = {node.sha256: node.size for node in self.nodes.values() if node.kind == "file"}
        return dict(sorted(found.items()))

    def text(self) -> str:
        """The file of the manifest: what is known of it, then a line a name."""
        lines = list(lines_of(self.nodes))
        head = {
            "template": FORMAT,
            "digest": digest_of(line for _, line in lines),
            "arch": self.arch,
            "bytes": self.files_bytes,
            "names": len(lines),
            "source": self.source,
            "built_ms": self.built_ms,
        }
        return "\n".join([json.dumps(head, sort_keys=True), *(f"{mtime_s} {line}" for mtime_s, line in lines), ""])


def path_key(path: str) -> bytes:
    """By what names are ordered: their bytes."""
    return path.encode("utf-8", "surrogateescape")


def lines_of(nodes: dict[str, Node]) -> Iterator[tuple[int, str]]:
    """The canonical lines, each with its node's time."""
    first: dict[int, str] = {}
    for path in sorted(nodes, key=path_key):
        node = nodes[path]
        is_of = first.setdefault(id(node), path)
        yield node.mtime_s, canonical({"kind": "hard", "link": is_of} if is_of != path else told(node), path)


def told(node: Node) -> dict[str, object]:
    """What of a node is in its line."""
    line: dict[str, object] = {"kind": node.kind, "mode": node.mode, "uid": node.uid, "gid": node.gid}
    if node.xattrs:
        line["xattrs"] = dict(node.xattrs)
    if node.kind == "file":
        line |= {"size": node.size, "sha256": node.sha256}
    elif node.kind == "link":
        line["link"] = node.target
    return line


def canonical(line: dict[str, object], path: str) -> str:
    return json.dumps({**line, "path": path}, sort_keys=True, separators=(",", ":"))


def digest_of(lines: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for line in lines:
        whole.update(f"{line}\n".encode())
    return whole.hexdigest()


def head_of(line: str) -> dict[str, object]:
    """The first line of a manifest's file; BadInput for what is none."""
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("template") != FORMAT or not SHA256.fullmatch(str(head.get("digest"))):
        raise BadInput("not a template's manifest")
    return head


def parse(text: str) -> Manifest:
    """The manifest of a file's text; BadInput where it is not whole: its digest is computed anew."""
    first, _, rest = text.partition("\n")
    head = head_of(first)
    nodes: dict[str, Node] = {}
    try:
        for row in rest.splitlines():
            mtime_s, _, line = row.partition(" ")
            found = json.loads(line)
            path = found["path"]
            nodes[path] = nodes[found["link"]] if found["kind"] == "hard" else _node(found, int(mtime_s))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"not a template's manifest: {error}") from None
    manifest = Manifest(nodes, str(head["arch"]), str(head.get("source", "")), int(str(head.get("built_ms", 0))))
    if manifest.digest != head["digest"]:
        raise BadInput("the template's manifest is damaged: its digest is another")
    return manifest


def _node(found: dict[str, object], mtime_s: int) -> Node:
    xattrs = found.get("xattrs", {})
    if found["kind"] not in KINDS or not isinstance(xattrs, dict):
        raise ValueError("it has an unknown kind of file")
    return Node(
        kind=str(found["kind"]),
        mode=int(str(found["mode"])),
        uid=int(str(found["uid"])),
        gid=int(str(found["gid"])),
        mtime_s=mtime_s,
        size=int(str(found.get("size", 0))),
        sha256=str(found.get("sha256", "")),
        target=str(found.get("link", "")),
        xattrs=tuple(sorted(xattrs.items())),
    )
