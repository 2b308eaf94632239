"""Volumes: directories on storage that nodes share, bound into containers and never copied.

A volume has a name in the cluster file and a path on each node. That two nodes mean the same storage by it is not known
from either, nor from device numbers: it is proven before a move, by a marker that one writes and the other reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

VOLUMES_MAX = 16  # of one container: each is proven before a move
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Neither "." nor "..", and nothing that a mount table, a sed script or a shell would read as anything but itself.
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._@+=-]{1,255})+")
_PATH_CHARS_MAX = 1000

# A node's own: no container is given any of these, what holds them, or what is in them.
_OF_NODES = ("/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64")
_OF_MIGRATOR = ("/var/lib/migrator", "/run/migrator")
# What the runtime mounts in a container, and what is in it, is made anew by every restore.
_MOUNTED = ("/proc", "/sys", "/dev", "/run", "/tmp")
# A container does not start, or keeps no log, without what its template has here. Below most of these it may.
_OF_SYSTEM = ("/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin")
_OF_LOGS = ("/var", "/var/log", "/var/log/console.log")


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as a container has it: its name in the cluster file, and where it is inside."""

    name: str
    path: str
    read_only: bool = False

    def __str__(self) -> str:
        return f"{self.name}:{self.path}{':ro' if self.read_only else ''}"


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume as a node has it: the path that the cluster file declares, and why it is not there; empty if it is."""

    path: str
    fault: str = ""


def parse(text: str) -> Volume:
    """A volume as it is asked for, NAME:/PATH or NAME:/PATH:ro; ValueError says what is wrong."""
    name, _, rest = text.partition(":")
    path, colon, option = rest.partition(":")
    if not NAME.fullmatch(name):
        raise ValueError(
            "write NAME:/PATH, NAME being one of the cluster file's volumes, or NAME:/PATH:SIZE for one of its own; a "
            "directory of one node is none, for it would not be there after a move"
        )
    if colon and option != "ro":
        raise ValueError("after the path there may be :ro, or the size of one of its own, and nothing else")
    if wrong := inside_fault(path):
        raise ValueError(wrong)
    return Volume(name, path, bool(colon))


def inside_fault(path: str) -> str:
    """Why no volume can be at this path of a container, or ""."""
    if wrong := _form_fault(path):
        return wrong
    if any(_is_in(path, top) for top in _MOUNTED):
        return f"{path} is in what the runtime mounts there itself ({', '.join(_MOUNTED)})"
    if path in _OF_SYSTEM or path in _OF_LOGS:
        return f"{path} is the container's system; choose a path of its own, such as /srv/data"
    return ""


def node_fault(path: str) -> str:
    """Why no volume can be at this path of a node, or ""."""
    if wrong := _form_fault(path):
        return wrong
    for taken in (*_OF_MIGRATOR, *_OF_NODES):
        if _is_in(path, taken) or _is_in(taken, path):
            whose = "Migrator's own state" if taken in _OF_MIGRATOR else "the node's own system"
            return f"{path} is, holds, or is in {taken}, {whose}"
    return ""


def _form_fault(path: str) -> str:
    if not path.startswith("/"):
        return "the path is to begin with /"
    if len(path) > _PATH_CHARS_MAX or not _PATH.fullmatch(path):
        return "a path is made of letters, digits and ._@+=- between single slashes, without . and .. as names"
    return ""


def clash(paths: dict[str, str]) -> tuple[str, str] | None:
    """Two names of which the first one's path is, or is inside, the second one's."""
    names = list(paths)
    pairs = ((a, b) for a in names for b in names if a != b and _is_in(paths[a], paths[b]))
    return next(pairs, None)


def fault(volumes: tuple[Volume, ...]) -> str:
    """Why no container has these volumes together, or ""."""
    if len(volumes) > VOLUMES_MAX:
        return f"a container has at most {VOLUMES_MAX} volumes"
    for volume in volumes:
        if not NAME.fullmatch(volume.name):
            return "not a volume's name"
        if wrong := inside_fault(volume.path):
            return wrong
    names = [volume.name for volume in volumes]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        return f"volume {twice} is there twice"
    # One inside another would need a directory made on storage that others use as well.
    if found := clash({volume.name: volume.path for volume in volumes}):
        return f"the paths of {found[0]} and {found[1]} are one, or one in the other"
    return ""


def lacking(volumes: tuple[Volume, ...], there: dict[str, Mounted]) -> Iterator[str]:
    """Which of a container's volumes a node does not have, with what to do."""
    for volume in volumes:
        mounted = there.get(volume.name)
        if mounted is None:
            yield f"volume {volume.name}: the cluster file does not name it; name it under volumes"
        elif mounted.fault:
            yield f"volume {volume.name}: {mounted.fault}"


def _is_in(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top.rstrip('/')}/")
