"""A cgroup for each node: what lets the lab end everything on a node at once and know when it is gone.

A node whose controllers are of version 1 has a group in each of this machine's hierarchies of that version as well.
"""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

from migrator.lab.shell import LabError


def root() -> Path:
    """Where this machine mounts the version 2 tree."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    raise LabError("this machine mounts no cgroup v2 tree; mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One of version 1 that this machine mounts: where, and the controllers (or `name=...`) that it is mounted by."""

    mount: Path
    controllers: str

    @property
    def option(self) -> str:
        """What mounts it once more."""
        return f"none,{self.controllers}" if self.controllers.startswith("name=") else self.controllers


def hierarchies(mountinfo: str | None = None, own: str | None = None) -> list[Hierarchy]:
    """Those of version 1, each once; by the kernel's words for this process, or given ones."""
    own = Path("/proc/self/cgroup").read_text() if own is None else own
    mountinfo = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    known = [line.split(":")[1] for line in own.splitlines()]
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        dash = fields.index("-")
        if fields[dash + 1] == "cgroup" and fields[3] == "/":
            options = set(fields[dash + 3].split(","))
            for controllers in known:
                if controllers and set(controllers.split(",")) <= options:
                    found.setdefault(controllers, Hierarchy(Path(fields[4]), controllers))
    return list(found.values())


def make_in(hierarchy: Hierarchy, path: Path) -> None:
    """Makes the group with its parents. Those of cpuset are of no use before they have CPUs and memory."""
    for group in [*reversed([p for p in path.parents if p.is_relative_to(hierarchy.mount)]), path]:
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if group != hierarchy.mount and (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((group.parent / name).read_text())


def remove(path: Path, timeout_s: float = 5) -> None:
    """Removes a group of version 1 that nobody is in, with those below it. Whoever has just ended may be in it yet."""
    deadline = time.monotonic() + timeout_s
    for directory, _, _ in os.walk(path, topdown=False):
        while True:
            try:
                Path(directory).rmdir()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"{directory} cannot be removed: {error.strerror}") from error
                time.sleep(0.02)


def make(path: Path) -> None:
    """Makes the group with its parents, and hands down what controllers the parents have."""
    path.mkdir(parents=True, exist_ok=True)
    for parent in reversed([p for p in path.parents if (p / "cgroup.subtree_control").exists()]):
        for controller in (parent / "cgroup.controllers").read_text().split():
            try:
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:
                continue  # a parent with processes of its own cannot hand it down: the node goes without


def populated(path: Path) -> bool:
    """Whether any process lives in the group or below it."""
    try:
        return "populated 1" in (path / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def kill(path: Path, timeout_s: float = 20) -> None:
    """Ends every process in the group, frozen ones too, waits until the last is gone, and removes the group."""
    if not path.exists():
        return
    (path / "cgroup.kill").write_text("1")
    _await_empty(path, timeout_s)
    for directory, _, _ in os.walk(path, topdown=False):
        Path(directory).rmdir()


def _await_empty(path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    with (path / "cgroup.events").open() as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while "populated 1" in events.read():
            if time.monotonic() > deadline:
                raise LabError(f"processes in {path} do not end")
            poller.poll(200)
            events.seek(0)
