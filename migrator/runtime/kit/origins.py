"""Where a container's mounts come from: what of them is on a filesystem that its node has mounted too."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

DEVICES = {(1, 3): "null", (1, 5): "zero", (1, 7): "full", (1, 8): "random", (1, 9): "urandom", (5, 0): "tty"}


class Mount(NamedTuple):
    """One line of mountinfo; `root` is the directory of its filesystem that is seen at `target`."""

    id: str
    device: str
    root: str
    target: str
    kind: str


def mounts(pid: str) -> list[Mount]:
    found = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        words = before.split()
        found.append(Mount(words[0], words[2], words[3], words[4], after.split()[0]))
    return found


def outside(inner: list[Mount], node: list[Mount]) -> list[list[str]]:
    """Of each mount that leads to the node its target, and what is there: a device that any runtime gives by its name.

    Its root may, and control groups, of which there is one tree. What is no such device comes first.
    """
    devices = {mount.device for mount in node}
    leads = [mount for mount in inner if mount.target != "/" and mount.device in devices]
    found = [[mount.target, source(mount, node)] for mount in leads if not mount.kind.startswith("cgroup")]
    return sorted(found, key=lambda pair: pair[1] in DEVICES.values())


def source(mount: Mount, node: list[Mount]) -> str:
    """As the node would call it: never by the container's own paths, which its root may lead anywhere."""
    for at in node:
        top = at.root.rstrip("/")
        if at.device == mount.device and (mount.root == at.root or mount.root.startswith(f"{top}/")):
            path = at.target.rstrip("/") + mount.root[len(top) :].rstrip("/")
            return device(path or "/", mount.device) or path or "/"
    return mount.root


def device(path: str, of: str) -> str:
    """The name of the device that this is, if it is one and no other mount hides it there."""
    try:
        seen = Path(path).lstat()
    except OSError:
        return ""
    number = (os.major(seen.st_rdev), os.minor(seen.st_rdev))
    there = f"{os.major(seen.st_dev)}:{os.minor(seen.st_dev)}"
    return DEVICES.get(number, "") if stat.S_ISCHR(seen.st_mode) and there == of else ""
