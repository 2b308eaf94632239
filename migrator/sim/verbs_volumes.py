"""Simulated verbs about volumes, as in volumes.sh: what a node has mounted by which path, and markers on storage."""

from __future__ import annotations

from migrator.sim.machine import Exit, Machine


def volume_fault(m: Machine, path: str) -> str:
    return "" if path in m.disk.mounted else f"{path} is not there; mount its storage"


def _path(m: Machine, ct: str, name: str) -> str:
    """Where a container has a volume of that name on its node."""
    tree = m.disk.trees.get(ct)
    lines = [line.split(" ") for line in tree.text("volumes").splitlines()] if tree else []
    if not lines:
        raise Exit(11, f"container {ct} has no volume here")
    found = [path for known, path, _ in lines if known == name]
    if not found:
        raise Exit(11, f"container {ct} has no volume {name} here")
    return found[0]


async def mark_volume(m: Machine, ct: str, name: str, word: str) -> str:
    path = _path(m, ct, name)
    await m.step("mark volume")
    if fault := volume_fault(m, path):
        return f"path {path}\nfault {fault}\n"
    m.world.marks.add((m.disk.mounted[path], word))
    return f"path {path}\n"


async def unmark_volume(m: Machine, ct: str, name: str, word: str) -> str:
    path = _path(m, ct, name)
    await m.step("unmark volume")
    if path not in m.disk.mounted:
        raise Exit(1, f"the marker {word} cannot be removed from {path}")
    m.world.marks.discard((m.disk.mounted[path], word))
    return ""


async def see_mark(m: Machine, path: str, id_base: str, word: str) -> str:
    await m.step("see mark")
    if fault := volume_fault(m, path):
        return f"fault {fault}\n"
    return f"mark {word if (m.disk.mounted[path], word) in m.world.marks else ''}\n"
