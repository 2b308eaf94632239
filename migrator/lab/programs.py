"""A second template for containers, `programs`: the `debian` one and servers that real migrations are tried with.

It is large, so no lab has it by itself. It is built on demand, once, and cached as the root image is; a node gets it by
`offer`, as an operator would copy a template there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from migrator.lab import cache, debian, image
from migrator.lab.paths import LabPaths
from migrator.lab.shell import LabError, run

NAME = "programs"
PACKAGES = ["etcd-server", "nginx-light", "postgresql", "python3-lmdb"]
SPACE_BYTES_MIN = 1_500_000_000


def template_path() -> Path:
    """Where the template for this recipe lies, built or not."""
    recipe = repr((image.image_path().name, PACKAGES))
    return cache.CACHE / f"{NAME}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def build(say: Callable[[str], None]) -> Path:
    """Builds the template unless it is there; returns its directory. `say` gets one line for each long step."""
    path = template_path()
    if path.exists():
        return path
    base = image.build(say).templates / image.TEMPLATE_NAME
    cache.build_once(path, path, "the lab's template of programs", SPACE_BYTES_MIN, lambda: _build(path, base, say))
    return path


def _build(path: Path, base: Path, say: Callable[[str], None]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    cache.remove_tree(partial)
    partial.mkdir()
    rootfs = partial / "rootfs"
    say(f"building the lab's template of programs in {path} (once; the downloads take a minute)")
    run(["cp", "-a", "--reflink=auto", base / "rootfs", rootfs], timeout_s=300)
    debian.configure_apt(rootfs, debian.find_mirror())
    debian.install(rootfs, PACKAGES, partial / "log")
    image.finish_template(partial)
    partial.rename(path)


def offer(lab: LabPaths, node: str) -> None:
    """Puts the built template on a node's disk. Its files are the cache's own where both are on one filesystem."""
    there = lab.node(node).disk / "templates" / NAME
    if there.exists():
        return
    try:
        run(["cp", "-a", "--link", template_path(), there], timeout_s=120)
    except LabError:
        cache.remove_tree(there)
        run(["cp", "-a", "--reflink=auto", template_path(), there], timeout_s=300)


def take_back(lab: LabPaths, node: str) -> None:
    """Takes the template off a node's disk, where no container may stand on it any more."""
    cache.remove_tree(lab.node(node).disk / "templates" / NAME)
