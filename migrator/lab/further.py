"""Templates that are made from the lab's `debian` one, by packages more and what is set up in it.

They are large, so no lab has one by itself. Each is built on demand, once, and cached as the root image is; a node gets
it by `offer`, as an operator would copy a template there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from migrator.lab import cache, debian, image
from migrator.lab.paths import LabPaths
from migrator.lab.shell import LabError, run

COPY_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Further:
    """One such template. `recipe` are all values by which its files are set up: other values, another template."""

    name: str
    packages: tuple[str, ...]
    space_bytes_min: int
    recipe: tuple[object, ...] = ()
    set_up: Callable[[Path], None] = lambda rootfs: None

    @property
    def path(self) -> Path:
        """Where it lies, built or not."""
        recipe = repr((image.image_path().name, self.packages, *self.recipe))
        return cache.CACHE / f"{self.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"

    def build(self, say: Callable[[str], None]) -> Path:
        """Builds it unless it is there; returns its directory. `say` gets one line for each long step."""
        if self.path.exists():
            return self.path
        base = image.build(say).templates / image.TEMPLATE_NAME
        what = f"the lab's template {self.name}"
        cache.build_once(self.path, self.path, what, self.space_bytes_min, lambda: self._build(base, say))
        return self.path

    def _build(self, base: Path, say: Callable[[str], None]) -> None:
        partial = self.path.with_name(f".{self.path.name}.partial")
        cache.remove_tree(partial)
        partial.mkdir()
        rootfs = partial / "rootfs"
        say(f"building the lab's template {self.name} in {self.path} (once; the downloads take a minute)")
        run(["cp", "-a", "--reflink=auto", base / "rootfs", rootfs], timeout_s=COPY_TIMEOUT_S)
        debian.configure_apt(rootfs, debian.find_mirror())
        debian.install(rootfs, list(self.packages), partial / "log")
        self.set_up(rootfs)
        image.finish_template(partial)
        partial.rename(self.path)

    def offer(self, lab: LabPaths, node: str) -> None:
        """Puts it on a node's disk. Its files are the cache's own where both are on one filesystem."""
        there = self._on(lab, node)
        if there.exists():
            return
        try:
            run(["cp", "-a", "--link", self.path, there], timeout_s=COPY_TIMEOUT_S)
        except LabError:
            cache.remove_tree(there)
            run(["cp", "-a", "--reflink=auto", self.path, there], timeout_s=COPY_TIMEOUT_S)

    def take_back(self, lab: LabPaths, node: str) -> None:
        """Takes it off a node's disk, where no container may stand on it any more."""
        cache.remove_tree(self._on(lab, node))

    def _on(self, lab: LabPaths, node: str) -> Path:
        return lab.node(node).disk / "templates" / self.name
