"""A template for containers whose first process is systemd: the `debian` one with systemd, dbus, cron and sshd.

Built on demand and cached, as `machine` is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from migrator.lab import cache, debian, image
from migrator.lab.paths import LabPaths
from migrator.lab.shell import run

NAME = "booted"
PACKAGES = ["systemd-sysv", "dbus", "libpam-systemd", "cron", "openssh-server"]
SPACE_BYTES_MIN = 1_000_000_000


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
    cache.build_once(path, path, "the lab's template with systemd", SPACE_BYTES_MIN, lambda: _build(path, base, say))
    return path


def _build(path: Path, base: Path, say: Callable[[str], None]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    cache.remove_tree(partial)
    partial.mkdir()
    rootfs = partial / "rootfs"
    say(f"building the lab's template with systemd in {path} (once; the downloads take a minute)")
    run(["cp", "-a", "--reflink=auto", base / "rootfs", rootfs], timeout_s=300)
    debian.configure_apt(rootfs, debian.find_mirror())
    debian.install(rootfs, PACKAGES, partial / "log")
    (rootfs / "etc/machine-id").write_text("")  # each container makes its own
    image.finish_template(partial)
    partial.rename(path)


def offer(lab: LabPaths, node: str) -> None:
    """Puts the built template on a node's disk, as an operator would copy one there."""
    there = lab.node(node).disk / "templates" / NAME
    if not there.exists():
        run(["cp", "-a", "--reflink=auto", template_path(), there], timeout_s=300)


def take_back(lab: LabPaths, node: str) -> None:
    """Takes the template off a node's disk, where no container may stand on it any more."""
    cache.remove_tree(lab.node(node).disk / "templates" / NAME)
