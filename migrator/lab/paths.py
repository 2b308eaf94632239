"""Where a lab keeps its things, and what it calls them on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import BadInput

LABS = Path(os.environ.get("MIGRATOR_LABS", "/var/lib/migrator-lab"))
_NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")


@dataclass(frozen=True, slots=True)
class NodePaths:
    """One node's directory: `disk` outlives crashes, `run` files say what is up."""

    dir: Path

    @property
    def root(self) -> Path:
        return self.dir / "root"

    @property
    def upper(self) -> Path:
        return self.dir / "upper"

    @property
    def work(self) -> Path:
        return self.dir / "work"

    @property
    def disk(self) -> Path:
        return self.dir / "disk"

    @property
    def boot_id(self) -> Path:
        return self.dir / "boot_id"

    @property
    def vm_files(self) -> Path:
        """A virtual machine's second disk: a tar of what only this node has."""
        return self.dir / "files.tar"

    @property
    def vm_image(self) -> Path:
        """Names the image that a virtual machine's disk was begun from; on another its disk would make no sense."""
        return self.dir / "image"

    @property
    def log(self) -> Path:
        return self.dir / "console.log"


@dataclass(frozen=True, slots=True)
class LabPaths:
    """One lab's directory and the names of its kernel objects."""

    name: str

    @classmethod
    def of(cls, name: str) -> LabPaths:
        if not _NAME.fullmatch(name):
            raise BadInput(f"--name {name!r}: a lab's name has 1 to 16 characters of a-z, 0-9 and '-', a letter first")
        return cls(name)

    @property
    def dir(self) -> Path:
        return LABS / self.name

    @property
    def state(self) -> Path:
        return self.dir / "lab.json"

    @property
    def cluster_file(self) -> Path:
        return self.dir / "cluster.yaml"

    @property
    def key(self) -> Path:
        return self.dir / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.dir / "known_hosts"

    @property
    def shared(self) -> Path:
        """What all nodes mount at /srv/shared."""
        return self.dir / "shared"

    def node(self, node: str) -> NodePaths:
        return NodePaths(self.dir / "nodes" / node)

    @property
    def switch_netns(self) -> str:
        return f"mlab-{self.name}"

    def node_netns(self, node: str) -> str:
        return f"mlab-{self.name}-{node}"

    def cgroup(self, root: Path) -> Path:
        return root / "migrator-lab" / self.name

    def node_cgroup(self, root: Path, node: str) -> Path:
        return self.cgroup(root) / node
