"""podman's Debian packages, for what is measured beside it.

No lab has podman by itself. Its packages, with those that they need and a node's root lacks, are fetched on demand,
once, and cached as the root image is. A node gets them by `offer` and installs them; they go with its lab.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from migrator.lab import cache, debian, image
from migrator.lab.guard import run_after_death
from migrator.lab.paths import LabPaths
from migrator.lab.shell import run

NAME = "podman"
PACKAGES = ["podman", "crun"]
# What crun dumps by. It comes from where the node's CRIU does.
CRIU_LIBRARY = "libcriu2"
SPACE_BYTES_MIN = 1_500_000_000


def packages_path() -> Path:
    """Where the packages for this recipe lie, fetched or not."""
    recipe = repr((image.image_path().name, PACKAGES, CRIU_LIBRARY))
    return cache.CACHE / f"{NAME}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def build(say: Callable[[str], None]) -> Path:
    """Fetches the packages unless they are there; returns their directory. `say` gets one line for each long step."""
    path = packages_path()
    if path.exists():
        return path
    base = image.build(say)
    cache.build_once(path, path, "podman's packages", SPACE_BYTES_MIN, lambda: _build(path, base, say))
    return path


def _build(path: Path, base: image.Image, say: Callable[[str], None]) -> None:
    """Installs them in a copy of the node's root: so what is missing there is found, and they are known to go in."""
    partial = path.with_name(f".{path.name}.partial")
    cache.remove_tree(partial)
    partial.mkdir()
    root = path.with_name(f".{path.name}.root-{os.getpid()}")
    say(f"fetching podman's packages to {path} (once; a minute)")
    guard = run_after_death(["/bin/rm", "-rf", str(root)])  # whoever does not want to wait ends this by a kill
    try:
        _install(root, base, partial / "log")
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            shutil.move(package, partial)
    finally:
        cache.remove_tree(root)
        guard.dismiss()
    partial.rename(path)


def _install(root: Path, base: image.Image, log: Path) -> None:
    mirror, suite = debian.find_mirror(), base.criu.split()[-1]
    run(["cp", "-a", "--reflink=auto", base.node, root], timeout_s=300)
    debian.configure_apt(root, mirror)
    if suite != debian.BASE_SUITE:
        debian.add_suite(root, mirror, suite)
    debian.install(root, PACKAGES, log)
    debian.install(root, [CRIU_LIBRARY], log, suite=suite)


def offer(lab: LabPaths, node: str) -> str:
    """Puts the fetched packages on a node's disk; returns the directory's path there."""
    there = lab.node(node).disk / NAME
    cache.remove_tree(there)
    shutil.copytree(packages_path(), there)
    return f"/var/lib/migrator/{NAME}"
