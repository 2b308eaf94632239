"""Disks: volumes of a container's own. Their files are beside its own layer, and go with it wherever it goes.

A shared volume has a name in the cluster file and is bound in where it lies (volume.py). A disk is a directory that is
made with its container, copied by every move of it, and removed with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrator.model.units import parse_bytes
from migrator.model.volume import NAME, VOLUMES_MAX, Volume, clash, inside_fault

SIZE_BYTES_MIN, SIZE_BYTES_MAX = 1 << 20, 2**53


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume of a container's own: its name, where it is inside, and how much is planned for it."""

    name: str
    path: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.name}:{self.path}:{_exactly(self.size_bytes)}"


def _exactly(size_bytes: int) -> str:
    """A size as `parse_bytes` reads it."""
    for unit, size in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if size_bytes % size == 0:
            return f"{size_bytes // size}{unit}"
    return str(size_bytes)


def is_asked_for(text: str) -> bool:
    """Whether this is a disk and no shared volume: only a disk has a size, and it always has."""
    return text.rpartition(":")[2][:1].isdigit() and text.count(":") > 1


def parse(text: str) -> Disk:
    """A disk as it is asked for, NAME:/PATH:SIZE; ValueError says what is wrong."""
    name, _, rest = text.partition(":")
    path, _, size = rest.rpartition(":")
    disk = Disk(name, path, parse_bytes(size))
    if wrong := fault((disk,), ()):
        raise ValueError(wrong)
    return disk


def fault(disks: tuple[Disk, ...], volumes: tuple[Volume, ...]) -> str:
    """Why no container has these disks beside these shared volumes, or ""."""
    if len(disks) + len(volumes) > VOLUMES_MAX:
        return f"a container has at most {VOLUMES_MAX} volumes"
    for disk in disks:
        if not NAME.fullmatch(disk.name):
            return "not a volume's name"
        if wrong := inside_fault(disk.path):
            return wrong
        if not SIZE_BYTES_MIN <= disk.size_bytes <= SIZE_BYTES_MAX:
            return f"a size of {disk.size_bytes} bytes is none for a volume; it is 1M at least"
    all_of_them: tuple[Disk | Volume, ...] = (*volumes, *disks)
    names = [of.name for of in all_of_them]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        return f"volume {twice} is there twice"
    if found := clash({of.name: of.path for of in all_of_them}):
        return f"the paths of {found[0]} and {found[1]} are one, or one in the other"
    return ""
