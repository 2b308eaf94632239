"""A third template for containers, `machine`: the `debian` one with an init, cron and an sshd of its own.

For containers that are like a system and not like a program. Built on demand and cached, as `programs` is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from migrator.lab import cache, debian, image
from migrator.lab.shell import run

NAME = "machine"
PACKAGES = ["runit", "cron", "openssh-server", "nftables", "busybox"]
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
    cache.build_once(path, path, "the lab's template of machines", SPACE_BYTES_MIN, lambda: _build(path, base, say))
    return path


def _build(path: Path, base: Path, say: Callable[[str], None]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    cache.remove_tree(partial)
    partial.mkdir()
    rootfs = partial / "rootfs"
    say(f"building the lab's template of machines in {path} (once; the downloads take a minute)")
    run(["cp", "-a", "--reflink=auto", base / "rootfs", rootfs], timeout_s=300)
    debian.configure_apt(rootfs, debian.find_mirror())
    debian.install(rootfs, PACKAGES, partial / "log")
    image.finish_template(partial)
    partial.rename(path)
