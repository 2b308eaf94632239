"""manifest.py TREE [DISKS]: what a container's own files are, as one digest, and one for each part of the trees.

Names, kinds, modes, owners, contents, links (which names are one file), devices, extended attributes, ACLs among them,
and times to the nanosecond. Not the times of directories and sockets: a restore makes files anew that were deleted and
are open, and sockets. While a copy is held such files have names of CRIU's (NAME.cr.N.ghost), and those are left out.
Nor where the lower layer's file is that one was copied from, which means nothing elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

PARTS_MAX = 150  # of the answer: enough to say where a difference is
READ_BYTES = 1 << 20
NOT_COMPARED = "trusted.overlay.origin"
GHOST = re.compile(r".*\.cr\.[0-9a-f]+\.ghost", re.DOTALL)  # criu/files-reg.c


def entries(tree: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Every name below a tree with all that it stands for, in an order that is the same everywhere."""
    first: dict[tuple[int, int], str] = {}
    waiting = [tree]
    while waiting:
        path = waiting.pop()
        name = str(path.relative_to(tree))
        found = path.lstat()
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFREG and GHOST.fullmatch(name):
            continue
        told: list[object] = [kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid]
        keys = sorted(key for key in os.listxattr(path, follow_symlinks=False) if key != NOT_COMPARED)
        told += [(key, os.getxattr(path, key, follow_symlinks=False)) for key in keys]
        if kind == stat.S_IFDIR:
            waiting += sorted(path.iterdir(), reverse=True)
        elif kind != stat.S_IFSOCK:
            told.append(found.st_mtime_ns)
        if kind == stat.S_IFREG:
            told += [found.st_size, content(path)]
        elif kind == stat.S_IFLNK:
            told.append(str(path.readlink()))
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            told.append(found.st_rdev)
        if kind in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO):  # an overlay's marks of removed files are one, or not
            told.append(first.setdefault((found.st_dev, found.st_ino), name))
        yield name, tuple(told)


def content(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def main(trees: list[Path]) -> None:
    whole = hashlib.sha256()
    parts: dict[str, hashlib._Hash] = {}
    of_disks = [(f"disks/{name}", told) for tree in trees[1:] for name, told in entries(tree)]
    for name, told in (*entries(trees[0]), *of_disks):
        line = repr((name, told)).encode()
        whole.update(line)
        parts.setdefault("/".join(name.split("/")[:2]), hashlib.sha256()).update(line)
    sys.stdout.write(f"manifest {whole.hexdigest()}\n")
    for part, digest in sorted(parts.items())[:PARTS_MAX]:
        sys.stdout.write(f"part {digest.hexdigest()[:16]} {part!r}\n")


if __name__ == "__main__":
    try:
        main([Path(tree) for tree in sys.argv[1:]])
    except OSError as error:
        sys.stderr.write(f"the files cannot be read whole: {error}\n")
        sys.exit(1)
