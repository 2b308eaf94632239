"""What a template is on a node: its manifest, the tree that is made of it, and the lines of what is really there.

The canonical lines are those of model/template.py, where the theory is; this may import nothing of it, and a test holds
the two together.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

REFUSED, BUSY = 10, 12
READ_BYTES = 1 << 20
KINDS = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo"}
ROOT = "."


class Ended(Exception):
    """Why a verb ends early: an exit code of the kit's, and one line."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def line_of(path: str, told: dict[str, Any]) -> str:
    return json.dumps({**told, "path": path}, sort_keys=True, separators=(",", ":"))


def digest_of(lines: Iterator[str]) -> str:
    whole = hashlib.sha256()
    for line in lines:
        whole.update(f"{line}\n".encode())
    return whole.hexdigest()


def plain(path: Path) -> IO[bytes]:
    """Opens a file for reading, and neither a link nor what one would wait for."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with plain(path) as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


class Manifest:
    """A manifest's file: its head, and a line a name with its time."""

    def __init__(self, text: str) -> None:
        first, _, rest = text.partition("\n")
        self.text = text
        self.head: dict[str, Any] = json.loads(first)
        rows = [row.partition(" ") for row in rest.splitlines()]
        if digest_of(row[2] for row in rows) != self.head["digest"]:
            raise Ended(1, "the manifest came damaged: its digest is another")
        self.names: list[dict[str, Any]] = [{**json.loads(row[2]), "mtime_s": int(row[0])} for row in rows]

    @classmethod
    def of(cls, path: Path) -> Manifest:
        return cls(path.read_text("ascii"))

    def contents(self) -> dict[str, int]:
        """Every content it needs, in the order in which both sides count them."""
        found = {name["sha256"]: name["size"] for name in self.names if name["kind"] == "file"}
        return dict(sorted(found.items()))


def lines_of_tree(root: Path) -> Iterator[str]:
    """The canonical lines of what is really there, in the order of the names' bytes."""
    names: list[bytes] = []
    waiting = [b""]
    while waiting:
        above = waiting.pop()
        for entry in os.scandir(os.fsencode(root) + b"/" + above):
            name = above + b"/" + entry.name if above else entry.name
            names.append(name)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
    first: dict[tuple[int, int], str] = {}
    for name in sorted([b".", *names]):
        path = name.decode("utf-8", "surrogateescape")
        yield line_of(path, told_of(root / path if path != ROOT else root, path, first))


def told_of(path: Path, name: str, first: dict[tuple[int, int], str]) -> dict[str, Any]:
    found = path.lstat()
    kind = KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        raise Ended(REFUSED, f"{name[:200]!r} is of a kind that no template holds")
    inode = (found.st_dev, found.st_ino)
    if kind != "dir" and first.setdefault(inode, name) != name:
        return {"kind": "hard", "link": first[inode]}
    told: dict[str, Any] = {"kind": kind, "mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid}
    kept = ("user.", "security.capability", "system.posix_acl_")
    keys = [key for key in os.listxattr(path, follow_symlinks=False) if key.startswith(kept)]
    if keys:
        told["xattrs"] = {key: os.getxattr(path, key, follow_symlinks=False).hex() for key in keys}
    if kind == "file":
        told |= {"size": found.st_size, "sha256": hash_of(path)}
    elif kind == "link":
        told["link"] = os.readlink(path)  # noqa: PTH115 (as it is; a Path would tidy it)
    return told


def build(manifest: Manifest, contents: Path, root: Path) -> None:
    """Makes the tree. Its first name of a content is the file that came; those after it are copies."""
    used: set[str] = set()
    folders: list[tuple[Path, dict[str, Any]]] = []
    root.mkdir(mode=0o700)  # whose name is not the first in the order of names
    for name in manifest.names:
        path = root if name["path"] == ROOT else root / name["path"]
        kind = name["kind"]
        if kind == "dir":
            path.mkdir(mode=0o700, exist_ok=path == root)
            folders.append((path, name))
            continue
        if kind == "hard":
            os.link(root / name["link"], path, follow_symlinks=False)
            continue
        if kind == "link":
            path.symlink_to(name["link"])
        elif kind == "fifo":
            os.mkfifo(path)
        elif name["sha256"] in used:
            shutil.copyfile(contents / name["sha256"], path)
        else:
            os.link(contents / name["sha256"], path)
            used.add(name["sha256"])
        finish(path, name)
    for path, name in sorted(
        folders, key=lambda found: -len(found[0].parts)
    ):  # their times last: what is made changes them
        finish(path, name)


def finish(path: Path, name: dict[str, Any]) -> None:
    os.chown(path, name["uid"], name["gid"], follow_symlinks=False)
    if name["kind"] != "link":
        path.chmod(name["mode"])
    for key, value in name.get("xattrs", {}).items():
        os.setxattr(path, key, bytes.fromhex(value), follow_symlinks=False)
    os.utime(path, (name["mtime_s"], name["mtime_s"]), follow_symlinks=False)
