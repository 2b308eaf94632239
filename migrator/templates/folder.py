"""A directory as a source: as it is on this machine, on its one filesystem, and no link in it followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from migrator.errors import BadInput, quoted
from migrator.model.template import Node
from migrator.templates.tree import Tree, kept_xattrs

KINDS = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo"}


def read_folder(tree: Tree, root: Path) -> None:
    """Adds all that is below a directory. Sockets are left out, and what is mounted there: only its directory stays."""
    device = root.stat().st_dev
    first: dict[tuple[int, int], str] = {}
    waiting = [(".", root)]
    while waiting:
        name, path = waiting.pop()
        try:
            found = path.stat() if name == "." else path.lstat()
            _add(tree, name, path, found, first)
            if stat.S_ISDIR(found.st_mode) and found.st_dev == device:
                below = sorted(os.listdir(path), reverse=True)  # noqa: PTH208 (names, not paths)
                waiting += [(entry if name == "." else f"{name}/{entry}", path / entry) for entry in below]
        except PermissionError as error:
            raise BadInput(
                f"{quoted(str(path))} cannot be read: {error.strerror}; read it as root, or from a tar"
            ) from None
        except FileNotFoundError:
            raise BadInput(f"{quoted(str(path))} went away while it was read") from None


def _add(tree: Tree, name: str, path: Path, found: os.stat_result, first: dict[tuple[int, int], str]) -> None:
    kind = KINDS.get(stat.S_IFMT(found.st_mode))
    inode = (found.st_dev, found.st_ino)
    if stat.S_ISSOCK(found.st_mode):
        tree.dropped["sockets"] += 1
        return
    if kind is None:
        tree.device(name)
        return
    if kind != "dir" and found.st_nlink > 1 and inode in first:
        tree.link(name, first[inode])
        return
    first.setdefault(inode, name)
    node = Node(
        kind=kind,
        mode=0o777 if kind == "link" else stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_s=max(0, int(found.st_mtime)),
        target=os.readlink(path) if kind == "link" else "",  # noqa: PTH115 (as it is; a Path would tidy it)
        xattrs=kept_xattrs(_xattrs(path), tree.dropped),
    )
    if kind != "file":
        tree.add(name, node)
        return
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as content:
        tree.add(name, node, content)
    if node.size != found.st_size:
        raise BadInput(f"{quoted(str(path))} changed while it was read")


def _xattrs(path: Path) -> list[tuple[str, bytes]]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # a filesystem that has none
        return []
    return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
