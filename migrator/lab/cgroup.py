"""A cgroup for each node: what lets the lab end everything on a node at once and know when it is gone."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from migrator.lab.shell import LabError


def root() -> Path:
    """Where this machine mounts the version 2 tree."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    raise LabError("this machine mounts no cgroup v2 tree; mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


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
