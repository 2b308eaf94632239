"""A root that shares no library with Debian: Debian's static busybox under all its names, and nothing else.

Built once and cached as the root image is. What is tried with it shows that the distribution inside does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from migrator.lab import cache
from migrator.lab.shell import LabError, run

PACKAGE = "busybox-static"
SPACE_BYTES_MIN = 50_000_000
FOLDERS = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var/log")


def tree_path() -> Path:
    """Where the tree lies, built or not."""
    return cache.CACHE / "busybox-1"


def build(say: Callable[[str], None]) -> Path:
    """Makes the tree unless it is there; returns it. `say` gets one line if that takes a download."""
    path = tree_path()
    if not path.exists():
        cache.build_once(path, path, "the lab's busybox", SPACE_BYTES_MIN, lambda: _build(path, say))
    return path


def _build(path: Path, say: Callable[[str], None]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    cache.remove_tree(partial)
    unpacked, root = partial / "package", partial / "root"
    unpacked.mkdir(parents=True)
    say(f"making a root of {PACKAGE} in {path} (once)")
    run(
        ["sh", "-c", 'cd "$1" && exec apt-get download "$2"', "sh", partial, PACKAGE],
        timeout_s=300,
        what="apt-get download",
    )
    found = sorted(partial.glob("*.deb"))
    if not found:
        raise LabError(f"apt-get download {PACKAGE}: nothing came")
    run(["dpkg", "-x", found[0], unpacked], what=f"unpacking {PACKAGE}")
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (unpacked / "bin/busybox").rename(root / "bin/busybox")
    for applet in run([root / "bin/busybox", "--list"]).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "tmp").chmod(0o1777)
    root.rename(path)
    cache.remove_tree(partial)
